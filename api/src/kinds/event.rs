//! `Event`, in the form of the core group, which is also the form in which events of `events.k8s.io` are stored.

use k8s_openapi::api::core::v1::Event;

use crate::field::Errors;
use crate::kind::{Names, Part, Selectable, Strategy};
use crate::kinds::event_columns::COLUMNS;
use crate::kinds::event_rules::{self, Rules};
use crate::table::Column;

impl Strategy for Event {
    const NAMES: Names = Names { plural: "events", singular: "event", short: &["ev"], categories: &[] };
    const FIELDS: &'static [Selectable] = &[
        Selectable { path: "involvedObject.kind", absent: "", from: &[] },
        Selectable { path: "involvedObject.namespace", absent: "", from: &[] },
        Selectable { path: "involvedObject.name", absent: "", from: &[] },
        Selectable { path: "involvedObject.uid", absent: "", from: &[] },
        Selectable { path: "involvedObject.apiVersion", absent: "", from: &[] },
        Selectable { path: "involvedObject.resourceVersion", absent: "", from: &[] },
        Selectable { path: "involvedObject.fieldPath", absent: "", from: &[] },
        Selectable { path: "reason", absent: "", from: &[] },
        Selectable { path: "reportingComponent", absent: "", from: &[] },
        Selectable { path: "source", absent: "", from: &["source.component", "reportingComponent"] },
        Selectable { path: "type", absent: "", from: &[] },
    ];
    const COLUMNS: &'static [Column] = COLUMNS;
    const CREATE_ON_UPDATE: bool = true;

    fn validate(&self, _part: Part, _old: Option<&Self>, errors: &mut Errors) {
        let rules = Rules {
            namespace: self.metadata.namespace.as_deref().unwrap_or_default(),
            about: self.involved_object.namespace.as_deref().unwrap_or_default(),
            controller: self.reporting_component.as_deref().unwrap_or_default(),
            instance: self.reporting_instance.as_deref().unwrap_or_default(),
            action: self.action.as_deref().unwrap_or_default(),
            reason: self.reason.as_deref().unwrap_or_default(),
            message: self.message.as_deref().unwrap_or_default(),
            has_time: self.event_time.is_some(),
        };
        event_rules::validate(&rules, errors);
    }
}
