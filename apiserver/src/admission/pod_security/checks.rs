//! What each level of pod security forbids.
//!
//! In: a pod's metadata and spec, and a level. Out: what is against it, in Kubernetes' words and order: what the baseline forbids first,
//! then what only restricted pods may not; within each by the check's name. Source: `k8s.io/pod-security-admission/policy`.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, Lifecycle, LifecycleHandler, PodSpec, Probe, SELinuxOptions, SecurityContext, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// How much pods may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    #[default]
    Privileged,
    /// Nothing by which rights are known to be escalated.
    Baseline,
    /// What is held to be good practice.
    Restricted,
}

impl Level {
    /// By its name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }
}

/// A level as of a version of Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub level: Level,
    /// The minor version; none is the latest.
    minor: Option<u32>,
}

impl Policy {
    /// Takes a version's text, if it is one.
    pub fn set_version(&mut self, text: &str) -> bool {
        if text == "latest" {
            self.minor = None;
            return true;
        }
        let minor = text.strip_prefix("v1.").filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
        match minor.and_then(|it| it.parse().ok()) {
            Some(minor) => {
                self.minor = Some(minor);
                true
            }
            None => false,
        }
    }

    fn since(&self, minor: u32) -> bool {
        self.minor.is_none_or(|it| it >= minor)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.minor {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// One thing that is against a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub reason: &'static str,
    pub detail: String,
}

/// `reason (detail), reason (detail)`.
pub fn details(found: &[Violation]) -> String {
    let parts: Vec<String> = found
        .iter()
        .map(|it| if it.detail.is_empty() { it.reason.to_owned() } else { format!("{} ({})", it.reason, it.detail) })
        .collect();
    parts.join(", ")
}

/// One container, of whatever sort.
struct One<'a> {
    name: &'a str,
    security: Option<&'a SecurityContext>,
    ports: Vec<i32>,
    probes: [Option<&'a Probe>; 3],
    lifecycle: Option<&'a Lifecycle>,
}

struct View<'a> {
    metadata: &'a ObjectMeta,
    spec: &'a PodSpec,
    containers: Vec<One<'a>>,
    windows: bool,
}

/// All that is against a policy in a pod.
pub fn check(policy: &Policy, metadata: &ObjectMeta, spec: &PodSpec) -> Vec<Violation> {
    if policy.level == Level::Privileged {
        return Vec::new();
    }
    let view = View::of(metadata, spec);
    let restricted = policy.level == Level::Restricted;
    let mut found: Vec<Option<Violation>> = vec![
        view.app_armor(),
        if restricted { None } else { view.capabilities() },
        view.host_namespaces(),
        if restricted { None } else { view.host_paths() },
        view.host_ports(),
        if policy.since(34) { view.probe_hosts() } else { None },
        view.privileged(),
        view.proc_mount(),
        view.selinux(),
        if restricted && policy.since(19) { None } else { view.seccomp() },
        view.sysctls(),
        view.host_process(),
    ];
    if restricted {
        found.extend([
            view.escalation(),
            view.capabilities_restricted(),
            view.volume_types(),
            view.non_root(),
            if policy.since(23) { view.user_zero() } else { None },
            if policy.since(19) { view.seccomp_restricted() } else { None },
        ]);
    }
    found.into_iter().flatten().collect()
}

fn violation(reason: &'static str, detail: String) -> Option<Violation> {
    Some(Violation { reason, detail })
}

/// `"a", "b"`.
fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|it| format!("\"{}\"", it.as_ref())).collect();
    names.join(", ")
}

fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// `pod`, `container "a"`, `pod and container "a"`.
fn setters(pod: bool, names: &[&str]) -> String {
    match (pod, names.is_empty()) {
        (true, true) => "pod".to_owned(),
        (true, false) => format!("pod and {}", containers(names)),
        _ => containers(names),
    }
}

const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
const SELINUX_TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const VOLUME_TYPES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

impl<'a> View<'a> {
    fn of(metadata: &'a ObjectMeta, spec: &'a PodSpec) -> Self {
        let one = |it: &'a Container| One {
            name: &it.name,
            security: it.security_context.as_ref(),
            ports: it.ports.iter().flatten().filter_map(|it| it.host_port.filter(|it| *it != 0)).collect(),
            probes: [it.liveness_probe.as_ref(), it.readiness_probe.as_ref(), it.startup_probe.as_ref()],
            lifecycle: it.lifecycle.as_ref(),
        };
        let mut all: Vec<One<'a>> = spec.init_containers.iter().flatten().map(one).collect();
        all.extend(spec.containers.iter().map(one));
        all.extend(spec.ephemeral_containers.iter().flatten().map(|it| One {
            name: &it.name,
            security: it.security_context.as_ref(),
            ports: Vec::new(),
            probes: [None; 3],
            lifecycle: None,
        }));
        let windows = spec.os.as_ref().is_some_and(|it| it.name == "windows");
        View { metadata, spec, containers: all, windows }
    }

    fn names(&self, bad: impl Fn(&One<'a>) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|it| bad(it)).map(|it| it.name).collect()
    }

    fn with_security(&self, bad: impl Fn(&SecurityContext) -> bool) -> Vec<&'a str> {
        self.names(|it| it.security.is_some_and(&bad))
    }

    fn app_armor(&self) -> Option<Violation> {
        let unconfined = |it: Option<&str>| it == Some("Unconfined");
        let pod = self.spec.security_context.as_ref().and_then(|it| it.app_armor_profile.as_ref());
        let pod = unconfined(pod.map(|it| it.type_.as_str()));
        let names = self.with_security(|it| unconfined(it.app_armor_profile.as_ref().map(|it| it.type_.as_str())));
        let mut values = Vec::new();
        if pod || !names.is_empty() {
            let by = setters(pod, &names);
            values.push(format!("{by} must not set AppArmor profile type to \"Unconfined\""));
        }
        for (key, value) in self.metadata.annotations.iter().flatten() {
            let fine = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
            if key.starts_with(APP_ARMOR) && !fine {
                values.push(format!("{key}=\"{value}\""));
            }
        }
        let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
        if values.is_empty() { None } else { violation(reason, values.join(", ")) }
    }

    fn adds(&self, allowed: &[&str]) -> Option<String> {
        let bad = |it: &Capabilities| -> Vec<String> {
            it.add.iter().flatten().filter(|it| !allowed.contains(&it.as_str())).cloned().collect()
        };
        let of = |it: &One<'a>| it.security.and_then(|it| it.capabilities.as_ref()).map(&bad).unwrap_or_default();
        let names = self.names(|it| !of(it).is_empty());
        let caps: BTreeSet<String> = self.containers.iter().flat_map(of).collect();
        (!names.is_empty()).then(|| {
            format!("{} must not include {} in securityContext.capabilities.add", containers(&names), quoted(caps))
        })
    }

    fn capabilities(&self) -> Option<Violation> {
        self.adds(DEFAULT_CAPABILITIES).and_then(|it| violation("non-default capabilities", it))
    }

    fn capabilities_restricted(&self) -> Option<Violation> {
        if self.windows {
            return None;
        }
        let drops_all = |it: &One<'a>| {
            let dropped = it.security.and_then(|it| it.capabilities.as_ref()).and_then(|it| it.drop.as_ref());
            dropped.is_some_and(|it| it.iter().any(|it| it == "ALL"))
        };
        let names = self.names(|it| !drops_all(it));
        let mut parts = Vec::new();
        if !names.is_empty() {
            parts.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&names)));
        }
        parts.extend(self.adds(&["NET_BIND_SERVICE"]));
        if parts.is_empty() { None } else { violation("unrestricted capabilities", parts.join("; ")) }
    }

    fn host_namespaces(&self) -> Option<Violation> {
        let spec = self.spec;
        let parts: Vec<&str> =
            [(spec.host_network, "hostNetwork=true"), (spec.host_pid, "hostPID=true"), (spec.host_ipc, "hostIPC=true")]
                .into_iter()
                .filter_map(|(set, text)| (set == Some(true)).then_some(text))
                .collect();
        if parts.is_empty() { None } else { violation("host namespaces", parts.join(", ")) }
    }

    fn host_paths(&self) -> Option<Violation> {
        let volumes = self.spec.volumes.iter().flatten().filter(|it| it.host_path.is_some());
        let names: Vec<&str> = volumes.map(|it| it.name.as_str()).collect();
        let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
        if names.is_empty() { None } else { violation("hostPath volumes", detail) }
    }

    fn host_ports(&self) -> Option<Violation> {
        let names = self.names(|it| !it.ports.is_empty());
        let ports: BTreeSet<String> =
            self.containers.iter().flat_map(|it| &it.ports).map(ToString::to_string).collect();
        if names.is_empty() {
            return None;
        }
        let word = plural("hostPort", "hostPorts", ports.len());
        let uses = plural("uses", "use", names.len());
        let listed: Vec<String> = ports.iter().cloned().collect();
        violation(word, format!("{} {uses} {word} {}", containers(&names), listed.join(", ")))
    }

    fn probe_hosts(&self) -> Option<Violation> {
        let set = |it: Option<&String>| it.is_some_and(|it| !it.is_empty());
        let probe = |it: &Probe| {
            set(it.http_get.as_ref().and_then(|it| it.host.as_ref()))
                || set(it.tcp_socket.as_ref().and_then(|it| it.host.as_ref()))
        };
        let hook = |it: &LifecycleHandler| {
            set(it.http_get.as_ref().and_then(|it| it.host.as_ref()))
                || set(it.tcp_socket.as_ref().and_then(|it| it.host.as_ref()))
        };
        let names = self.names(|it| {
            let hooks = it.lifecycle.map(|it| [it.post_start.as_ref(), it.pre_stop.as_ref()]).unwrap_or_default();
            it.probes.iter().flatten().any(|it| probe(it)) || hooks.into_iter().flatten().any(hook)
        });
        let uses = plural("uses", "use", names.len());
        let detail = format!("{} {uses} probe or lifecycle host", containers(&names));
        if names.is_empty() { None } else { violation("probe or lifecycle host", detail) }
    }

    fn privileged(&self) -> Option<Violation> {
        let names = self.with_security(|it| it.privileged == Some(true));
        let detail = format!("{} must not set securityContext.privileged=true", containers(&names));
        if names.is_empty() { None } else { violation("privileged", detail) }
    }

    fn proc_mount(&self) -> Option<Violation> {
        // In a user namespace of its own a pod may see all of /proc.
        if self.spec.host_users == Some(false) {
            return None;
        }
        let bad = |it: &SecurityContext| it.proc_mount.clone().filter(|it| it != "Default");
        let names = self.with_security(|it| bad(it).is_some());
        let values: BTreeSet<String> = self.containers.iter().filter_map(|it| it.security.and_then(bad)).collect();
        let detail = format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(values));
        if names.is_empty() { None } else { violation("procMount", detail) }
    }

    fn selinux(&self) -> Option<Violation> {
        let bad = |it: &SELinuxOptions| {
            let set = |it: &Option<String>| it.as_ref().is_some_and(|it| !it.is_empty());
            let odd = !SELINUX_TYPES.contains(&it.type_.as_deref().unwrap_or_default());
            (odd.then(|| it.type_.clone()).flatten(), set(&it.user), set(&it.role))
        };
        let wrong = |it: &SELinuxOptions| bad(it) != (None, false, false);
        let pod = self.spec.security_context.as_ref().and_then(|it| it.se_linux_options.as_ref());
        let names = self.with_security(|it| it.se_linux_options.as_ref().is_some_and(wrong));
        let pod_is_wrong = pod.is_some_and(wrong);
        if !pod_is_wrong && names.is_empty() {
            return None;
        }
        let own = self.containers.iter().filter_map(|it| it.security.and_then(|it| it.se_linux_options.as_ref()));
        let all: Vec<_> = pod.into_iter().chain(own).map(bad).collect();
        let types: BTreeSet<&String> = all.iter().filter_map(|it| it.0.as_ref()).collect();
        let mut parts = Vec::new();
        if !types.is_empty() {
            parts.push(format!("{} {}", plural("type", "types", types.len()), quoted(types)));
        }
        if all.iter().any(|it| it.1) {
            parts.push("user may not be set".to_owned());
        }
        if all.iter().any(|it| it.2) {
            parts.push("role may not be set".to_owned());
        }
        let by = setters(pod_is_wrong, &names);
        violation("seLinuxOptions", format!("{by} set forbidden securityContext.seLinuxOptions: {}", parts.join("; ")))
    }

    fn unconfined(&self) -> Option<String> {
        let bad = |it: Option<&str>| it.is_some_and(|it| !matches!(it, "RuntimeDefault" | "Localhost"));
        let of_pod = self.spec.security_context.as_ref().and_then(|it| it.seccomp_profile.as_ref());
        let pod = bad(of_pod.map(|it| it.type_.as_str()));
        let names = self.with_security(|it| bad(it.seccomp_profile.as_ref().map(|it| it.type_.as_str())));
        if !pod && names.is_empty() {
            return None;
        }
        let own = self.containers.iter().filter_map(|it| it.security?.seccomp_profile.as_ref());
        let values: BTreeSet<&str> =
            of_pod.into_iter().chain(own).map(|it| it.type_.as_str()).filter(|it| bad(Some(it))).collect();
        let by = setters(pod, &names);
        Some(format!("{by} must not set securityContext.seccompProfile.type to {}", quoted(values)))
    }

    fn seccomp(&self) -> Option<Violation> {
        self.unconfined().and_then(|it| violation("seccompProfile", it))
    }

    fn seccomp_restricted(&self) -> Option<Violation> {
        if self.windows {
            return None;
        }
        if let Some(detail) = self.unconfined() {
            return violation("seccompProfile", detail);
        }
        if self.spec.security_context.as_ref().is_some_and(|it| it.seccomp_profile.is_some()) {
            return None;
        }
        let names = self.names(|it| it.security.is_none_or(|it| it.seccomp_profile.is_none()));
        let wanted = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
        let detail = format!("pod or {} {wanted}", containers(&names));
        if names.is_empty() { None } else { violation("seccompProfile", detail) }
    }

    fn sysctls(&self) -> Option<Violation> {
        let all = self.spec.security_context.iter().flat_map(|it| it.sysctls.iter().flatten());
        let names: Vec<&str> = all.map(|it| it.name.as_str()).filter(|it| !SAFE_SYSCTLS.contains(it)).collect();
        let reason = plural("forbidden sysctl", "forbidden sysctls", names.len());
        if names.is_empty() { None } else { violation(reason, names.join(", ")) }
    }

    fn host_process(&self) -> Option<Violation> {
        let of_pod = self.spec.security_context.as_ref().and_then(|it| it.windows_options.as_ref());
        let pod = of_pod.is_some_and(|it| it.host_process == Some(true));
        let names =
            self.with_security(|it| it.windows_options.as_ref().is_some_and(|it| it.host_process == Some(true)));
        let by = setters(pod, &names);
        let detail = format!("{by} must not set securityContext.windowsOptions.hostProcess=true");
        if !pod && names.is_empty() { None } else { violation("hostProcess", detail) }
    }

    fn escalation(&self) -> Option<Violation> {
        if self.windows {
            return None;
        }
        let names = self.names(|it| it.security.is_none_or(|it| it.allow_privilege_escalation != Some(false)));
        let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
        if names.is_empty() { None } else { violation("allowPrivilegeEscalation != false", detail) }
    }

    fn volume_types(&self) -> Option<Violation> {
        let kind = |it: &Volume| {
            let value = serde_json::to_value(it).unwrap_or_default();
            let fields = value.as_object().into_iter().flatten();
            fields.filter(|(_, it)| !matches!(it, Value::Null)).map(|(name, _)| name.clone()).find(|it| it != "name")
        };
        let bad: Vec<(&str, String)> = self
            .spec
            .volumes
            .iter()
            .flatten()
            .filter_map(|it| Some((it.name.as_str(), kind(it)?)))
            .filter(|(_, kind)| !VOLUME_TYPES.contains(&kind.as_str()))
            .collect();
        if bad.is_empty() {
            return None;
        }
        let types: BTreeSet<&str> = bad.iter().map(|it| it.1.as_str()).collect();
        let detail = format!(
            "{} {} {} {} {}",
            plural("volume", "volumes", bad.len()),
            quoted(bad.iter().map(|it| it.0)),
            plural("uses", "use", bad.len()),
            plural("restricted volume type", "restricted volume types", types.len()),
            quoted(types)
        );
        violation("restricted volume types", detail)
    }

    fn non_root(&self) -> Option<Violation> {
        let pod = self.spec.security_context.as_ref().and_then(|it| it.run_as_non_root);
        let refused = self.with_security(|it| it.run_as_non_root == Some(false));
        let silent = self.names(|it| it.security.and_then(|it| it.run_as_non_root).is_none());
        let reason = "runAsNonRoot != true";
        // A pod that says no matters only where a container does not say otherwise.
        let pod_refuses = pod == Some(false) && !silent.is_empty();
        if pod_refuses || !refused.is_empty() {
            let by = setters(pod_refuses, &refused);
            return violation(reason, format!("{by} must not set securityContext.runAsNonRoot=false"));
        }
        if pod == Some(true) || silent.is_empty() {
            return None;
        }
        violation(reason, format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent)))
    }

    fn user_zero(&self) -> Option<Violation> {
        let pod = self.spec.security_context.as_ref().is_some_and(|it| it.run_as_user == Some(0));
        let names = self.with_security(|it| it.run_as_user == Some(0));
        let detail = format!("{} must not set runAsUser=0", setters(pod, &names));
        if !pod && names.is_empty() { None } else { violation("runAsUser=0", detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check_text(level: Level, spec: Value, expected: &str) {
        let policy = Policy { level, minor: None };
        let found = check(&policy, &ObjectMeta::default(), &serde_json::from_value(spec).unwrap());
        assert_eq!(details(&found), expected);
    }

    #[test]
    fn the_baseline_forbids_escalation() {
        use Level::Baseline;
        check_text(Baseline, json!({"containers": [{"name": "a"}]}), "");
        check_text(
            Baseline,
            json!({"hostNetwork": true, "hostPID": true, "containers": [
                {"name": "a", "securityContext": {"privileged": true, "capabilities": {"add": ["NET_ADMIN", "KILL"]}}, "ports": [{"containerPort": 80, "hostPort": 80}]},
                {"name": "b", "securityContext": {"privileged": true, "procMount": "Unmasked"}}],
                "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            "non-default capabilities (container \"a\" must not include \"NET_ADMIN\" in securityContext.capabilities.add), \
             host namespaces (hostNetwork=true, hostPID=true), hostPath volumes (volume \"v\"), \
             hostPort (container \"a\" uses hostPort 80), \
             privileged (containers \"a\", \"b\" must not set securityContext.privileged=true), \
             procMount (container \"b\" must not set securityContext.procMount to \"Unmasked\")",
        );
        check_text(
            Baseline,
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}, "sysctls": [{"name": "kernel.msgmax", "value": "1"}],
                "seLinuxOptions": {"type": "spc_t", "user": "u"}, "appArmorProfile": {"type": "Unconfined"}},
                "containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": 80, "host": "x"}}}]}),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\"), \
             probe or lifecycle host (container \"a\" uses probe or lifecycle host), \
             seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set), \
             seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\"), \
             forbidden sysctl (kernel.msgmax)",
        );
    }

    #[test]
    fn restricted_pods_state_their_restraint() {
        use Level::Restricted;
        check_text(
            Restricted,
            json!({"containers": [{"name": "a"}], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             restricted volume types (volume \"v\" uses restricted volume type \"hostPath\"), \
             runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true), \
             seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        );
        let fine =
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}});
        check_text(
            Restricted,
            json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "a", "securityContext": fine}], "volumes": [{"name": "v", "emptyDir": {}}]}),
            "",
        );
        let mut root = fine;
        root["runAsUser"] = 0.into();
        root["runAsNonRoot"] = false.into();
        check_text(
            Restricted,
            json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "a", "securityContext": root}]}),
            "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false), \
             runAsUser=0 (container \"a\" must not set runAsUser=0)",
        );
    }
}
