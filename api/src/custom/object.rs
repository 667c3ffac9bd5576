//! A custom object on its way into the store: a JSON value under the rules of its version's schema.
//!
//! In: what a client sent, or what stands. Out: the object pruned and defaulted, with what only the other part may set kept from the old
//! one, and its mistakes. Source: `k8s.io/apiextensions-apiserver/pkg/registry/customresource/{strategy,status_strategy,validator}.go`.

use std::any::Any;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

use super::Served;
use super::definition::Scale;
use super::json_path::JsonPath;
use crate::draft::Object;
use crate::field::Errors;
use crate::json::{self, Strictness};
use crate::kind::{Body, Decoded, Kind, Part, edits_nothing};
use crate::status::{self, Status};

/// The most replicas of a scale: what fits into 32 bits.
const REPLICAS_MAX: i64 = i32::MAX as i64;

/// A custom object.
#[derive(Clone, Debug)]
pub struct CustomObject {
    metadata: ObjectMeta,
    /// All but the metadata.
    value: Map<String, Value>,
    served: Arc<Served>,
}

/// Decodes what a client sent, without the fields that its schema does not name.
pub(super) fn decode(kind: &Kind, new: Body<'_>, strictness: Strictness) -> Decoded {
    let mut problems = Vec::new();
    let value = match new {
        Body::Value(value) => value,
        Body::Bytes(bytes) => {
            let value = json::value(kind, bytes)?;
            // Values cannot tell what stands twice.
            if strictness != Strictness::Ignore {
                problems = json::duplicates(bytes);
            }
            value
        }
        Body::Applied(it) => json::value(kind, it.bare.as_bytes())?,
        Body::Edit(_) => return Err(edits_nothing()),
    };
    let served = served(kind)?;
    let mut object = value;
    let (metadata, unknown) = take_metadata(kind, &mut object, strictness)?;
    problems.extend(unknown);
    if let Some(schema) = served.version().structural() {
        problems.extend(schema.prune(&mut object).iter().map(|it| format!("unknown field \"{it}\"")));
    }
    let problems = json::judged(kind, problems, strictness)?;
    let Value::Object(value) = object else {
        return Err(Status::bad_request(format!("{} in version \"{}\" is no object", kind.kind, kind.version)));
    };
    Ok((Box::new(CustomObject { metadata, value, served }), problems))
}

/// Decodes what the server has encoded.
pub(super) fn read(kind: &Kind, json: &[u8]) -> serde_json::Result<Box<dyn Object>> {
    let mut value: Map<String, Value> = serde_json::from_slice(json)?;
    let metadata = value.remove("metadata").map(serde_json::from_value).transpose()?.unwrap_or_default();
    let served = served(kind).map_err(<serde_json::Error as serde::de::Error>::custom)?;
    Ok(Box::new(CustomObject { metadata, value, served }))
}

fn served(kind: &Kind) -> status::Result<Arc<Served>> {
    kind.custom.map(|it| it.now()).ok_or_else(|| Status::internal(format!("{kind:?} is not a custom kind")))
}

/// The metadata of an object, and what is said of its unknown fields.
fn take_metadata(kind: &Kind, object: &mut Value, strictness: Strictness) -> status::Result<(ObjectMeta, Vec<String>)> {
    #[derive(serde::Deserialize)]
    struct Shell {
        #[serde(default)]
        metadata: Option<ObjectMeta>,
    }
    let Some(metadata) = object.as_object_mut().and_then(|it| it.remove("metadata")) else {
        return Ok((ObjectMeta::default(), Vec::new()));
    };
    // Within a shell, so that paths begin with `metadata`. What is unknown there is told later, in the order of the whole object's fields.
    let shell = serde_json::json!({ "metadata": metadata });
    let soft = if strictness == Strictness::Ignore { Strictness::Ignore } else { Strictness::Warn };
    let (shell, unknown) = json::decode_value::<Shell>(kind, shell, soft)?;
    Ok((shell.metadata.unwrap_or_default(), unknown))
}

impl CustomObject {
    /// The object with its metadata, as its schema judges it.
    fn whole(&self) -> Value {
        let mut value = self.value.clone();
        if let Ok(metadata) = serde_json::to_value(&self.metadata) {
            value.insert("metadata".to_owned(), metadata);
        }
        Value::Object(value)
    }

    /// Shows the object with its metadata, as its schema judges it, without making another.
    fn with_whole(&mut self, show: impl FnOnce(&Value)) {
        if let Ok(metadata) = serde_json::to_value(&self.metadata) {
            self.value.insert("metadata".to_owned(), metadata);
        }
        let whole = Value::Object(std::mem::take(&mut self.value));
        show(&whole);
        if let Value::Object(fields) = whole {
            self.value = fields;
            self.value.remove("metadata");
        }
    }

    fn keep(&mut self, field: &str, old: Option<&CustomObject>) {
        match old.and_then(|it| it.value.get(field)) {
            Some(value) => {
                self.value.insert(field.to_owned(), value.clone());
            }
            None => {
                self.value.remove(field);
            }
        }
    }

    fn text(&self, field: &str) -> &str {
        self.value.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Object for CustomObject {
    fn copy(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn fill_in(&mut self) {
        let definition = &self.served.definition;
        if self.text("apiVersion").is_empty() {
            self.value.insert("apiVersion".to_owned(), definition.api_version(self.served.at).into());
        }
        if self.text("kind").is_empty() {
            self.value.insert("kind".to_owned(), definition.names.kind.as_str().into());
        }
        if let Some(schema) = self.served.version().structural() {
            let mut value = Value::Object(std::mem::take(&mut self.value));
            schema.default(&mut value);
            if let Value::Object(fields) = value {
                self.value = fields;
            }
        }
    }

    fn prepare_for(&mut self, part: Part, old: Option<&dyn Object>) {
        let old = old.and_then(|it| it.as_any().downcast_ref::<CustomObject>());
        match part {
            Part::Status => {
                let Some(old) = old else { return };
                let status = self.value.remove("status");
                self.value.clone_from(&old.value);
                match status {
                    Some(status) => self.value.insert("status".to_owned(), status),
                    None => self.value.remove("status"),
                };
                self.metadata.clone_from(&old.metadata);
            }
            _ if self.served.version().status => self.keep("status", old),
            _ => {}
        }
    }

    fn rises_over(&self, old: Option<&dyn Object>) -> Option<bool> {
        let old = old.and_then(|it| it.as_any().downcast_ref::<CustomObject>());
        let differs = |old: &CustomObject| {
            // With a subresource the status has been kept from the old object; of a write to the status it is all that differs.
            let of = |it: &CustomObject| it.value.iter().filter(|(name, _)| *name != "status").count();
            if !self.served.version().status {
                return self.value != old.value;
            }
            of(self) != of(old)
                || self.value.iter().any(|(name, value)| name != "status" && old.value.get(name) != Some(value))
        };
        Some(old.is_some_and(differs))
    }

    fn check(&mut self, part: Part, old: Option<&dyn Object>, errors: &mut Errors) {
        let served = self.served.clone();
        let definition = &served.definition;
        let api_version = definition.api_version(self.served.at);
        if self.text("kind") != definition.names.kind {
            errors.invalid("kind", self.text("kind"), format!("must be {}", definition.names.kind));
        }
        if self.text("apiVersion") != api_version {
            errors.invalid("apiVersion", self.text("apiVersion"), format!("must be {api_version}"));
        }
        let version = served.version();
        let old = old.and_then(|it| it.as_any().downcast_ref::<CustomObject>());
        if let Some(schema) = version.structural() {
            let old = old.map(CustomObject::whole);
            self.with_whole(|whole| schema.validate(whole, old.as_ref(), errors));
        }
        if let Some(scale) = &version.scale {
            check_scale(scale, part, &self.value, errors);
        }
    }

    fn warned(&self, _old: Option<&dyn Object>) -> Vec<String> {
        Vec::new()
    }

    fn holds_itself(&self) -> bool {
        false
    }

    fn waits_seconds(&self) -> Option<i64> {
        None
    }

    fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Encoded(self))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Type and metadata first, as all objects begin; the resource version is spliced in there.
struct Encoded<'o>(&'o CustomObject);

impl serde::Serialize for Encoded<'_> {
    fn serialize<S: serde::Serializer>(&self, encoder: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 2] = ["apiVersion", "kind"];
        let mut map = encoder.serialize_map(None)?;
        for name in FIRST {
            map.serialize_entry(name, self.0.text(name))?;
        }
        map.serialize_entry("metadata", &self.0.metadata)?;
        for (name, value) in self.0.value.iter().filter(|(name, _)| !FIRST.contains(&name.as_str())) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Notes what a scale could not show.
fn check_scale(scale: &Scale, part: Part, object: &Map<String, Value>, errors: &mut Errors) {
    let mut replicas = |path: &JsonPath, text: &str| {
        let Some(value) = nested(path, object) else { return };
        match value.as_i64() {
            None => errors.invalid(
                text,
                0,
                format!("{text} accessor error: {value} is of the type {}, expected int64", go_type(value)),
            ),
            Some(count) if count < 0 => errors.invalid(text, count, "should be a non-negative integer"),
            Some(count) if count > REPLICAS_MAX => {
                errors.invalid(text, count, format!("should be less than or equal to {REPLICAS_MAX}"));
            }
            Some(_) => {}
        }
    };
    if part != Part::Status {
        replicas(&scale.spec_replicas, &scale.spec_replicas_text);
    }
    replicas(&scale.status_replicas, &scale.status_replicas_text);
    if let (Some(path), text) = (&scale.label_selector, &scale.label_selector_text)
        && let Some(value) = nested(path, object).filter(|it| !it.is_string())
    {
        let why = format!("{text} accessor error: {value} is of the type {}, expected string", go_type(value));
        errors.invalid(&**text, "", why);
    }
}

/// The value at a path of fields.
pub fn nested<'v>(path: &JsonPath, object: &'v Map<String, Value>) -> Option<&'v Value> {
    let mut names = path.fields()?.into_iter();
    let first = object.get(names.next()?)?;
    names.try_fold(first, |at, name| at.get(name)).filter(|it| !it.is_null())
}

/// How Go names the type of a value in an unstructured object.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
