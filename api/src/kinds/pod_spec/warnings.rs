//! What in a pod's specification works, but not as its author may think: each is told to the client.
//!
//! Source: `k8s.io/kubernetes/pkg/api/pod/warnings.go`. A path is made only where there is something to tell.

mod paths;
mod selection;

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::field::Path;
use crate::kinds::{addresses, volume_rules};
pub use selection::{deprecated, of_term};

const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const SECCOMP_ADVICE: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
/// How the profiles of containers were told before there were fields for them.
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// How many warnings are looked for: what fits into an answer's headers (4,096 bytes of some 20 each). Ports that double each other would
/// otherwise make as many as their number squared.
const WARNINGS_MAX: usize = 256;
/// How many pairs of ports are looked at: all of a pod with 1,400 ports of one number.
const PORT_PAIRS_MAX: usize = 1_000_000;
/// Amounts of these are counted in bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

/// The warnings about a pod, or about a template at `at`.
pub fn of_pod(spec: &PodSpec, metadata: Option<&ObjectMeta>, at: Option<&Path>) -> Vec<String> {
    let mut out = Vec::new();
    let at_template = at.is_some();
    let child = |name: &str| at.map_or_else(|| Path::new(name), |it| it.child(name));
    let path = || child("spec");
    selection::of_nodes(spec, path, &mut out);
    let annotations = metadata.and_then(|it| it.annotations.as_ref());
    for (key, message) in ANNOTATIONS {
        if annotations.is_some_and(|it| it.contains_key(*key)) {
            out.push(format!("{}: {message}", child("metadata").child("annotations").key(key)));
        }
    }
    for (at, volume) in spec.volumes.iter().flatten().enumerate() {
        of_volume(volume, || path().child("volumes").index(at), &mut out);
    }
    paths::of_volumes(spec.volumes.as_deref().unwrap_or_default(), &mut out);
    let mut aliased = HashSet::new();
    for (at, alias) in spec.host_aliases.iter().flatten().enumerate() {
        if !aliased.insert(&alias.ip) {
            out.push(format!("{}: duplicate ip {:?}", path().child("hostAliases").index(at).child("ip"), alias.ip));
        }
    }
    let mut secrets = HashSet::new();
    for (at, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        let path = || path().child("imagePullSecrets").index(at).child("name");
        if !secrets.insert(&secret.name) {
            out.push(format!("{}: duplicate name {:?}", path(), secret.name));
        }
        if secret.name.is_empty() {
            out.push(format!("{}: invalid empty name \"\"", path()));
        }
    }
    of_amounts(spec.overhead.as_ref(), || path().child("overhead"), &mut out);
    let profiles = spec.security_context.as_ref();
    let noted = |key: &str| {
        annotations.is_some_and(|it| it.contains_key(key)).then(|| child("metadata").child("annotations").key(key))
    };
    if profiles.is_none_or(|it| it.seccomp_profile.is_none())
        && let Some(path) = noted(SECCOMP_OF_POD)
    {
        out.push(format!("{path}: {SECCOMP_ADVICE}"));
    }
    let lists = [("initContainers", spec.init_containers.as_deref()), ("containers", Some(&spec.containers[..]))];
    let mut pairs = 0;
    // By what two ports must share to get in each other's way.
    let mut ports: HashMap<_, Vec<(&'static str, usize, usize, &ContainerPort)>> = HashMap::new();
    for (field, containers) in lists {
        for (at, container) in containers.unwrap_or_default().iter().enumerate() {
            let own = container.security_context.as_ref();
            if own.is_none_or(|it| it.seccomp_profile.is_none())
                && let Some(path) = noted(&format!("{SECCOMP}{}", container.name))
            {
                out.push(format!("{path}: {SECCOMP_ADVICE}"));
            }
            let confined = profiles.is_some_and(|it| it.app_armor_profile.is_some())
                || own.is_some_and(|it| it.app_armor_profile.is_some());
            if at_template
                && !confined
                && let Some(path) = noted(&format!("{APP_ARMOR}{}", container.name))
            {
                out.push(format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead"));
            }
            of_container(container, || path().child(field).index(at), &mut out);
            for (number, port) in container.ports.iter().flatten().enumerate() {
                let place = |(field, at, number, _): &(&str, usize, usize, &ContainerPort)| {
                    path().child(field).index(*at).child("ports").index(*number)
                };
                let this = (field, at, number, port);
                let ip = port.host_ip.as_deref().filter(|it| !it.is_empty());
                if let (Some(ip), None | Some(0)) = (ip, port.host_port) {
                    out.push(format!("{}: hostIP set without hostPort: {}", place(&this), shown(port, ip)));
                }
                let others = ports.entry((port.container_port, &port.protocol)).or_default();
                for other in others.iter() {
                    pairs += 1;
                    if out.len() >= WARNINGS_MAX || pairs > PORT_PAIRS_MAX {
                        break;
                    }
                    if let Some(how) = conflict(port, other.3) {
                        out.push(format!("{}: {how} port definition with {}", place(&this), place(other)));
                    }
                }
                others.push(this);
            }
        }
    }
    if spec.termination_grace_period_seconds.is_some_and(|it| it < 0) {
        let path = path().child("terminationGracePeriodSeconds");
        out.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    selection::of_pods(spec, path, &mut out);
    for (at, server) in spec.dns_config.iter().flat_map(|it| it.nameservers.iter().flatten()).enumerate() {
        addresses::warn_of_address(server, || path().child("dnsConfig").child("nameservers").index(at), &mut out);
    }
    for (at, alias) in spec.host_aliases.iter().flatten().enumerate() {
        addresses::warn_of_address(&alias.ip, || path().child("hostAliases").index(at).child("ip"), &mut out);
    }
    out
}

/// The warnings about a template.
pub fn of_template(template: &PodTemplateSpec, path: &Path) -> Vec<String> {
    template.spec.as_ref().map(|it| of_pod(it, template.metadata.as_ref(), Some(path))).unwrap_or_default()
}

fn of_volume(it: &Volume, path: impl Fn() -> Path, out: &mut Vec<String>) {
    for (field, is_set, message) in [
        ("photonPersistentDisk", it.photon_persistent_disk.is_some(), "deprecated in v1.11, non-functional in v1.16+"),
        ("gitRepo", it.git_repo.is_some(), "deprecated in v1.11"),
        ("scaleIO", it.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", it.flocker.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("storageOS", it.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", it.quobyte.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", it.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", it.cephfs.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", it.rbd.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if is_set {
            out.push(format!("{}: {message}", path().child(field)));
        }
    }
    if let Some(claim) = it.ephemeral.as_ref().and_then(|it| it.volume_claim_template.as_ref()) {
        let path = || path().child("ephemeral").child("volumeClaimTemplate").child("spec");
        volume_rules::warn_of_claim(&claim.spec, path, out);
    }
}

/// Amounts of bytes that are not whole.
fn of_amounts(amounts: Option<&BTreeMap<String, Text>>, path: impl Fn() -> Path, out: &mut Vec<String>) {
    for name in BYTES {
        let Some(text) = amounts.and_then(|it| it.get(name)) else { continue };
        volume_rules::warn_of_fraction(text, || path().key(name), out);
    }
}

/// A port as Go shows one.
fn shown(port: &ContainerPort, host_ip: &str) -> String {
    let name = port.name.as_deref().unwrap_or_default();
    let protocol = port.protocol.as_deref().unwrap_or_default();
    format!("{{Name:{name} HostPort:0 ContainerPort:{} Protocol:{protocol} HostIP:{host_ip}}}", port.container_port)
}

fn of_container(it: &Container, path: impl Fn() -> Path, out: &mut Vec<String>) {
    if let Some(resources) = &it.resources {
        // Of memory first, its limit before its request, as Kubernetes tells them.
        for name in BYTES {
            for (field, list) in [("limits", &resources.limits), ("requests", &resources.requests)] {
                let Some(text) = list.as_ref().and_then(|it| it.get(name)) else { continue };
                volume_rules::warn_of_fraction(text, || path().child("resources").child(field).key(name), out);
            }
        }
    }
    let mut names = HashSet::new();
    for (at, variable) in it.env.iter().flatten().enumerate() {
        if names.insert(&variable.name) {
            continue;
        }
        // One that builds on what was there before does not hide it.
        let before = format!("$({})", variable.name);
        let value = variable.value.as_deref().unwrap_or_default();
        if variable.value_from.is_some() || value == before || !value.contains(&before) {
            let path = path().child("env").index(at);
            let name = &variable.name;
            out.push(format!("{path}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
}

/// How two ports of the same number and protocol get in each other's way.
fn conflict(a: &ContainerPort, b: &ContainerPort) -> Option<&'static str> {
    let [ip_a, ip_b] = [a, b].map(|it| it.host_ip.as_deref().unwrap_or_default());
    let host = |it: &ContainerPort| it.host_port.unwrap_or(0);
    match () {
        () if host(a) == host(b) && ip_a == ip_b => Some("duplicate"),
        () if host(a) == 0 || host(b) == 0 => Some("overlapping"),
        () if host(a) == host(b) && ip_a.is_empty() != ip_b.is_empty() => Some("dangerously ambiguous"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, expected: &[&str]) {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(of_pod(&spec, None, None), expected);
    }

    #[test]
    fn what_is_deprecated_is_told() {
        check(json!({"containers": [{"name": "a"}]}), &[]);
        check(
            json!({"containers": [], "nodeSelector": {"beta.kubernetes.io/os": "linux"}, "volumes": [{"name": "v", "gitRepo": {"repository": "r"}}],
                "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}),
            &[
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                "spec.volumes[0].gitRepo: deprecated in v1.11",
            ],
        );
        let metadata =
            serde_json::from_value(json!({"annotations": {"scheduler.alpha.kubernetes.io/critical-pod": ""}}));
        let template = PodTemplateSpec { metadata: Some(metadata.unwrap()), spec: Some(PodSpec::default()) };
        assert_eq!(
            of_template(&template, &Path::new("spec").child("template")),
            [
                "spec.template.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead"
            ]
        );
    }

    #[test]
    fn what_hides_or_doubles_something_is_told() {
        let port = json!({"containerPort": 80, "protocol": "TCP"});
        check(
            json!({"imagePullSecrets": [{"name": "s"}, {"name": "s"}], "terminationGracePeriodSeconds": -1, "containers": [
                {"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "$(X)2"}, {"name": "X", "value": "3"}], "ports": [port]},
                {"name": "b", "resources": {"limits": {"memory": "1500m"}}, "ports": [port, {"containerPort": 80, "protocol": "TCP", "hostPort": 8080}]}]}),
            &[
                "spec.imagePullSecrets[1].name: duplicate name \"s\"",
                "spec.containers[0].env[2]: hides previous definition of \"X\", which may be dropped when using apply",
                "spec.containers[1].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
                "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[1]: overlapping port definition with spec.containers[1].ports[0]",
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ],
        );
    }
}
