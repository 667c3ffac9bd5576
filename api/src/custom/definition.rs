//! A CustomResourceDefinition as the server serves by it: read once per revision from the stored object's bytes.
//!
//! In: the encoded definition. Out: a [`Definition`] with its versions. Schemas stay text until an object needs them, because most
//! definitions of a cluster are seldom written to; the text is a slice of the stored object, and costs nothing. What may stand in a definition
//! is decided elsewhere (`kinds/custom_resource_definition`): here a part that cannot be read is left out.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::columns::Column;
use super::json_path::JsonPath;
use crate::kind::Scope;
use crate::shape::Shapes;
use crate::structural::Schema;

/// The names of a kind: what `spec.names` asks for, or `status.acceptedNames` grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Names {
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub kind: String,
    pub list_kind: String,
    pub categories: Vec<String>,
}

/// Where replicas stand in an object: `subresources.scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub spec_replicas: JsonPath,
    pub status_replicas: JsonPath,
    pub label_selector: Option<JsonPath>,
    /// The same as the definition writes them, for messages.
    pub spec_replicas_text: Box<str>,
    pub status_replicas_text: Box<str>,
    pub label_selector_text: Box<str>,
}

/// One version of a definition.
#[derive(Clone, Debug)]
pub struct Version {
    pub name: Box<str>,
    pub served: bool,
    /// What clients of this version are warned of, if it is deprecated.
    pub warning: Option<Box<str>>,
    pub columns: Box<[Column]>,
    /// The paths that one may select by, with the point that they begin with.
    pub selectable: Box<[Box<str>]>,
    pub status: bool,
    pub scale: Option<Scale>,
    /// The text of `openAPIV3Schema`.
    pub schema: Option<Bytes>,
    /// The same, read when first needed.
    structural: OnceLock<Option<Arc<Schema>>>,
    /// How its objects are merged, read when one is first written.
    shapes: OnceLock<Shapes>,
}

impl Version {
    /// The schema of its objects; none if everything is allowed.
    pub fn structural(&self) -> Option<&Schema> {
        let read = || {
            let value: Value = serde_json::from_slice(self.schema.as_ref()?).ok()?;
            Some(Arc::new(Schema::stored(&value)))
        };
        self.structural.get_or_init(read).as_deref()
    }

    /// The shape of its objects.
    pub fn shapes(&self) -> Shapes {
        let read = || {
            let schema = self.schema.as_ref().and_then(|it| serde_json::from_slice(it).ok());
            crate::shape::custom::shapes(schema.as_ref())
        };
        self.shapes.get_or_init(read).clone()
    }
}

/// Who converts objects between versions: `spec.conversion`.
#[derive(Clone, Debug, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    Webhook(Arc<Webhook>),
}

/// A conversion webhook.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    pub client_config: ClientConfig,
    pub conversion_review_versions: Vec<String>,
}

/// Where a webhook is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConfig {
    pub url: Option<String>,
    pub service: Option<ServiceReference>,
    /// The authorities that its certificate may come from: PEM in base64.
    pub ca_bundle: Option<String>,
}

/// A service at which a webhook is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceReference {
    pub namespace: String,
    pub name: String,
    pub path: Option<String>,
    pub port: Option<i32>,
}

/// A definition.
#[derive(Clone, Debug)]
pub struct Definition {
    pub name: Box<str>,
    pub uid: Box<str>,
    /// Rises with every change of the spec.
    pub generation: i64,
    pub group: Box<str>,
    pub scope: Scope,
    /// The names that it has been granted.
    pub names: Names,
    pub versions: Box<[Version]>,
    /// The place of the version in whose form objects are stored.
    pub storage: usize,
    pub conversion: Conversion,
    pub preserve_unknown_fields: bool,
    pub established: bool,
    pub names_accepted: bool,
    /// Its objects are being removed: none may be created.
    pub terminating: bool,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    metadata: RawMeta<'a>,
    #[serde(borrow)]
    spec: RawSpec<'a>,
    #[serde(borrow, default)]
    status: RawStatus<'a>,
}

#[derive(Deserialize)]
struct RawMeta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(default)]
    generation: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec<'a> {
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    scope: Cow<'a, str>,
    #[serde(borrow)]
    versions: Vec<RawVersion<'a>>,
    #[serde(default)]
    conversion: Option<RawConversion>,
    #[serde(default)]
    preserve_unknown_fields: bool,
}

#[derive(Deserialize)]
struct RawConversion {
    #[serde(default)]
    webhook: Option<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawVersion<'a> {
    name: Box<str>,
    served: bool,
    storage: bool,
    #[serde(default)]
    deprecated: bool,
    #[serde(default)]
    deprecation_warning: Option<Box<str>>,
    #[serde(borrow, default)]
    schema: Option<RawSchema<'a>>,
    #[serde(default)]
    subresources: Option<RawSubresources>,
    #[serde(default)]
    additional_printer_columns: Option<Vec<Column>>,
    #[serde(default)]
    selectable_fields: Option<Vec<RawField>>,
}

#[derive(Deserialize)]
struct RawSchema<'a> {
    #[serde(borrow, default, rename = "openAPIV3Schema")]
    schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawSubresources {
    #[serde(default)]
    status: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    scale: Option<RawScale>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawScale {
    spec_replicas_path: String,
    status_replicas_path: String,
    #[serde(default)]
    label_selector_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawField {
    json_path: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus<'a> {
    #[serde(borrow)]
    conditions: Option<Vec<RawCondition<'a>>>,
    accepted_names: Names,
}

#[derive(Deserialize)]
struct RawCondition<'a> {
    #[serde(borrow, rename = "type")]
    of: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

impl Definition {
    /// Reads an encoded definition.
    ///
    /// # Errors
    /// When it is none, which its kind's validation excludes.
    pub fn parse(json: &Bytes) -> Result<Definition, serde_json::Error> {
        let raw: Raw<'_> = serde_json::from_slice(json)?;
        let is = |of: &str| raw.status.conditions.iter().flatten().any(|it| it.of == of && it.status == "True");
        let (established, names_accepted, terminating) = (is("Established"), is("NamesAccepted"), is("Terminating"));
        let storage = raw.spec.versions.iter().position(|it| it.storage).unwrap_or(0);
        let group: Box<str> = raw.spec.group.into();
        let names = raw.status.accepted_names;
        let versions = raw.spec.versions.into_iter().map(|it| version(json, &group, &names.kind, it)).collect();
        Ok(Definition {
            name: raw.metadata.name.into(),
            uid: raw.metadata.uid.into(),
            generation: raw.metadata.generation,
            scope: if raw.spec.scope == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
            group,
            names,
            versions,
            storage,
            conversion: match raw.spec.conversion.and_then(|it| it.webhook) {
                Some(webhook) => Conversion::Webhook(Arc::new(webhook)),
                None => Conversion::None,
            },
            preserve_unknown_fields: raw.spec.preserve_unknown_fields,
            established,
            names_accepted,
            terminating,
        })
    }

    /// Takes over the schemas that an earlier state of the same definition has read.
    pub fn keep_schemas(&mut self, old: &Definition) {
        if (&self.uid, self.generation) == (&old.uid, old.generation) {
            for (new, old) in self.versions.iter_mut().zip(&old.versions) {
                new.structural = old.structural.clone();
                new.shapes = old.shapes.clone();
            }
        }
    }

    /// Whether requests for its objects are answered. Who once was established stays so while new names wait for acceptance.
    pub fn serves(&self) -> bool {
        self.established || self.names_accepted
    }

    /// The version in whose form objects are stored.
    pub fn stored(&self) -> &Version {
        &self.versions[self.storage]
    }

    /// The plural name, from the definition's own name: accepted names come later.
    pub fn plural(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// `example.com/v1` of a version.
    pub fn api_version(&self, at: usize) -> String {
        format!("{}/{}", self.group, self.versions[at].name)
    }
}

fn version(json: &Bytes, group: &str, kind: &str, raw: RawVersion<'_>) -> Version {
    let sub = raw.subresources.as_ref();
    let scale = sub.and_then(|it| it.scale.as_ref()).and_then(|it| {
        Some(Scale {
            spec_replicas: JsonPath::parse(&it.spec_replicas_path).ok()?,
            status_replicas: JsonPath::parse(&it.status_replicas_path).ok()?,
            label_selector: it.label_selector_path.as_deref().and_then(|it| JsonPath::parse(it).ok()),
            spec_replicas_text: it.spec_replicas_path.as_str().into(),
            status_replicas_text: it.status_replicas_path.as_str().into(),
            label_selector_text: it.label_selector_path.as_deref().unwrap_or_default().into(),
        })
    });
    let warning = raw.deprecated.then(|| {
        raw.deprecation_warning.unwrap_or_else(|| format!("{group}/{} {kind} is deprecated", raw.name).into())
    });
    let columns = raw.additional_printer_columns.filter(|it| !it.is_empty()).unwrap_or_else(|| vec![Column::age()]);
    Version {
        name: raw.name,
        served: raw.served,
        warning,
        columns: columns.into(),
        selectable: raw.selectable_fields.into_iter().flatten().map(|it| it.json_path).collect(),
        status: sub.is_some_and(|it| it.status.is_some()),
        scale,
        structural: OnceLock::new(),
        shapes: OnceLock::new(),
        schema: raw.schema.and_then(|it| it.schema).map(|it| json.slice_ref(it.get().as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_definition_is_read() {
        let json = json!({
            "metadata": {"name": "crontabs.example.com", "uid": "u", "generation": 2},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "crontabs", "kind": "CronTab"},
                "versions": [
                    {"name": "v1beta1", "served": false, "storage": false, "deprecated": true},
                    {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                     "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
                     "selectableFields": [{"jsonPath": ".spec.color"}]},
                ],
            },
            "status": {
                "conditions": [{"type": "NamesAccepted", "status": "True"}, {"type": "Terminating", "status": "False"}],
                "acceptedNames": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"]},
            },
        });
        let it = Definition::parse(&Bytes::from(json.to_string())).unwrap();
        assert_eq!((it.storage, it.serves(), it.terminating, it.plural()), (1, true, false, "crontabs"));
        assert_eq!(it.names.short_names, ["ct"]);
        assert_eq!(it.versions[0].warning.as_deref(), Some("example.com/v1beta1 CronTab is deprecated"));
        assert_eq!(&*it.versions[0].columns, [Column::age()]);
        let stored = it.stored();
        assert_eq!(stored.schema.as_deref(), Some(&br#"{"type":"object"}"#[..]));
        assert!(stored.status && stored.scale.is_some() && &*stored.selectable[0] == ".spec.color");
        assert_eq!(it.api_version(1), "example.com/v1");
        assert!(Definition::parse(&Bytes::from_static(b"{}")).is_err());
    }
}
