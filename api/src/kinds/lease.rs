//! `Lease`: who holds a role, since when, for how long. Leader election and node heartbeats rest on it.

use k8s_openapi::api::coordination::v1::Lease;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::name;
use crate::table::Column;

impl Strategy for Lease {
    const NAMES: Names = Names { plural: "leases", singular: "lease", short: &[], categories: &[] };
    const COLUMNS: &'static [Column] =
        &[cells::text("Holder", |it| cells::cell(&it["spec"]["holderIdentity"])).doc(".spec.holderIdentity"), AGE];
    // Two who do not know of each other must not both renew.
    const UNCONDITIONAL_UPDATE: bool = false;
    const CREATE_ON_UPDATE: bool = true;

    fn prepare(&mut self, _part: Part, old: Option<&Self>) {
        // A feature that is off: leaders are not chosen by the server.
        let before = old.and_then(|it| it.spec.as_ref());
        let Some(spec) = &mut self.spec else { return };
        if before.is_none_or(|it| it.strategy.is_none()) {
            spec.strategy = None;
        }
        if before.is_none_or(|it| it.preferred_holder.is_none()) {
            spec.preferred_holder = None;
        }
    }

    fn validate(&self, _part: Part, _old: Option<&Self>, errors: &mut Errors) {
        let Some(spec) = &self.spec else { return };
        let path = Path::new("spec");
        if let Some(seconds) = spec.lease_duration_seconds.filter(|it| *it <= 0) {
            errors.invalid(path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        checks::not_negative(spec.lease_transitions.map(i64::from), || path.child("leaseTransitions"), errors);
        if let Some(strategy) = &spec.strategy {
            let at = || path.child("strategy").child("strategy");
            if strategy.contains('/') {
                checks::none_or_named(Some(strategy), name::qualified_name, at, errors);
            } else {
                checks::none_or_one_of(Some(strategy), &["OldestEmulationVersion"], at, errors);
            }
        }
        if spec.preferred_holder.as_deref().is_some_and(|it| !it.is_empty())
            && spec.strategy.as_deref().unwrap_or_default().is_empty()
        {
            errors.forbidden(path.child("preferredHolder"), "may only be specified if `strategy` is defined");
        }
    }
}
