//! `ControllerRevision`: one state of a StatefulSet's or DaemonSet's template, kept so that one can go back to it.

use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::Value;

use crate::field::Errors;
use crate::kind::{Names, Part, Strategy};
use crate::kinds::cells::{self, AGE, NONE, list, str_of};
use crate::kinds::checks;
use crate::table::{Cell, Column};

impl Strategy for ControllerRevision {
    const NAMES: Names =
        Names { plural: "controllerrevisions", singular: "controllerrevision", short: &[], categories: &[] };
    const COLUMNS: &'static [Column] = &[
        cells::text("Controller", controller).doc("Controller of the object"),
        cells::text("Revision", |it| cells::number(&it["revision"]))
            .doc("Revision indicates the revision of the state represented by Data."),
        AGE,
    ];

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        if self.data.as_ref().is_none_or(|it| it.0.is_null()) {
            errors.required("data", "data is mandatory");
        }
        checks::not_negative(Some(self.revision), || "revision".into(), errors);
        if let Some(old) = old {
            checks::immutable(&self.data, &old.data, "data", errors);
        }
    }
}

/// `statefulset.apps/web`.
fn controller(it: &Value) -> Cell {
    let owners = list(&it["metadata"]["ownerReferences"]);
    let Some(owner) = owners.iter().find(|it| it["controller"] == true) else { return Cell::Text(NONE.to_owned()) };
    let group = str_of(&owner["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
    let kind = crate::status::qualified(group, str_of(&owner["kind"]));
    Cell::Text(format!("{}/{}", kind.to_lowercase(), str_of(&owner["name"])))
}
