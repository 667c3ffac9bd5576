//! Bindings: a pod gets its node, once.
//!
//! `POST pods/<name>/binding`, and the same to `bindings` in the pod's namespace. The texts of conflicts are Kubernetes'
//! (`pkg/registry/core/pod/storage`), because schedulers and people read them.

use http::StatusCode;
use orlop_api::field::Errors;
use orlop_api::kind::{Body, Kind, Part, Sub};
use orlop_api::status::{self, Status};
use orlop_client::clock;
use serde_json::{Value, json};

use super::content;
use crate::aside::{self, Aside};
use crate::cache::Object;
use crate::commit::{Change, Writer};
use crate::core::Core;
use crate::present::{self, Response};
use crate::registry;
use crate::stage::{Authorized, Operation};

/// A binding, read and checked.
struct Bind {
    node: String,
    annotations: Value,
    uid: String,
    revision: String,
    now: String,
}

impl Change for Bind {
    fn apply<'a>(&'a self, old: &Object) -> status::Result<Body<'a>> {
        let mut pod = old.value();
        let name = &*old.head.name;
        let conflict = |why: String| Err(Status::conflict("", "pods/binding", name, &why));
        if !self.uid.is_empty() && *self.uid != *old.head.uid {
            let (asked, stands) = (&self.uid, &old.head.uid);
            return conflict(format!(
                "Precondition failed: UID in precondition: {asked}, UID in object meta: {stands}"
            ));
        }
        if !self.revision.is_empty() && self.revision != old.revision.to_string() {
            let (asked, stands) = (&self.revision, old.revision);
            return conflict(format!(
                "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {stands}"
            ));
        }
        if old.head.deleting {
            return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|it| !it.is_empty()) {
            return conflict(format!("pod {name} is already assigned to node {node:?}"));
        }
        if pod["spec"]["schedulingGates"].as_array().is_some_and(|it| !it.is_empty()) {
            return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
            if let Some(annotations) = self.annotations.as_object() {
                let standing = metadata.entry("annotations").or_insert_with(|| json!({}));
                for (key, value) in annotations {
                    standing[key] = value.clone();
                }
            }
        }
        pod["spec"]["nodeName"] = self.node.as_str().into();
        let scheduled = json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": self.now });
        if !pod["status"].is_object() {
            pod["status"] = json!({});
        }
        match pod["status"]["conditions"].as_array_mut() {
            Some(conditions) => {
                conditions.retain(|it| it["type"] != "PodScheduled");
                conditions.push(scheduled);
            }
            None => pod["status"]["conditions"] = json!([scheduled]),
        }
        Ok(Body::Value(pod))
    }
}

/// Binds a pod.
///
/// # Errors
/// `NotFound`, `Invalid` for a binding to anything but a node, and `Conflict` for a pod that cannot be bound any more.
pub async fn create(core: &Core, it: &Authorized, body: &[u8]) -> status::Result<Response> {
    let request = it.request();
    let pods: &'static Kind = registry::named("", "Pod").ok_or_else(Status::no_such_path)?;
    let binding = content::object_of(request, "Binding", "v1", body)?.value()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let given = text(&binding["metadata"]["name"]);
    let name = if request.name.is_empty() { given.clone() } else { request.name.clone() };
    if !given.is_empty() && given != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let mut errors = Errors::default();
    let target = text(&binding["target"]["kind"]);
    if !target.is_empty() && target != "Node" {
        errors.not_supported("target.kind", &target, &["Node", "<empty>"]);
    }
    if text(&binding["target"]["name"]).is_empty() {
        errors.required("target.name", "");
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "Binding", &name, &errors));
    }
    let aside = Aside::new("v1", "Binding", Sub::Binding, binding);
    let warnings = aside::admit(&core.plugins, it, pods, &name, Operation::Create, &aside).await?;
    let binding = aside.object.into_inner();
    let change = Bind {
        node: text(&binding["target"]["name"]),
        annotations: binding["metadata"]["annotations"].clone(),
        uid: text(&binding["metadata"]["uid"]),
        revision: text(&binding["metadata"]["resourceVersion"]),
        now: orlop_api::meta::whole_seconds(clock::now()).to_string(),
    };
    let mut writer = Writer::new(core, it, pods, Some(Sub::Binding));
    writer.name = &name;
    writer.update(Part::Binding, &change).await?;
    let answer = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    let answer = answer.to_string().into();
    let mut response = present::encoded(StatusCode::CREATED, answer, &request.accept, request.options.pretty)?;
    present::warn(response.headers_mut(), &warnings);
    Ok(response)
}
