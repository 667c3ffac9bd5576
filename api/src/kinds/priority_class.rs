//! `PriorityClass`: a number of which a pod may have more or less than others, by name.

use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::field::Errors;
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::table::{Cell, Column};

/// One billion: what is above is the system's.
const USER_PRIORITY_LIMIT: i32 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
const SYSTEM_CLASSES: &[(&str, i32)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Strategy for PriorityClass {
    const NAMES: Names =
        Names { plural: "priorityclasses", singular: "priorityclass", short: &["pc"], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const COLUMNS: &'static [Column] = &[
        cells::integer("Value", |it| cells::number(&it["value"])).doc(".value"),
        cells::flag("Global-Default", |it| Cell::Flag(it["globalDefault"] == true)).doc(".globalDefault"),
        AGE,
        cells::text("PreemptionPolicy", |it| cells::cell(&it["preemptionPolicy"])).doc(".preemptionPolicy"),
    ];

    fn default(&mut self) {
        self.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".into());
    }

    fn generation_rises(&self, _old: &Self) -> Option<bool> {
        // What it says may not change.
        Some(false)
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        if let Some(old) = old {
            if self.value != old.value {
                errors.forbidden("value", "may not be changed in an update.");
            }
            checks::immutable(&self.preemption_policy, &old.preemption_policy, "preemptionPolicy", errors);
            // Nothing else is looked at again.
            return;
        }
        let name = self.metadata.name.as_deref().unwrap_or_default();
        if name.starts_with(SYSTEM_PREFIX) {
            if let Some(error) = unlike_system_class(name, self.value, self.global_default == Some(true)) {
                let why = "priority class names with 'system-' prefix are reserved for system use only. error: ";
                errors.forbidden("metadata.name", format!("{why}{error}"));
            }
        } else if self.value > USER_PRIORITY_LIMIT {
            let why = format!("maximum allowed value of a user defined priority is {USER_PRIORITY_LIMIT}");
            errors.forbidden("value", why);
        }
        let policies = &["PreemptLowerPriority", "Never"];
        checks::one_of(self.preemption_policy.as_deref(), policies, || "preemptionPolicy".into(), errors);
    }
}

/// How a class with a name of the system's differs from it.
fn unlike_system_class(name: &str, value: i32, global_default: bool) -> Option<String> {
    let Some((_, known)) = SYSTEM_CLASSES.iter().find(|(it, _)| *it == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *known {
        return Some(format!("value of {name} PriorityClass must be {known}"));
    }
    global_default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}
