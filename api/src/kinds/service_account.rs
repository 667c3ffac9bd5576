//! `ServiceAccount`: who a pod is when it speaks to the API.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::kind::{Names, Strategy, Sub};
use crate::kinds::cells::{self, AGE, list};
use crate::table::{Cell, Column};

impl Strategy for ServiceAccount {
    const NAMES: Names =
        Names { plural: "serviceaccounts", singular: "serviceaccount", short: &["sa"], categories: &[] };
    const RETURNS_DELETED: bool = true;
    const SUBS: &'static [Sub] = &[Sub::Token];
    const COLUMNS: &'static [Column] =
        &[cells::text("Secrets", |it| Cell::Number(list(&it["secrets"]).len() as i64)).doc(".secrets"), AGE];
}
