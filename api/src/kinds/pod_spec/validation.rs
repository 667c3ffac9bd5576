//! The rules for a pod's specification as a whole, in the order of Kubernetes' `ValidatePodSpec`; its parts have their own files beside
//! this one.

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};

use super::volumes::Volumes;
use super::{annotations, claims, containers, pod_resources, resources, scheduling, security, volumes, windows};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::meta;
use crate::name;

const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
/// The most seconds of a deadline: 2^31 - 1.
const DEADLINE_LIMIT_SECONDS: i64 = i32::MAX as i64;
/// The longest name that Linux lets a machine have for itself.
const HOSTNAME_LIMIT_BYTES: usize = 64;
/// How many name servers, search paths, and bytes of search paths the C libraries of containers look at.
const NAMESERVERS_LIMIT: usize = 3;
const SEARCHES_LIMIT: usize = 32;
const SEARCHES_LIMIT_BYTES: usize = 2048;
/// Whose specification it is: some rules hold for pods only, so that templates may leave to later what pods must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Pod,
    Template,
}

/// Notes every mistake in a pod template. `path` is where the template stands.
pub fn validate_template(template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
    let known = template.metadata.as_ref().and_then(|it| it.annotations.as_ref());
    if let Some(metadata) = &template.metadata {
        // Kubernetes' paths skip `metadata` here.
        meta::validate_labels(metadata.labels.as_ref(), &path.child("labels"), errors);
        meta::validate_annotations(metadata.annotations.as_ref(), &path.child("annotations"), errors);
    }
    if let (Some(known), Some(spec)) = (known, &template.spec) {
        annotations::validate(known, spec, || path.child("annotations"), errors);
    }
    let path = path.child("spec");
    match &template.spec {
        Some(spec) => {
            validate_owned(spec, Owner::Template, None, &path, errors);
            known.into_iter().for_each(|it| annotations::validate_matching(it, spec, &path, errors));
            if spec.ephemeral_containers.as_ref().is_some_and(|it| !it.is_empty()) {
                errors.forbidden(path.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
            }
        }
        None => errors.required(path.child("containers"), ""),
    }
}

/// Notes every mistake in the specification of the pod of this name, which stands at `path`.
pub fn validate_spec(spec: &PodSpec, name: Option<&str>, path: &Path, errors: &mut Errors) {
    validate_owned(spec, Owner::Pod, name.filter(|it| !it.is_empty()), path, errors);
    // A token is somebody's.
    if spec.service_account_name.as_deref().unwrap_or_default().is_empty() {
        for (index, volume) in spec.volumes.iter().flatten().enumerate() {
            let sources = volume.projected.iter().flat_map(|it| it.sources.iter().flatten());
            for (at, _) in sources.enumerate().filter(|(_, it)| it.service_account_token.is_some()) {
                let path = path.child("volumes").index(index).child("projected").child("sources").index(at);
                let why = "must not be specified when serviceAccountName is not set";
                errors.forbidden(path.child("serviceAccountToken"), why);
            }
        }
    }
    containers::validate_images(spec, path, errors);
}

fn validate_owned(spec: &PodSpec, owner: Owner, pod: Option<&str>, path: &Path, errors: &mut Errors) {
    let volumes = match spec.volumes {
        Some(_) => volumes::validate(spec, owner, pod, &path.child("volumes"), errors),
        None => Volumes::new(),
    };
    claims::validate_all(spec, &path.child("resourceClaims"), errors);
    containers::validate_all(spec, &volumes, path, errors);
    pod_resources::validate(spec, &path.child("resources"), errors);
    let policies = &["Always", "OnFailure", "Never"];
    checks::one_of(spec.restart_policy.as_deref(), policies, || path.child("restartPolicy"), errors);
    checks::one_of(spec.dns_policy.as_deref(), DNS_POLICIES, || path.child("dnsPolicy"), errors);
    if spec.node_selector.is_some() {
        meta::validate_labels(spec.node_selector.as_ref(), &path.child("nodeSelector"), errors);
    }
    if let Some(context) = &spec.security_context {
        security::validate_pod(context, spec, &path.child("securityContext"), errors);
    }
    scheduling::validate_affinity(spec, path, errors);
    validate_dns(spec, path, errors);
    scheduling::validate_gates(spec, path, errors);
    windows::validate_host_process(spec, path, errors);
    security::validate_host_users(spec, path, errors);
    let subdomain = name::dns1123_subdomain;
    let account = spec.service_account_name.as_deref();
    checks::none_or_named(account, subdomain, || path.child("serviceAccountName"), errors);
    checks::none_or_named(spec.node_name.as_deref(), subdomain, || path.child("nodeName"), errors);
    if let Some(seconds) = spec.active_deadline_seconds.filter(|it| !(1..=DEADLINE_LIMIT_SECONDS).contains(it)) {
        let why = format!("must be between 1 and {DEADLINE_LIMIT_SECONDS}, inclusive");
        errors.invalid(path.child("activeDeadlineSeconds"), seconds, why);
    }
    checks::none_or_named(spec.hostname.as_deref(), name::dns1123_label, || path.child("hostname"), errors);
    checks::none_or_named(spec.subdomain.as_deref(), name::dns1123_label, || path.child("subdomain"), errors);
    validate_hostname_override(spec, || path.child("hostnameOverride"), errors);
    if let Some(tolerations) = &spec.tolerations {
        scheduling::validate_tolerations(tolerations, &path.child("tolerations"), errors);
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let at = || path.child("hostAliases").index(index);
        checks::ip(&alias.ip, || at().child("ip"), errors);
        for (number, hostname) in alias.hostnames.iter().flatten().enumerate() {
            for complaint in subdomain(hostname) {
                errors.invalid(at().child("hostnames").index(number), hostname, complaint);
            }
        }
    }
    let class = spec.priority_class_name.as_deref();
    checks::none_or_named(class, subdomain, || path.child("priorityClassName"), errors);
    for complaint in spec.runtime_class_name.as_deref().map(subdomain).unwrap_or_default() {
        errors.invalid(path.child("runtimeClassName"), &spec.runtime_class_name, complaint);
    }
    if spec.preemption_policy.is_some() {
        let policies = &["PreemptLowerPriority", "Never"];
        checks::one_of(spec.preemption_policy.as_deref(), policies, || path.child("preemptionPolicy"), errors);
    }
    if let Some(overhead) = &spec.overhead {
        resources::validate_overhead(overhead, &path.child("overhead"), errors);
    }
    match spec.os.as_ref().map(|it| it.name.as_str()) {
        None => {}
        Some("linux") => windows::validate_linux(spec, path, errors),
        Some("windows") => windows::validate_windows(spec, path, errors),
        Some("") => errors.required(path.child("os").child("name"), "cannot be empty"),
        Some(other) => errors.not_supported(path.child("os"), other, &["linux", "windows"]),
    }
}

/// A name that the pod has for itself only, and which nothing else may decide (KEP-4762).
fn validate_hostname_override(spec: &PodSpec, path: impl Fn() -> Path, errors: &mut Errors) {
    let Some(text) = spec.hostname_override.as_deref() else { return };
    for complaint in name::dns1123_subdomain(text) {
        errors.invalid(path(), text, complaint);
    }
    if text.len() > HOSTNAME_LIMIT_BYTES {
        errors.too_long(path(), HOSTNAME_LIMIT_BYTES);
    }
    if spec.host_network == Some(true) {
        errors.forbidden(path(), "may not be specified when hostNetwork is true");
    }
    if spec.set_hostname_as_fqdn == Some(true) {
        errors.forbidden(path(), "may not be specified when setHostnameAsFQDN is true");
    }
}

fn validate_dns(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let at = || path.child("dnsConfig");
    let of_its_own = spec.dns_policy.as_deref() == Some("None");
    let Some(config) = &spec.dns_config else {
        if of_its_own {
            errors.required(at(), "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = config.nameservers.as_deref().unwrap_or_default();
    if of_its_own && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return errors.required(at().child("nameservers"), why);
    }
    if servers.len() > NAMESERVERS_LIMIT {
        let why = format!("must not have more than {NAMESERVERS_LIMIT} nameservers");
        errors.invalid(at().child("nameservers"), servers, why);
    }
    for (index, server) in servers.iter().enumerate() {
        checks::ip(server, || at().child("nameservers").index(index), errors);
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    if searches.len() > SEARCHES_LIMIT {
        let why = format!("must not have more than {SEARCHES_LIMIT} search paths");
        errors.invalid(at().child("searches"), searches, why);
    }
    let bytes = searches.iter().map(String::len).sum::<usize>() + searches.len().saturating_sub(1);
    if bytes > SEARCHES_LIMIT_BYTES {
        let why =
            format!("must not have more than {SEARCHES_LIMIT_BYTES} characters (including spaces) in the search list");
        errors.invalid(at().child("searches"), searches, why);
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, it)| *it != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        for complaint in name::dns1123_subdomain_with_underscore(search) {
            errors.invalid(at().child("searches").index(index), search, complaint);
        }
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().unwrap_or_default().is_empty() {
            errors.required(at().child("options").index(index), "must not be empty");
        }
    }
}
