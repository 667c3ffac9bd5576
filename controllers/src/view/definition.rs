//! What is kept of CustomResourceDefinitions: which kinds they serve.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::ObjectMeta;
use serde::Deserialize;

/// A definition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DefinitionView {
    pub metadata: ObjectMeta,
    pub spec: DefinitionSpecView,
    pub status: DefinitionStatusView,
}

/// A definition's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DefinitionSpecView {
    pub group: String,
    pub scope: String,
    pub names: NamesView,
    pub versions: Vec<VersionView>,
}

/// What its objects are called.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamesView {
    pub kind: String,
    pub plural: String,
}

/// One of its versions, without the schema.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VersionView {
    pub name: String,
    pub served: bool,
    pub storage: bool,
}

/// A definition's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DefinitionStatusView {
    pub conditions: Vec<super::ConditionView>,
}

orlop_client::view!(DefinitionView: CustomResourceDefinition);
