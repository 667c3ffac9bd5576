//! The rules for pods that run on Windows, and for the options of pods that only Windows knows.
//!
//! Source: `validateWindows`, `validateLinux`, `validateWindowsHostProcessPod` and `validateWindowsSecurityContextOptions` in
//! `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::sync::OnceLock;

use k8s_openapi::api::core::v1::{PodSpec, SecurityContext, WindowsSecurityContextOptions};
use regex::Regex;

use crate::field::{Errors, Path};
use crate::name;

/// What the specification of a group managed account may hold.
const CREDENTIAL_LIMIT_KIB: usize = 64;
const DOMAIN_LIMIT_BYTES: usize = 256;
const USER_LIMIT_BYTES: usize = 104;

/// Every container of a pod, with where it stands and its security context.
fn contexts<'a>(spec: &'a PodSpec, path: &'a Path) -> impl Iterator<Item = (Path, Option<&'a SecurityContext>)> {
    let init = spec.init_containers.iter().flatten().map(|it| it.security_context.as_ref());
    let regular = spec.containers.iter().map(|it| it.security_context.as_ref());
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|it| it.security_context.as_ref());
    let at = |field: &'static str| move |(index, it)| (path.child(field).index(index), it);
    let init = init.enumerate().map(at("initContainers"));
    init.chain(regular.enumerate().map(at("containers"))).chain(ephemeral.enumerate().map(at("ephemeralContainers")))
}

/// A pod for Linux has no options for Windows. `path` is where its specification stands.
pub(super) fn validate_linux(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    const WHY: &str = "windows options cannot be set for a linux pod";
    if spec.security_context.as_ref().is_some_and(|it| it.windows_options.is_some()) {
        errors.forbidden(path.child("securityContext").child("windowsOptions"), WHY);
    }
    for (at, context) in contexts(spec, path) {
        if context.is_some_and(|it| it.windows_options.is_some()) {
            errors.forbidden(at.child("securityContext").child("windowsOptions"), WHY);
        }
    }
}

/// A pod for Windows has nothing that only Linux knows. `path` is where its specification stands.
pub(super) fn validate_windows(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    const WHY: &str = "cannot be set for a windows pod";
    // Kubernetes keeps these fields of the specification in the security context.
    let of_spec = [
        ("hostUsers", spec.host_users.is_some()),
        ("hostPID", spec.host_pid == Some(true)),
        ("hostIPC", spec.host_ipc == Some(true)),
    ];
    if let Some(it) = &spec.security_context {
        let within = path.child("securityContext");
        let mut forbid = |at: Path, is_set: bool| {
            if is_set {
                errors.forbidden(at, WHY);
            }
        };
        forbid(within.child("appArmorProfile"), it.app_armor_profile.is_some());
        forbid(within.child("seLinuxOptions"), it.se_linux_options.is_some());
        for (field, is_set) in of_spec {
            forbid(path.child(field), is_set);
        }
        forbid(within.child("seccompProfile"), it.seccomp_profile.is_some());
        forbid(within.child("fsGroup"), it.fs_group.is_some());
        forbid(within.child("fsGroupChangePolicy"), it.fs_group_change_policy.is_some());
        forbid(within.child("sysctls"), it.sysctls.as_ref().is_some_and(|it| !it.is_empty()));
        forbid(path.child("shareProcessNamespace"), spec.share_process_namespace.is_some());
        for (field, is_set) in [
            ("runAsUser", it.run_as_user.is_some()),
            ("runAsGroup", it.run_as_group.is_some()),
            ("supplementalGroups", it.supplemental_groups.is_some()),
            ("supplementalGroupsPolicy", it.supplemental_groups_policy.is_some()),
            ("seLinuxChangePolicy", it.se_linux_change_policy.is_some()),
        ] {
            forbid(within.child(field), is_set);
        }
    }
    for (at, context) in contexts(spec, path) {
        let Some(it) = context else { continue };
        for (field, is_set) in [
            ("appArmorProfile", it.app_armor_profile.is_some()),
            ("seLinuxOptions", it.se_linux_options.is_some()),
            ("seccompProfile", it.seccomp_profile.is_some()),
            ("capabilities", it.capabilities.is_some()),
            ("readOnlyRootFilesystem", it.read_only_root_filesystem.is_some()),
            ("privileged", it.privileged.is_some()),
            ("allowPrivilegeEscalation", it.allow_privilege_escalation.is_some()),
            ("procMount", it.proc_mount.is_some()),
            ("runAsUser", it.run_as_user.is_some()),
            ("runAsGroup", it.run_as_group.is_some()),
        ] {
            if is_set {
                errors.forbidden(at.child("securityContext").child(field), WHY);
            }
        }
    }
}

/// Containers that are processes of the host: all of a pod's or none, and on the host's network.
pub(super) fn validate_host_process(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let of_pod = spec.security_context.as_ref().and_then(|it| it.windows_options.as_ref()?.host_process);
    let (mut all, mut of_host) = (0, 0);
    for (at, context) in contexts(spec, path) {
        let own = context.and_then(|it| it.windows_options.as_ref()?.host_process);
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let at = at.child("securityContext").child("windowsOptions").child("hostProcess");
            let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.invalid(at, own, why);
        }
        all += 1;
        of_host += i32::from(own.or(of_pod) == Some(true));
    }
    if of_host == 0 {
        return;
    }
    if of_host != all {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path.clone(), "", why);
    }
    if spec.host_network != Some(true) {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(path.child("hostNetwork"), false, why);
    }
}

/// Notes every mistake in the options for Windows of a pod or a container.
pub(super) fn validate_options(
    options: Option<&WindowsSecurityContextOptions>,
    path: impl Fn() -> Path,
    errors: &mut Errors,
) {
    let Some(it) = options else { return };
    if let Some(text) = &it.gmsa_credential_spec_name {
        for complaint in name::dns1123_subdomain(text) {
            errors.invalid(path().child("gmsaCredentialSpecName"), text, complaint);
        }
    }
    if let Some(text) = &it.gmsa_credential_spec {
        let at = || path().child("gmsaCredentialSpec");
        if text.is_empty() {
            errors.invalid(at(), text, "gmsaCredentialSpec cannot be an empty string");
        } else if text.len() > CREDENTIAL_LIMIT_KIB * 1024 {
            errors.invalid(at(), text, format!("gmsaCredentialSpec size must be under {CREDENTIAL_LIMIT_KIB} KiB"));
        }
    }
    if let Some(text) = &it.run_as_user_name {
        for why in user_mistakes(text) {
            errors.invalid(path().child("runAsUserName"), text, why);
        }
    }
}

/// What is wrong with the name of a user, which may stand behind a domain.
fn user_mistakes(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if text.chars().any(|it| it.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    let (domain, user) = match text.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".to_owned()],
    };
    let mut out = Vec::new();
    if domain.is_some_and(|it| it.len() >= DOMAIN_LIMIT_BYTES) {
        out.push(format!("runAsUserName's Domain length must be under {DOMAIN_LIMIT_BYTES} characters"));
    }
    if domain.is_some_and(|it| !is_domain(it)) {
        out.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        out.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_LIMIT_BYTES {
        out.push(format!("runAsUserName's User length must not be longer than {USER_LIMIT_BYTES} characters"));
    }
    if !user.is_empty() && user.chars().all(|it| matches!(it, '.' | ' ')) {
        out.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        let why = r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#;
        out.push(why.to_owned());
    }
    out
}

/// Whether a domain is one of NetBIOS or of DNS.
fn is_domain(text: &str) -> bool {
    static FORMS: OnceLock<[Regex; 2]> = OnceLock::new();
    let form = |text: &str| Regex::new(text).expect("the pattern is constant and compiles");
    let forms = FORMS.get_or_init(|| {
        const LABEL: &str = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
        [form(r#"^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$"#), form(&format!(r"^{LABEL}(?:\.{LABEL})*$"))]
    });
    forms.iter().any(|it| it.is_match(text))
}
