//! The rules for annotations that mean something to Kubernetes where a pod has them, among them those that were fields' names before.
//!
//! Source: `ValidatePodSpecificAnnotations`, `ValidatePodSpecificAnnotationUpdates` and the functions `validate*AnnotationsAndFields*` in
//! `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{AppArmorProfile, PodSpec, SeccompProfile, SecurityContext};

use super::volumes::validate_descending_path;
use crate::field::{Errors, Path};

type Annotations = BTreeMap<String, String>;

/// The annotation by which a ReplicaSet chooses which pod goes first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The annotation of a pod that stands for one that a node runs by itself.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Those by which profiles were named before there were fields for them; a container's name follows the last two.
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Every container of a pod: where it stands, its name and its security context.
fn containers(spec: &PodSpec) -> impl Iterator<Item = (Path, &str, Option<&SecurityContext>)> {
    let at = |field: &'static str, index: usize| Path::new("spec").child(field).index(index);
    let init = spec.init_containers.iter().flatten().enumerate();
    let init = init.map(move |(index, it)| (at("initContainers", index), &*it.name, it.security_context.as_ref()));
    let regular = spec.containers.iter().enumerate();
    let regular = regular.map(move |(index, it)| (at("containers", index), &*it.name, it.security_context.as_ref()));
    let debug = spec.ephemeral_containers.iter().flatten().enumerate();
    let debug =
        debug.map(move |(index, it)| (at("ephemeralContainers", index), &*it.name, it.security_context.as_ref()));
    init.chain(regular).chain(debug)
}

/// Notes every mistake in the annotations of a pod or a template.
pub fn validate(annotations: &Annotations, spec: &PodSpec, path: impl Fn() -> Path, errors: &mut Errors) {
    let unbound = spec.node_name.as_deref().unwrap_or_default().is_empty();
    if let Some(value) = annotations.get(MIRROR).filter(|_| unbound) {
        errors.invalid(path().key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(cost) = annotations.get(DELETION_COST) {
        // Neither a plus nor leading zeros, so that every number has one text.
        let is_plain = cost.parse::<i32>().is_ok_and(|it| it.to_string() == *cost);
        if !is_plain {
            errors.invalid(path().key(DELETION_COST), cost, "must be a 32bit integer");
        }
    }
    let of_containers = annotations.iter().filter(|(key, _)| key.starts_with(CONTAINER_SECCOMP));
    for (key, profile) in annotations.get_key_value(SECCOMP).into_iter().chain(of_containers) {
        validate_seccomp(profile, || path().child(key), errors);
    }
    for (key, profile) in annotations {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        if !containers(spec).any(|(_, it, _)| it == name) {
            errors.invalid(path().key(key), name, "container not found");
        }
        let known =
            matches!(profile.as_str(), "" | "runtime/default" | "unconfined") || profile.starts_with("localhost/");
        if !known {
            errors.invalid(path().key(key), profile, format!("invalid AppArmor profile name: {profile:?}"));
        }
    }
}

fn validate_seccomp(profile: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => validate_descending_path(file, path, errors),
        None => errors.invalid(path(), profile, "must be a valid seccomp profile"),
    }
}

/// Notes where a new pod's annotations and fields name different profiles.
pub fn validate_matching(annotations: &Annotations, spec: &PodSpec, errors: &mut Errors) {
    let of_pod = spec.security_context.as_ref();
    if let (Some(text), Some(field)) = (annotations.get(SECCOMP), of_pod.and_then(|it| it.seccomp_profile.as_ref())) {
        match_seccomp(text, field, || Path::from("spec.securityContext.seccompProfile"), errors);
    }
    for (at, name, context) in containers(spec) {
        let field = context.and_then(|it| it.seccomp_profile.as_ref());
        if let (Some(text), Some(field)) = (annotations.get(&format!("{CONTAINER_SECCOMP}{name}")), field) {
            match_seccomp(text, field, || at.child("securityContext").child("seccompProfile"), errors);
        }
    }
    if spec.os.as_ref().is_some_and(|it| it.name == "windows") {
        return;
    }
    for (at, name, context) in containers(spec) {
        let own = context.and_then(|it| it.app_armor_profile.as_ref());
        let field = own.or(of_pod.and_then(|it| it.app_armor_profile.as_ref()));
        if let (Some(text), Some(field)) = (annotations.get(&format!("{APP_ARMOR}{name}")), field) {
            match_app_armor(text, field, || at.child("securityContext").child("appArmorProfile"), errors);
        }
    }
}

fn match_seccomp(text: &str, field: &SeccompProfile, path: impl Fn() -> Path, errors: &mut Errors) {
    let same_type = match field.type_.as_str() {
        "Unconfined" => text == "unconfined",
        "RuntimeDefault" => matches!(text, "runtime/default" | "docker/default"),
        "Localhost" => text.starts_with("localhost/"),
        _ => true,
    };
    if !same_type {
        errors.forbidden(path().child("type"), "seccomp type in annotation and field must match");
    } else if field.type_ == "Localhost" && text.strip_prefix("localhost/") != field.localhost_profile.as_deref() {
        errors.forbidden(path().child("localhostProfile"), "seccomp profile in annotation and field must match");
    }
}

fn match_app_armor(text: &str, field: &AppArmorProfile, path: impl Fn() -> Path, errors: &mut Errors) {
    let same_type = match field.type_.as_str() {
        "Unconfined" => text == "unconfined",
        "RuntimeDefault" => text == "runtime/default",
        "Localhost" => text.starts_with("localhost/"),
        _ => true,
    };
    if !same_type {
        errors.forbidden(path().child("type"), "apparmor type in annotation and field must match");
    } else if field.type_ == "Localhost" && text.strip_prefix("localhost/") != field.localhost_profile.as_deref() {
        errors.forbidden(path().child("localhostProfile"), "apparmor profile in annotation and field must match");
    }
}

/// Notes which annotations no update may touch.
pub fn validate_update(new: Option<&Annotations>, old: Option<&Annotations>, errors: &mut Errors) {
    let path = || Path::from("metadata.annotations");
    let get = |of: Option<&'_ Annotations>, key: &str| of.and_then(|it| it.get(key)).cloned();
    for key in old.into_iter().flat_map(BTreeMap::keys).filter(|it| get(new, it) != get(old, it)) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(path().key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(path().key(key), "may not remove or update mirror pod annotation");
        }
    }
    for key in new.into_iter().flat_map(BTreeMap::keys).filter(|it| get(old, it).is_none()) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(path().key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(path().key(key), "may not add mirror pod annotation");
        }
    }
}
