//! The rules for the containers of a pod, each for itself and all together.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, VolumeMount};

use super::environment;
use super::handlers;
use super::resources;
use super::validation::{validate_id, validate_seccomp};
use super::volumes::{self, Volumes};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Notes every mistake in the containers and init containers of a pod whose specification stands at `path`.
pub(super) fn validate_all(spec: &PodSpec, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let on_host = spec.host_network == Some(true);
    let mut names: HashSet<&str> = HashSet::new();
    let at = path.child("containers");
    if spec.containers.is_empty() {
        errors.required(at.clone(), "");
    }
    let mut host_ports: HashSet<(&str, &str, i32)> = HashSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let path = at.index(index);
        validate(container, volumes, on_host, &path, errors);
        if !container.name.is_empty() && !names.insert(&container.name) {
            errors.duplicate(path.child("name"), &container.name);
        }
        if container.restart_policy.is_some() && container.restart_policy_rules.is_none() {
            checks::none_or_one_of(
                container.restart_policy.as_deref(),
                &["Always", "Never", "OnFailure"],
                || path.child("restartPolicy"),
                errors,
            );
        }
        host_port_conflicts(container, &mut host_ports, &path, errors);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = path.child("initContainers").index(index);
        validate(container, volumes, on_host, &path, errors);
        if !container.name.is_empty() && !names.insert(&container.name) {
            errors.duplicate(path.child("name"), &container.name);
        }
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        if !sidecar {
            // Such a container has ended before anyone could ask how it is.
            for (field, is_set) in [
                ("lifecycle", container.lifecycle.is_some()),
                ("livenessProbe", container.liveness_probe.is_some()),
                ("readinessProbe", container.readiness_probe.is_some()),
                ("startupProbe", container.startup_probe.is_some()),
            ] {
                if is_set {
                    errors.forbidden(
                        path.child(field),
                        "may not be set for init containers without restartPolicy=Always",
                    );
                }
            }
        }
        // Init containers run one after the other: each conflicts with itself only.
        host_port_conflicts(container, &mut HashSet::new(), &path, errors);
    }
}

fn validate(it: &Container, volumes: &Volumes<'_>, on_host: bool, path: &Path, errors: &mut Errors) {
    checks::named(&it.name, name::dns1123_label, || path.child("name"), errors);
    let image = it.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.required(path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(path.child("image"), image, "must not have leading or trailing whitespace");
    }
    checks::one_of(
        it.termination_message_policy.as_deref(),
        &["File", "FallbackToLogsOnError"],
        || path.child("terminationMessagePolicy"),
        errors,
    );
    if let Some(ports) = &it.ports {
        validate_ports(ports, on_host, &path.child("ports"), errors);
    }
    if let Some(env) = &it.env {
        environment::validate_variables(env, &path.child("env"), errors);
    }
    if let Some(sources) = &it.env_from {
        environment::validate_sources(sources, &path.child("envFrom"), errors);
    }
    if let Some(mounts) = &it.volume_mounts {
        validate_mounts(mounts, volumes, &path.child("volumeMounts"), errors);
    }
    if let Some(resources) = &it.resources {
        resources::validate(resources, &path.child("resources"), errors);
    }
    checks::one_of(it.image_pull_policy.as_deref(), PULL_POLICIES, || path.child("imagePullPolicy"), errors);
    handlers::validate(it, path, errors);
    validate_security(it, path, errors);
}

fn validate_ports(ports: &[ContainerPort], on_host: bool, path: &Path, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        if let Some(text) = port.name.as_deref().filter(|it| !it.is_empty()) {
            let complaints = name::port_name(text);
            if complaints.is_empty() && !names.insert(text) {
                errors.duplicate(path.child("name"), text);
            }
            for complaint in complaints {
                errors.invalid(path.child("name"), text, complaint);
            }
        }
        match port.container_port {
            0 => errors.required(path.child("containerPort"), ""),
            number => checks::port_number(number, || path.child("containerPort"), errors),
        }
        if let Some(number) = port.host_port.filter(|it| *it != 0) {
            checks::port_number(number, || path.child("hostPort"), errors);
            if on_host && number != port.container_port {
                errors.invalid(
                    path.child("containerPort"),
                    port.container_port,
                    "must match `hostPort` when `hostNetwork` is true",
                );
            }
        }
        checks::one_of(port.protocol.as_deref(), PROTOCOLS, || path.child("protocol"), errors);
    }
}

fn host_port_conflicts<'a>(
    it: &'a Container,
    taken: &mut HashSet<(&'a str, &'a str, i32)>,
    path: &Path,
    errors: &mut Errors,
) {
    for (index, port) in it.ports.iter().flatten().enumerate() {
        let number = port.host_port.unwrap_or(0);
        let (protocol, ip) =
            (port.protocol.as_deref().unwrap_or_default(), port.host_ip.as_deref().unwrap_or_default());
        if number != 0 && !taken.insert((protocol, ip, number)) {
            errors.duplicate(path.child("ports").index(index).child("hostPort"), format!("{protocol}/{ip}/{number}"));
        }
    }
}

fn validate_mounts(mounts: &[VolumeMount], volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let mut places = HashSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let at = || path.index(index);
        if mount.name.is_empty() {
            errors.required(at().child("name"), "");
        }
        if !volumes.contains(mount.name.as_str()) {
            errors.not_found(at().child("name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            errors.required(at().child("mountPath"), "");
        }
        if !places.insert(mount.mount_path.as_str()) {
            errors.invalid(at().child("mountPath"), &mount.mount_path, "must be unique");
        }
        if let Some(sub) = mount.sub_path.as_deref().filter(|it| !it.is_empty()) {
            volumes::validate_descending_path(sub, || at().child("subPath"), errors);
        }
        if let Some(sub) = mount.sub_path_expr.as_deref().filter(|it| !it.is_empty()) {
            if mount.sub_path.as_deref().is_some_and(|it| !it.is_empty()) {
                errors.invalid(at().child("subPathExpr"), sub, "subPathExpr and subPath are mutually exclusive");
            }
            volumes::validate_descending_path(sub, || at().child("subPathExpr"), errors);
        }
        checks::none_or_one_of(
            mount.mount_propagation.as_deref(),
            &["Bidirectional", "HostToContainer", "None"],
            || at().child("mountPropagation"),
            errors,
        );
    }
}

fn validate_security(it: &Container, path: &Path, errors: &mut Errors) {
    let Some(context) = &it.security_context else { return };
    let path = path.child("securityContext");
    validate_id(context.run_as_user, || path.child("runAsUser"), errors);
    validate_id(context.run_as_group, || path.child("runAsGroup"), errors);
    checks::none_or_one_of(context.proc_mount.as_deref(), &["Default", "Unmasked"], || path.child("procMount"), errors);
    validate_seccomp(context.seccomp_profile.as_ref(), &path, errors);
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            errors.invalid(
                path.clone(),
                context,
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        let added = context.capabilities.as_ref().and_then(|it| it.add.as_deref()).unwrap_or_default();
        if added.iter().any(|it| it == "CAP_SYS_ADMIN") {
            errors.invalid(
                path,
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
}
