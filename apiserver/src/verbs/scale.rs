//! The subresource `scale`: the replicas of a workload, in the same form for every kind (`autoscaling/v1` Scale).

use http::StatusCode;
use orlop_api::custom::Custom;
use orlop_api::custom::json_path::JsonPath;
use orlop_api::kind::{Body, Kind, Part, Sub};
use orlop_api::managed::apply::Applied;
use orlop_api::managed::{self, scale::Scaled};
use orlop_api::selector::label;
use orlop_api::status::{self, Status};
use serde_json::{Value, json};

use super::content;
use super::patch::Patch;
use crate::aside::Aside;
use crate::cache::Object;
use crate::commit::{Change, Recorder, Writer};
use crate::core::Core;
use crate::present::{self, Response};
use crate::stage::Authorized;

/// The kind's name and version in bodies.
const KIND: &str = "Scale";
const API_VERSION: &str = "autoscaling/v1";

/// The scale of an object.
///
/// # Errors
/// Where a custom object has no replicas, as Kubernetes tells it.
fn scale_of(kind: &Kind, object: &Value) -> status::Result<Value> {
    let meta = &object["metadata"];
    let mut out = json!({
        "kind": KIND, "apiVersion": API_VERSION,
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
    });
    let served = kind.custom.map(Custom::now);
    let selector = match served.as_ref().and_then(|it| it.version().scale.as_ref()) {
        None => {
            out["spec"] = json!({ "replicas": object["spec"]["replicas"].as_i64().unwrap_or(0) });
            out["status"] = json!({ "replicas": object["status"]["replicas"].as_i64().unwrap_or(0) });
            selector_of(&object["spec"]["selector"]).map(|it| it.to_string())
        }
        Some(scale) => {
            let at = |path: &JsonPath| path.first(object).filter(|it| !it.is_null());
            let replicas = at(&scale.spec_replicas).and_then(Value::as_i64).ok_or_else(|| {
                Status::internal(format!("the spec replicas field {:?} does not exist", scale.spec_replicas_text))
            })?;
            out["spec"] = json!({ "replicas": replicas });
            out["status"] = json!({ "replicas": at(&scale.status_replicas).and_then(Value::as_i64).unwrap_or(0) });
            let selector = scale.label_selector.as_ref().and_then(at).and_then(Value::as_str);
            selector.filter(|it| !it.is_empty()).map(str::to_owned)
        }
    };
    if let Some(selector) = selector {
        out["status"]["selector"] = selector.into();
    }
    Ok(out)
}

/// The scale of an object before and after, as webhooks and policies see it.
///
/// # Errors
/// Where one of them has none.
pub fn aside(kind: &Kind, new: &str, old: &Object) -> status::Result<Aside> {
    let new: Value = serde_json::from_str(new).map_err(Status::internal)?;
    let mut scale = scale_of(kind, &new)?;
    if let Some(metadata) = scale["metadata"].as_object_mut() {
        metadata.retain(|_, it| !it.is_null());
    }
    let shown = Aside::new(API_VERSION, KIND, Sub::Scale, scale);
    Ok(Aside { old: scale_of(kind, &old.value())?, write_back: Some(scaled), ..shown })
}

/// Sets the replicas of an object.
fn set_replicas(object: &mut Value, kind: &Kind, replicas: i64) {
    let mut at = object;
    for name in replicas_of(kind) {
        // What stands in the way is no object, and not one that its schema lets in.
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[&*name];
    }
    *at = replicas.into();
}

/// The selector of a workload: a LabelSelector, or the plain map of labels that a ReplicationController has.
fn selector_of(value: &Value) -> Option<label::Selector> {
    let pairs = value.as_object()?;
    let plain = !pairs.is_empty() && pairs.values().all(Value::is_string);
    let source = if plain { json!({ "matchLabels": value }) } else { value.clone() };
    label::Selector::from_label_selector(&serde_json::from_value(source).ok()?).ok()
}

/// The object with the replicas of a scale, for the state that the scale names.
fn scaled(mut object: Value, kind: &Kind, scale: &Value) -> status::Result<Value> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let given = &scale["metadata"];
    if let Some(other) = given["name"].as_str().filter(|it| !it.is_empty() && *it != name) {
        return Err(Status::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        )));
    }
    if let Some(uid) = given["uid"].as_str().filter(|it| !it.is_empty())
        && object["metadata"]["uid"] != uid
    {
        let stands = object["metadata"]["uid"].as_str().unwrap_or_default();
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stands}");
        return Err(Status::conflict(kind.group, kind.names.plural, &name, &why));
    }
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        value => value.as_i64().ok_or_else(|| {
            Status::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: spec.replicas: {value}"))
        })?,
    };
    if replicas < 0 {
        let mut errors = orlop_api::field::Errors::default();
        errors.invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", KIND, &name, &errors));
    }
    set_replicas(&mut object, kind, replicas);
    match given["resourceVersion"].as_str().filter(|it| !it.is_empty()) {
        Some(revision) => object["metadata"]["resourceVersion"] = revision.into(),
        None => {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
            }
        }
    }
    Ok(object)
}

/// An object without its managed fields, and those.
fn parts(old: &Object) -> status::Result<(Value, Option<&str>)> {
    let whole = std::str::from_utf8(&old.json).map_err(Status::internal)?;
    let found = managed::text::split(whole);
    let (bare, managed) = found.as_ref().map_or((whole, None), |(bare, managed)| (&**bare, Some(*managed)));
    Ok((serde_json::from_str(bare).map_err(Status::internal)?, managed))
}

/// The object with another scale. Who wrote the scale owns the replicas.
fn written<'a>(old: &Object, kind: &Kind, scale: Value, by: &Recorder) -> status::Result<Body<'a>> {
    let (object, managed) = parts(old)?;
    let stands = scale_of(kind, &object)?;
    let api_version = kind.api_version();
    let replicas = replicas_of(kind);
    let replicas: Vec<&str> = replicas.iter().map(|it| &**it).collect();
    let of = Scaled { managed, api_version: &api_version, replicas: &replicas, scale: &stands };
    let managed = managed::scale::record(of, &scale, &by.writer());
    let bare = scaled(object, kind, &scale)?.to_string();
    Ok(Body::Applied(Applied { bare, managed }))
}

/// Where a kind's objects have their replicas: custom ones where their definition says.
fn replicas_of(kind: &Kind) -> Vec<Box<str>> {
    let served = kind.custom.map(Custom::now);
    let fields = served.as_ref().and_then(|it| it.version().scale.as_ref()).and_then(|it| it.spec_replicas.fields());
    fields.unwrap_or_else(|| vec!["spec", "replicas"]).into_iter().map(Into::into).collect()
}

/// The scale of an object.
///
/// # Errors
/// `NotFound`.
pub async fn get(core: &Core, it: &Authorized, kind: &'static Kind) -> status::Result<Response> {
    let request = it.request();
    core.catch_up().await?;
    let found = core.get(kind, request.object_namespace(), &request.name).await?;
    let found = found.ok_or_else(|| Status::not_found(kind.group, kind.names.plural, &request.name))?;
    let scale = scale_of(kind, &found.value())?.to_string();
    present::encoded(StatusCode::OK, scale.into(), &request.accept, request.options.pretty)
}

struct Set<'r> {
    kind: &'static Kind,
    scale: Value,
    by: &'r Recorder,
}

impl Change for Set<'_> {
    fn apply<'a>(&'a self, old: &Object) -> status::Result<Body<'a>> {
        written(old, self.kind, self.scale.clone(), self.by)
    }
}

struct SetByPatch<'b> {
    kind: &'static Kind,
    patch: Patch<'b>,
    by: &'b Recorder,
}

impl Change for SetByPatch<'_> {
    fn apply<'a>(&'a self, old: &Object) -> status::Result<Body<'a>> {
        let Some((config, by, force)) = self.patch.as_apply() else {
            let scale = self.patch.applied_to(scale_of(self.kind, &old.value())?)?;
            return written(old, self.kind, scale, self.by);
        };
        let (object, managed) = parts(old)?;
        let stands = scale_of(self.kind, &object)?;
        let api_version = self.kind.api_version();
        let replicas = replicas_of(self.kind);
        let replicas: Vec<&str> = replicas.iter().map(|it| &**it).collect();
        let of = Scaled { managed, api_version: &api_version, replicas: &replicas, scale: &stands };
        let Applied { bare, managed } = managed::scale::applied(of, config, &by.writer(), force)?;
        let scale = serde_json::from_str(&bare).map_err(Status::internal)?;
        let bare = scaled(object, self.kind, &scale)?.to_string();
        Ok(Body::Applied(Applied { bare, managed }))
    }
}

/// Replaces the scale of an object.
///
/// # Errors
/// `NotFound`, `Conflict`, and what its kind or admission refuse.
pub async fn update(core: &Core, it: &Authorized, kind: &'static Kind, body: &[u8]) -> status::Result<Response> {
    let scale = content::object_of(it.request(), KIND, API_VERSION, body)?.value()?;
    let by = Recorder::of(it.request(), Some(Sub::Scale));
    write(core, it, kind, &Set { kind, scale, by: &by }).await
}

/// Patches the scale of an object.
///
/// # Errors
/// As [`update`], and what does not fit.
pub async fn patch(core: &Core, it: &Authorized, kind: &'static Kind, body: &[u8]) -> status::Result<Response> {
    let patch = Patch::read(it.request(), kind, Some(Sub::Scale), body)?;
    let by = Recorder::of(it.request(), Some(Sub::Scale));
    write(core, it, kind, &SetByPatch { kind, patch, by: &by }).await
}

async fn write(core: &Core, it: &Authorized, kind: &'static Kind, change: &dyn Change) -> status::Result<Response> {
    let request = it.request();
    let sub = Some(Sub::Scale);
    let written = Writer::new(core, it, kind, sub).update(Part::Main, change).await?;
    let object: Value = serde_json::from_slice(&written.json).map_err(Status::internal)?;
    let scale = scale_of(kind, &object)?.to_string();
    let mut response = present::encoded(StatusCode::OK, scale.into(), &request.accept, request.options.pretty)?;
    present::warn(response.headers_mut(), &written.warnings);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn replicas_go_in_and_come_out() {
        let kind = registry::named("apps", "Deployment").unwrap();
        let object = json!({
            "metadata": { "name": "web", "uid": "u", "resourceVersion": "7" },
            "spec": { "replicas": 3, "selector": { "matchLabels": { "app": "web" } } }, "status": { "replicas": 2 },
        });
        let scale = scale_of(kind, &object).unwrap();
        assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(3), &json!(2)));
        assert_eq!(scale["status"]["selector"], "app=web");
        assert_eq!(selector_of(&json!({ "app": "web" })).unwrap().to_string(), "app=web");
        let set = |scale: Value| scaled(object.clone(), kind, &scale);
        assert_eq!(set(json!({ "spec": { "replicas": 5 } })).unwrap()["spec"]["replicas"], 5);
        assert_eq!(set(json!({ "spec": { "replicas": -1 } })).unwrap_err().code(), 422);
        assert_eq!(set(json!({ "metadata": { "uid": "v" }, "spec": {} })).unwrap_err().code(), 409);
        assert_eq!(set(json!({ "metadata": { "name": "x" }, "spec": {} })).unwrap_err().code(), 400);
    }
}
