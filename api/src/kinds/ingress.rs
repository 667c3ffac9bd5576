//! `Ingress`: which requests from outside go to which service.

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressLoadBalancerStatus, IngressRule, IngressSpec, IngressStatus,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE, list, str_of};
use crate::kinds::checks;
use crate::name;
use crate::table::{Cell, Column};

/// The annotation by which classes were named before there was a field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// What a path may not contain, and not end with: proxies would read it differently.
const BAD_SEQUENCES: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: &[&str] = &["/..", "/."];
/// How many hosts a cell names.
const HOSTS_SHOWN: usize = 3;

impl Strategy for Ingress {
    const NAMES: Names = Names { plural: "ingresses", singular: "ingress", short: &["ing"], categories: &[] };
    const SUBS: &'static [Sub] = &[Sub::Status];
    const STORED_AS: Option<&'static str> = Some("ingress");
    const COLUMNS: &'static [Column] = &[
        cells::text("Class", |it| cells::cell_or_none(&it["spec"]["ingressClassName"]))
            .doc("The name of the IngressClass resource that should be used for additional configuration"),
        cells::text("Hosts", hosts).doc("Hosts that incoming requests are matched against before the ingress rule"),
        cells::text("Address", address).doc("Address is a list containing ingress points for the load-balancer"),
        cells::text("Ports", |it| {
            let secure = !list(&it["spec"]["tls"]).is_empty();
            Cell::Text(if secure { "80, 443" } else { "80" }.to_owned())
        })
        .doc("Ports of TLS configurations that open"),
        AGE,
    ];

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => {
                let load_balancer = Some(IngressLoadBalancerStatus::default());
                self.status = Some(IngressStatus { load_balancer });
            }
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            if let Some(balancer) = self.status.as_ref().and_then(|it| it.load_balancer.as_ref()) {
                validate_balancer(balancer, &Path::new("status").child("loadBalancer"), errors);
            }
            return;
        }
        let nothing = IngressSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&nothing);
        if old.is_some_and(|it| it.spec == self.spec) {
            return;
        }
        validate_spec(spec, &Path::new("spec"), errors);
        let annotated = self.metadata.annotations.as_ref().and_then(|it| it.get(CLASS_ANNOTATION));
        if let (None, Some(annotated), Some(class)) = (old, annotated, &spec.ingress_class_name)
            && annotated != class
        {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            errors.invalid(path, annotated, "must match `ingressClassName` when both are specified");
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let annotated = self.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(CLASS_ANNOTATION));
        let classed = self.spec.as_ref().is_some_and(|it| it.ingress_class_name.is_some());
        if old.is_some() || !annotated || classed {
            return Vec::new();
        }
        vec![format!("annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead")]
    }
}

fn validate_spec(spec: &IngressSpec, path: &Path, errors: &mut Errors) {
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        errors.invalid(path.clone(), &spec.rules, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = &spec.default_backend {
        validate_backend(backend, &path.child("defaultBackend"), errors);
    }
    for (at, rule) in rules.iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(at), errors);
    }
    for (at, tls) in spec.tls.iter().flatten().enumerate() {
        let path = path.child("tls").index(at);
        for (at, host) in tls.hosts.iter().flatten().enumerate() {
            validate_host(host, || path.child("hosts").index(at), errors);
        }
        let secret = tls.secret_name.as_deref();
        checks::none_or_named(secret, name::dns1123_subdomain, || path.child("secretName"), errors);
    }
    if let Some(class) = &spec.ingress_class_name {
        for complaint in name::dns1123_subdomain(class) {
            errors.invalid(path.child("ingressClassName"), class, complaint);
        }
    }
}

fn validate_host(host: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    let rule = if host.contains('*') { name::wildcard_dns1123_subdomain } else { name::dns1123_subdomain };
    for complaint in rule(host) {
        errors.invalid(path(), host, complaint);
    }
}

fn validate_rule(rule: &IngressRule, path: &Path, errors: &mut Errors) {
    if let Some(host) = rule.host.as_ref().filter(|it| !it.is_empty()) {
        if host.parse::<IpAddr>().is_ok() {
            errors.invalid(path.child("host"), host, "must be a DNS name, not an IP address");
        }
        validate_host(host, || path.child("host"), errors);
    }
    let Some(http) = &rule.http else { return };
    let path = path.child("http").child("paths");
    if http.paths.is_empty() {
        errors.required(path.clone(), "");
    }
    for (at, it) in http.paths.iter().enumerate() {
        validate_path(it, &path.index(at), errors);
    }
}

fn validate_path(it: &HTTPIngressPath, path: &Path, errors: &mut Errors) {
    let text = it.path.as_deref().unwrap_or_default();
    let relative = |errors: &mut Errors| {
        if !text.starts_with('/') {
            errors.invalid(path.child("path"), text, "must be an absolute path");
        }
    };
    match it.path_type.as_str() {
        "" => return errors.required(path.child("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            relative(errors);
            for bad in BAD_SEQUENCES.iter().filter(|it| text.contains(**it)) {
                errors.invalid(path.child("path"), text, format!("must not contain '{bad}'"));
            }
            for bad in BAD_ENDS.iter().filter(|it| text.ends_with(**it)) {
                errors.invalid(path.child("path"), text, format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" if text.is_empty() => {}
        "ImplementationSpecific" => relative(errors),
        other => {
            errors.not_supported(path.child("pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]);
        }
    }
    validate_backend(&it.backend, &path.child("backend"), errors);
}

fn validate_backend(backend: &IngressBackend, path: &Path, errors: &mut Errors) {
    let service = match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            return errors.invalid(path.clone(), "", "cannot set both resource and service backends");
        }
        (Some(resource), None) => return validate_reference(resource, &path.child("resource"), errors),
        (None, None) => return errors.invalid(path.clone(), "", "resource or service backend is required"),
        (None, Some(service)) => service,
    };
    checks::named(&service.name, name::dns1035_label, || path.child("service").child("name"), errors);
    let port = service.port.clone().unwrap_or_default();
    let named = port.name.filter(|it| !it.is_empty());
    let numbered = port.number.filter(|it| *it != 0);
    let port_path = || path.child("service").child("port");
    match (named, numbered) {
        (Some(_), Some(_)) => errors.invalid(path.clone(), "", "cannot set both port name & port number"),
        (Some(name), None) => checks::named(&name, name::port_name, || port_path().child("name"), errors),
        (None, Some(number)) => checks::port_number(number, || port_path().child("number"), errors),
        (None, None) => errors.required(path.clone(), "port name or number is required"),
    }
}

/// A reference to an object of any kind in the same namespace, or of a class's parameters.
pub(super) fn validate_reference(it: &TypedLocalObjectReference, path: &Path, errors: &mut Errors) {
    if let Some(group) = &it.api_group {
        for complaint in name::dns1123_subdomain(group) {
            errors.invalid(path.child("apiGroup"), group, complaint);
        }
    }
    for (field, text, missing) in [("kind", &it.kind, "kind is required"), ("name", &it.name, "name is required")] {
        if text.is_empty() {
            errors.required(path.child(field), missing);
        }
        for complaint in name::path_segment(text, false).into_iter().filter(|_| !text.is_empty()) {
            errors.invalid(path.child(field), text, complaint);
        }
    }
}

fn validate_balancer(balancer: &IngressLoadBalancerStatus, path: &Path, errors: &mut Errors) {
    for (at, ingress) in balancer.ingress.iter().flatten().enumerate() {
        let path = path.child("ingress").index(at);
        if let Some(ip) = ingress.ip.as_ref().filter(|it| !it.is_empty()) {
            checks::ip(ip, || path.child("ip"), errors);
        }
        let Some(host) = ingress.hostname.as_ref().filter(|it| !it.is_empty()) else { continue };
        checks::none_or_named(Some(host), name::dns1123_subdomain, || path.child("hostname"), errors);
        if host.parse::<IpAddr>().is_ok() {
            errors.invalid(path.child("hostname"), host, "must be a DNS name, not an IP address");
        }
    }
}

fn hosts(it: &Value) -> Cell {
    let rules = list(&it["spec"]["rules"]);
    let mut shown: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= shown.len() == HOSTS_SHOWN;
        let host = str_of(&rule["host"]);
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    let text = match (shown.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => shown.join(","),
        (false, true) => format!("{} + {} more...", shown.join(","), rules.len() - HOSTS_SHOWN),
    };
    Cell::Text(text)
}

fn address(it: &Value) -> Cell {
    let of = |it: &Value| {
        let ip = str_of(&it["ip"]);
        if ip.is_empty() { str_of(&it["hostname"]) } else { ip }.to_owned()
    };
    let all: BTreeSet<String> = list(&it["status"]["loadBalancer"]["ingress"]).iter().map(of).collect();
    Cell::Text(all.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(","))
}
