//! `Event`, in the form of the core group, which is also the form in which events of `events.k8s.io` are stored.

use k8s_openapi::api::core::v1::Event;

use crate::kind::{Names, Selectable, Strategy};
use crate::kinds::event_columns::COLUMNS;
use crate::table::Column;

impl Strategy for Event {
    const NAMES: Names = Names { plural: "events", singular: "event", short: &["ev"], categories: &[] };
    const FIELDS: &'static [Selectable] = &[
        Selectable { path: "involvedObject.kind", absent: "" },
        Selectable { path: "involvedObject.namespace", absent: "" },
        Selectable { path: "involvedObject.name", absent: "" },
        Selectable { path: "involvedObject.uid", absent: "" },
        Selectable { path: "involvedObject.apiVersion", absent: "" },
        Selectable { path: "involvedObject.resourceVersion", absent: "" },
        Selectable { path: "involvedObject.fieldPath", absent: "" },
        Selectable { path: "reason", absent: "" },
        Selectable { path: "reportingComponent", absent: "" },
        Selectable { path: "source", absent: "" },
        Selectable { path: "type", absent: "" },
    ];
    const COLUMNS: &'static [Column] = COLUMNS;
    const CREATE_ON_UPDATE: bool = true;
}
