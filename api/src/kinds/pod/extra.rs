//! What two subresources may change of a running pod: containers for debugging are added, and resources are changed in place.
//!
//! Source: `ephemeralContainersStrategy` and `resizeStrategy` in `k8s.io/kubernetes/pkg/registry/core/pod`, `ValidatePodEphemeralContainersUpdate`
//! and `ValidatePodResize` in `pkg/apis/core/validation`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::update::changed_fields;
use crate::field::{Errors, Path};
use crate::kinds::pod_spec::annotations::MIRROR;
use crate::kinds::pod_spec::resources;

/// What may be changed in place.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Takes only the containers for debugging from the new pod.
pub(super) fn keep_but_ephemeral(new: &mut Pod, old: &Pod) {
    let containers = new.spec.as_mut().and_then(|it| it.ephemeral_containers.take());
    keep_metadata(new, old);
    new.spec.clone_from(&old.spec);
    new.status.clone_from(&old.status);
    if let Some(spec) = &mut new.spec {
        spec.ephemeral_containers = containers;
    }
}

/// Takes only the resources of containers, and how they take to a change, from the new pod. Where containers were added, taken away or
/// renamed, the new specification stays, to be refused.
pub(super) fn keep_but_resources(new: &mut Pod, old: &Pod) {
    keep_metadata(new, old);
    new.status.clone_from(&old.status);
    let (Some(now), Some(before)) = (&mut new.spec, &old.spec) else { return };
    let names = |it: &PodSpec| -> Vec<String> { all(it).map(|it| it.name.clone()).collect() };
    if now.containers.len() != before.containers.len() || names(now) != names(before) {
        return;
    }
    let mut kept = before.clone();
    for (kept, new) in all_mut(&mut kept).zip(all(now)) {
        kept.resources.clone_from(&new.resources);
        kept.resize_policy.clone_from(&new.resize_policy);
    }
    *now = kept;
}

fn keep_metadata(new: &mut Pod, old: &Pod) {
    let managed = new.metadata.managed_fields.take();
    new.metadata.clone_from(&old.metadata);
    new.metadata.managed_fields = managed;
}

fn all(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

fn all_mut(spec: &mut PodSpec) -> impl Iterator<Item = &mut Container> {
    spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten())
}

/// Notes where containers for debugging are changed or taken away: they may only be added.
pub(super) fn validate_ephemeral(
    new: &PodSpec,
    old: &PodSpec,
    annotations: Option<&BTreeMap<String, String>>,
    errors: &mut Errors,
) {
    if annotations.is_some_and(|it| it.contains_key(MIRROR)) {
        return errors.forbidden("", "static pods do not support ephemeral containers");
    }
    let path = Path::new("spec").child("ephemeralContainers");
    for before in old.ephemeral_containers.iter().flatten() {
        let name = &before.name;
        match new.ephemeral_containers.iter().flatten().find(|it| it.name == *name) {
            None => {
                errors.forbidden(path.clone(), format!("existing ephemeral containers {name:?} may not be removed\n"));
            }
            Some(now) if now != before => {
                errors.forbidden(path.clone(), format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}

/// Notes what a change of resources may not do.
pub(super) fn validate_resize(pod: &Pod, old: Option<&Pod>, before: &PodSpec, errors: &mut Errors) {
    let (Some(now), Some(old)) = (&pod.spec, old) else { return };
    let of_pod = |it: &PodSpec| it.resources.as_ref().is_some_and(|it| it.limits.is_some() || it.requests.is_some());
    let on_windows = before.os.as_ref().is_some_and(|it| it.name == "windows");
    let mirrors = old.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(MIRROR));
    for (is_so, why) in [
        (of_pod(before) || of_pod(now), "pods with pod-level resources cannot be resized"),
        (mirrors, "static pods cannot be resized"),
        (on_windows, "windows pods cannot be resized"),
    ] {
        if is_so {
            return errors.forbidden("", why);
        }
    }
    let path = Path::new("spec");
    let class = old.status.as_ref().and_then(|it| it.qos_class.as_deref());
    if class.is_some_and(|it| it != resources::quality_of_service(now)) {
        errors.invalid(path.clone(), class, "Pod QOS Class may not change as a result of resizing");
    }
    if !old.status.as_ref().is_none_or(node_resizes) {
        errors.forbidden(path.clone(), "Pod running on node without support for resize");
    }
    let mut same_order = true;
    let init = |it: &PodSpec| it.init_containers.clone().unwrap_or_default();
    for (field, now, before) in
        [("containers", &now.containers, &before.containers), ("initContainers", &init(now), &init(before))]
    {
        let path = path.child(field);
        same_order &= validate_order(now, before, field, &path, errors);
        for (at, (now, before)) in now.iter().zip(before).enumerate().filter(|_| same_order) {
            validate_container(now, before, || path.index(at).child("resources"), errors);
        }
    }
    if !same_order {
        return;
    }
    let mut same = now.clone();
    let mut told = false;
    let mut differs = |now: &Container, before: &Container, why: &str| {
        if now != before {
            errors.forbidden(path.clone(), why);
            told = true;
        }
    };
    for (now, before) in same.containers.iter_mut().zip(&before.containers) {
        restore(now, before);
        differs(now, before, "only cpu and memory resources are mutable");
    }
    for (now, before) in same.init_containers.iter_mut().flatten().zip(before.init_containers.iter().flatten()) {
        // An init container that ends has what it has.
        if before.restart_policy.as_deref() == Some("Always") {
            restore(now, before);
            differs(now, before, "only cpu and memory resources for sidecar containers are mutable");
        } else {
            differs(now, before, "resources for non-sidecar init containers are immutable");
        }
    }
    if !told && same != *before {
        let changed = changed_fields(&same, before).join("\n");
        errors.forbidden(path, format!("only cpu and memory resources are mutable\n{changed}"));
    }
}

/// Whether the node tells what its containers have, and so can change it. If none runs, nobody knows.
fn node_resizes(status: &PodStatus) -> bool {
    let running = |it: &&_| {
        let it: &&k8s_openapi::api::core::v1::ContainerStatus = it;
        it.state.as_ref().is_some_and(|it| it.running.is_some())
    };
    status.container_statuses.iter().flatten().find(running).is_none_or(|it| it.resources.is_some())
}

fn validate_order(now: &[Container], before: &[Container], field: &str, path: &Path, errors: &mut Errors) -> bool {
    if now.len() != before.len() {
        errors.forbidden(path.clone(), format!("{field} may not be added or removed on resize"));
        return false;
    }
    let mut same = true;
    for (at, _) in now.iter().zip(before).enumerate().filter(|(_, (now, before))| now.name != before.name) {
        let why = format!("{field} may not be renamed or reordered on resize");
        errors.forbidden(path.index(at).child("name"), why);
        same = false;
    }
    same
}

fn validate_container(now: &Container, before: &Container, path: impl Fn() -> Path, errors: &mut Errors) {
    let nothing = ResourceRequirements::default();
    let (now, before) = (now.resources.as_ref().unwrap_or(&nothing), before.resources.as_ref().unwrap_or(&nothing));
    if now.claims != before.claims {
        errors.forbidden(path(), "claims may not be changed on resize");
    }
    for (field, now, before, why) in [
        ("requests", &now.requests, &before.requests, "resource requests cannot be removed"),
        ("limits", &now.limits, &before.limits, "resource limits cannot be removed"),
    ] {
        let kept = |name: &String| now.as_ref().is_some_and(|it| it.contains_key(name));
        if !before.iter().flatten().all(|(name, _)| kept(name)) {
            errors.forbidden(path().child(field), why);
        }
    }
}

/// What of a container may change as it was before.
fn restore(now: &mut Container, before: &Container) {
    if now.resources != before.resources {
        now.resize_policy.clone_from(&before.resize_policy);
        put_back(&mut now.resources, before.resources.as_ref());
    }
}

/// The amounts that may change as they were before.
fn put_back(now: &mut Option<ResourceRequirements>, before: Option<&ResourceRequirements>) {
    fn list(now: &mut Option<BTreeMap<String, Text>>, before: Option<&BTreeMap<String, Text>>) {
        for name in RESIZABLE {
            match before.and_then(|it| it.get(name)) {
                Some(amount) => {
                    now.get_or_insert_with(Default::default).insert(name.to_owned(), amount.clone());
                }
                None => {
                    now.as_mut().and_then(|it| it.remove(name));
                }
            }
        }
        now.take_if(|it| it.is_empty() && before.is_none());
    }
    let now = now.get_or_insert_with(Default::default);
    list(&mut now.limits, before.and_then(|it| it.limits.as_ref()));
    list(&mut now.requests, before.and_then(|it| it.requests.as_ref()));
}
