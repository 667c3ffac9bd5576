//! `CustomResourceDefinition`: a kind that the cluster did not have before.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::cells;
use crate::kind::{Names, Scope, Strategy, Sub};
use crate::table::Column;

/// The time itself, and not how long ago it was.
const CREATED_AT: Column = Column {
    name: "Created At",
    kind: "date",
    priority: 0,
    description: ".metadata.creationTimestamp",
    cell: |it| cells::cell(&it["metadata"]["creationTimestamp"]),
};

impl Strategy for CustomResourceDefinition {
    const NAMES: Names = Names {
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short: &["crd", "crds"],
        categories: &["api-extensions"],
    };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const STATUS_RESETS: &'static [&'static [&'static str]] = &[&["metadata"], &["spec"]];
    const STORED_AS: Option<&'static str> = Some("apiextensions.k8s.io/customresourcedefinitions");
    const COLUMNS: &'static [Column] = &[CREATED_AT];
}
