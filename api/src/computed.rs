//! Kinds whose objects nobody writes: the server computes them from others when somebody asks.
//!
//! A computed kind is a [`Kind`] record like any other, so that discovery, OpenAPI, RBAC's names, selectors, tables and watches know it; it is
//! read-only, and nothing of it is ever stored or decoded. What computes its objects is in the server.

pub mod component_status;
pub mod label;
pub mod node_metrics;
pub mod pod_metrics;
pub mod usage;

use serde_json::{Value, json};

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

/// The schema of a kind that is described by hand, with the types that it refers to: `metadata`'s.
fn with_types(mut of: Value) -> schemars::Schema {
    let mut meta = schemars::schema_for!(k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta).to_value();
    let fields = meta.as_object_mut();
    let types = fields.and_then(|it| {
        it.remove("$schema");
        it.remove("$defs")
    });
    let mut types = types.filter(Value::is_object).unwrap_or_else(|| json!({}));
    types["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"] = meta;
    of["$defs"] = types;
    schemars::Schema::try_from(of).unwrap_or_default()
}
