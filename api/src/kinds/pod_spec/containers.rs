//! The rules for the containers of a pod, each for itself and all together. Their mounts and devices have [`mounts`].
//!
//! Source: `validateContainers` and `validateInitContainers` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, ContainerPort, ContainerResizePolicy, EphemeralContainer, PodSpec};

use super::claims;
use super::environment;
use super::handlers;
use super::mounts;
use super::resources;
use super::security;
use super::volumes::Volumes;
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

pub(super) const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];

/// How many rules a container may have for when it runs again, and how many exit codes a rule.
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// What the rules for one container have to know of its pod.
struct Around<'a> {
    spec: &'a PodSpec,
    volumes: &'a Volumes<'a>,
}

/// Notes every mistake in the containers and init containers of a pod whose specification stands at `path`.
pub(super) fn validate_all(spec: &PodSpec, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let around = Around { spec, volumes };
    let mut names: HashSet<&str> = HashSet::new();
    validate_regular(&around, &mut names, &path.child("containers"), errors);
    if spec.init_containers.is_some() {
        validate_init(&around, &mut names, &path.child("initContainers"), errors);
    }
    if spec.ephemeral_containers.is_some() {
        validate_ephemeral(&around, &mut names, &path.child("ephemeralContainers"), errors);
    }
    if spec.host_network == Some(true) {
        validate_host_network(spec, path, errors);
    }
}

fn validate_regular<'a>(around: &Around<'a>, names: &mut HashSet<&'a str>, at: &Path, errors: &mut Errors) {
    if around.spec.containers.is_empty() {
        errors.required(at.clone(), "");
        return;
    }
    for (index, container) in around.spec.containers.iter().enumerate() {
        let path = at.index(index);
        validate(container, around, &path, errors);
        if !names.insert(&container.name) {
            errors.duplicate(path.child("name"), &container.name);
        }
        handlers::validate(container, around.spec.termination_grace_period_seconds, &path, errors);
        validate_restart_policy(container, &path, errors);
    }
    // These run side by side: all their ports on the host must differ.
    let mut taken = HashSet::new();
    for (index, container) in around.spec.containers.iter().enumerate() {
        host_port_conflicts(container, &mut taken, || at.index(index), errors);
    }
}

fn validate_init<'a>(around: &Around<'a>, names: &mut HashSet<&'a str>, at: &Path, errors: &mut Errors) {
    for (index, container) in around.spec.init_containers.iter().flatten().enumerate() {
        let path = at.index(index);
        validate(container, around, &path, errors);
        validate_restart_policy(container, &path, errors);
        if !container.name.is_empty() && !names.insert(&container.name) {
            errors.duplicate(path.child("name"), &container.name);
        }
        // Init containers run one after the other: each conflicts with itself only, and is told as a list of one, as Kubernetes does.
        host_port_conflicts(container, &mut HashSet::new(), || at.index(0), errors);
        if container.restart_policy.as_deref() == Some("Always") {
            handlers::validate(container, around.spec.termination_grace_period_seconds, &path, errors);
            continue;
        }
        // Such a container has ended before anyone could ask how it is.
        for (field, is_set) in [
            ("lifecycle", container.lifecycle.is_some()),
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("startupProbe", container.startup_probe.is_some()),
        ] {
            if is_set {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(path.child(field), why);
            }
        }
    }
}

/// A container for debugging, as one of the others, to which most rules apply.
fn as_container(it: &EphemeralContainer) -> Container {
    let it = it.clone();
    Container {
        name: it.name,
        image: it.image,
        image_pull_policy: it.image_pull_policy,
        env: it.env,
        env_from: it.env_from,
        volume_mounts: it.volume_mounts,
        volume_devices: it.volume_devices,
        termination_message_policy: it.termination_message_policy,
        security_context: it.security_context,
        ..Container::default()
    }
}

fn validate_ephemeral(around: &Around<'_>, names: &mut HashSet<&str>, at: &Path, errors: &mut Errors) {
    const WHY: &str = "cannot be set for an Ephemeral Container";
    let all = around.spec.ephemeral_containers.as_deref().unwrap_or_default();
    for (index, it) in all.iter().enumerate() {
        let path = at.index(index);
        validate(&as_container(it), around, &path, errors);
        let taken = names.contains(it.name.as_str()) || all[..index].iter().any(|other| other.name == it.name);
        if taken {
            errors.duplicate(path.child("name"), &it.name);
        }
        if let Some(target) = it.target_container_name.as_deref().filter(|it| !it.is_empty() && !names.contains(it)) {
            errors.not_found(path.child("targetContainerName"), target);
        }
        for (field, is_set) in [
            ("ports", it.ports.as_ref().is_some_and(|it| !it.is_empty())),
            ("resources", it.resources.as_ref().is_some_and(|it| *it != Default::default())),
            ("resizePolicy", it.resize_policy.as_ref().is_some_and(|it| !it.is_empty())),
            ("restartPolicy", it.restart_policy.is_some()),
            ("restartPolicyRules", it.restart_policy_rules.as_ref().is_some_and(|it| !it.is_empty())),
            ("livenessProbe", it.liveness_probe.is_some()),
            ("readinessProbe", it.readiness_probe.is_some()),
            ("startupProbe", it.startup_probe.is_some()),
            ("lifecycle", it.lifecycle.is_some()),
        ] {
            if is_set {
                errors.forbidden(path.child(field), WHY);
            }
        }
        for (number, mount) in it.volume_mounts.iter().flatten().enumerate() {
            for (field, text) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
                if text.as_deref().is_some_and(|it| !it.is_empty()) {
                    errors.forbidden(path.child("volumeMounts").index(number).child(field), WHY);
                }
            }
        }
    }
}

/// What only a pod itself is asked, not a template, so that templates may have placeholders for images.
pub(super) fn validate_images(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (field, containers) in [("containers", spec.containers.as_slice()), ("initContainers", init)] {
        for (index, container) in containers.iter().enumerate() {
            let image = container.image.as_deref().unwrap_or_default();
            if image.trim() != image {
                let why = "must not have leading or trailing whitespace";
                errors.invalid(path.child(field).index(index).child("image"), image, why);
            }
        }
    }
}

fn validate(it: &Container, around: &Around<'_>, path: &Path, errors: &mut Errors) {
    checks::named(&it.name, name::dns1123_label, || path.child("name"), errors);
    if it.image.as_deref().unwrap_or_default().is_empty() {
        errors.required(path.child("image"), "");
    }
    let policy = it.termination_message_policy.as_deref();
    let policies = &["File", "FallbackToLogsOnError"];
    checks::one_of(policy, policies, || path.child("terminationMessagePolicy"), errors);
    if let Some(ports) = &it.ports {
        validate_ports(ports, &path.child("ports"), errors);
    }
    if let Some(env) = &it.env {
        environment::validate_variables(env, &path.child("env"), errors);
    }
    if let Some(sources) = &it.env_from {
        environment::validate_sources(sources, &path.child("envFrom"), errors);
    }
    mounts::validate(it, around.volumes, path, errors);
    checks::one_of(it.image_pull_policy.as_deref(), PULL_POLICIES, || path.child("imagePullPolicy"), errors);
    if let Some(resources) = &it.resources {
        resources::validate(resources, || path.child("resources"), errors);
        let at = || path.child("resources").child("claims");
        claims::validate_taken(resources.claims.as_deref(), around.spec, at, errors);
    }
    if let Some(policies) = &it.resize_policy {
        let never = around.spec.restart_policy.as_deref() == Some("Never");
        validate_resizing(policies, never, &path.child("resizePolicy"), errors);
    }
    if let Some(context) = &it.security_context {
        let host_users = around.spec.host_users != Some(false);
        security::validate_container(context, host_users, &path.child("securityContext"), errors);
    }
}

/// When a container runs again, by a policy of its own and by rules that go by how it ended.
fn validate_restart_policy(it: &Container, path: &Path, errors: &mut Errors) {
    let rules = it.restart_policy_rules.as_deref().unwrap_or_default();
    if !rules.is_empty() && it.restart_policy.is_none() {
        errors.required(path.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    let at = || path.child("restartPolicy");
    checks::none_or_one_of(it.restart_policy.as_deref(), RESTART_POLICIES, at, errors);
    let path = path.child("restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.too_many(path.clone(), rules.len(), RULES_MAX);
    }
    for (at, rule) in rules.iter().enumerate() {
        let path = || path.index(at);
        if rule.action != "Restart" {
            errors.not_supported(path().child("action"), &rule.action, &["Restart"]);
        }
        let Some(codes) = &rule.exit_codes else {
            errors.required(path().child("exitCodes"), "must be specified");
            continue;
        };
        let path = || path().child("exitCodes");
        if !matches!(codes.operator.as_str(), "In" | "NotIn") {
            errors.not_supported(path().child("operator"), &codes.operator, &["In", "NotIn"]);
        }
        let count = codes.values.as_ref().map_or(0, Vec::len);
        if count > EXIT_CODES_MAX {
            errors.too_many(path().child("values"), count, EXIT_CODES_MAX);
        }
    }
}

fn validate_ports(ports: &[ContainerPort], path: &Path, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = || path.index(index);
        if let Some(text) = port.name.as_deref().filter(|it| !it.is_empty()) {
            let complaints = name::port_name(text);
            if complaints.is_empty() && !names.insert(text) {
                errors.duplicate(at().child("name"), text);
            }
            for complaint in complaints {
                errors.invalid(at().child("name"), text, complaint);
            }
        }
        match port.container_port {
            0 => errors.required(at().child("containerPort"), ""),
            number => checks::port_number(number, || at().child("containerPort"), errors),
        }
        if let Some(number) = port.host_port.filter(|it| *it != 0) {
            checks::port_number(number, || at().child("hostPort"), errors);
        }
        checks::one_of(port.protocol.as_deref(), PROTOCOLS, || at().child("protocol"), errors);
    }
}

/// On the host's network a container's ports are the host's. Templates may leave the second number out: the pod gets it.
fn validate_host_network(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    for (index, container) in spec.containers.iter().enumerate() {
        for (at, port) in container.ports.iter().flatten().enumerate() {
            let on_host = port.host_port.unwrap_or(0);
            if on_host != 0 && on_host != port.container_port {
                errors.invalid(
                    path.child("containers").index(index).child("ports").index(at).child("hostPort"),
                    on_host,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

fn host_port_conflicts<'a>(
    it: &'a Container,
    taken: &mut HashSet<(&'a str, &'a str, i32)>,
    path: impl Fn() -> Path,
    errors: &mut Errors,
) {
    for (index, port) in it.ports.iter().flatten().enumerate() {
        let number = port.host_port.unwrap_or(0);
        let (protocol, ip) =
            (port.protocol.as_deref().unwrap_or_default(), port.host_ip.as_deref().unwrap_or_default());
        if number != 0 && !taken.insert((protocol, ip, number)) {
            let at = path().child("ports").index(index).child("hostPort");
            errors.duplicate(at, format!("{protocol}/{ip}/{number}"));
        }
    }
}

fn validate_resizing(policies: &[ContainerResizePolicy], never_restarts: bool, path: &Path, errors: &mut Errors) {
    for (index, it) in policies.iter().enumerate() {
        if policies.iter().take(index).any(|other| other.resource_name == it.resource_name) {
            errors.duplicate(path.index(index), &it.resource_name);
        }
        checks::one_of(Some(&it.resource_name), &["cpu", "memory"], || path.clone(), errors);
        checks::one_of(Some(&it.restart_policy), &["NotRequired", "RestartContainer"], || path.clone(), errors);
        if never_restarts && it.restart_policy != "NotRequired" {
            let why = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.invalid(path.clone(), &it.restart_policy, why);
        }
    }
}
