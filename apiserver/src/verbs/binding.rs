//! Bindings: a pod gets its node, once.
//!
//! `POST pods/<name>/binding`, and the same to `bindings` in the pod's namespace. The texts of conflicts are Kubernetes'
//! (`pkg/registry/core/pod/storage`), because schedulers and people read them.

use std::collections::BTreeMap;

use http::StatusCode;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::draft;
use orlop_api::field::Errors;
use orlop_api::kind::{Body, Edit, Kind, Part, Sub};
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
#[derive(Debug)]
struct Bind {
    pod: String,
    node: String,
    annotations: Option<BTreeMap<String, String>>,
    uid: String,
    revision: String,
    now: Time,
}

impl Bind {
    fn conflict<T>(&self, why: &str) -> status::Result<T> {
        Err(Status::conflict("", "pods/binding", &self.pod, why))
    }
}

impl Change for Bind {
    fn apply<'a>(&'a self, old: &Object) -> status::Result<Body<'a>> {
        if !self.uid.is_empty() && *self.uid != *old.head.uid {
            let (asked, stands) = (&self.uid, &old.head.uid);
            return self
                .conflict(&format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {stands}"));
        }
        if !self.revision.is_empty() && self.revision != old.revision.to_string() {
            let (asked, stands) = (&self.revision, old.revision);
            return self.conflict(&format!(
                "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {stands}"
            ));
        }
        if old.head.deleting {
            return self.conflict(&format!("pod {} is being deleted, cannot be assigned to a host", self.pod));
        }
        Ok(Body::Edit(self))
    }
}

impl Edit for Bind {
    fn edit(&self, object: &mut dyn draft::Object) -> status::Result<()> {
        let pod: &mut Pod = object.as_any_mut().downcast_mut().ok_or_else(|| Status::internal("not a pod"))?;
        let spec = pod.spec.get_or_insert_default();
        if let Some(node) = spec.node_name.as_deref().filter(|it| !it.is_empty()) {
            return self.conflict(&format!("pod {} is already assigned to node {node:?}", self.pod));
        }
        if spec.scheduling_gates.as_ref().is_some_and(|it| !it.is_empty()) {
            return self.conflict(&format!("pod {} has non-empty .spec.schedulingGates", self.pod));
        }
        spec.node_name = Some(self.node.clone());
        if let Some(annotations) = &self.annotations {
            pod.metadata.annotations.get_or_insert_default().extend(annotations.clone());
        }
        let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|it| it.type_ != "PodScheduled");
        conditions.push(PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(self.now.clone()),
            ..PodCondition::default()
        });
        Ok(())
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
        pod: name.clone(),
        node: text(&binding["target"]["name"]),
        annotations: serde_json::from_value(binding["metadata"]["annotations"].clone())
            .map_err(|error| Status::bad_request(error.to_string()))?,
        uid: text(&binding["metadata"]["uid"]),
        revision: text(&binding["metadata"]["resourceVersion"]),
        now: Time(orlop_api::meta::whole_seconds(clock::now())),
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
