//! `Lease`: who holds a role, since when, for how long. Leader election and node heartbeats rest on it.

use k8s_openapi::api::coordination::v1::Lease;

use crate::kind::{Names, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::table::Column;

impl Strategy for Lease {
    const NAMES: Names = Names { plural: "leases", singular: "lease", short: &[], categories: &[] };
    const COLUMNS: &'static [Column] = &[cells::text("Holder", |it| cells::cell(&it["spec"]["holderIdentity"])), AGE];
    // Two who do not know of each other must not both renew.
    const UNCONDITIONAL_UPDATE: bool = false;
    const CREATE_ON_UPDATE: bool = true;
}
