//! Kinds whose objects nobody writes: the server computes them from others when somebody asks.
//!
//! A computed kind is a [`Kind`] record like any other, so that discovery, OpenAPI, RBAC's names, selectors, tables and watches know it; it is
//! read-only, and nothing of it is ever stored or decoded. What computes its objects is in the server.

pub mod component_status;
pub mod label;
pub mod node_metrics;
pub mod pod_metrics;
pub mod usage;

use crate::kind::{Kind, Names, Scope, Selectable};
use crate::table::Column;

/// The computed kinds.
pub static COMPUTED: &[Kind] = &[label::KIND, component_status::KIND, node_metrics::KIND, pod_metrics::KIND];

/// What differs between computed kinds.
pub(crate) struct Parts {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub names: Names,
    pub scope: Scope,
    pub fields: &'static [Selectable],
    pub columns: &'static [Column],
    /// Where its table is in the cache.
    pub stored_as: &'static str,
    pub verbs: &'static [&'static str],
    pub deprecated: Option<&'static str>,
    pub schema: fn() -> schemars::Schema,
}
