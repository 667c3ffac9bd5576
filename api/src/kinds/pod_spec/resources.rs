//! The rules for requests and limits, and the quality of service that follows from them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::pod_resources;
use crate::field::{Errors, Path};
use crate::name;
use crate::quantity::Quantity;

type List = BTreeMap<String, Text>;

/// Writes every quantity in its canonical form. One that cannot be read stays as it is, for [`validate`] to complain of.
pub fn canonicalize(list: Option<&mut List>) {
    for text in list.into_iter().flat_map(BTreeMap::values_mut) {
        if let Ok(quantity) = Quantity::parse(text.0.trim()) {
            let canonical = quantity.to_text();
            if *text != canonical {
                *text = canonical;
            }
        }
    }
}

/// Kubernetes' own resources that are no container's: quotas count them.
const OTHER_STANDARD: &[&str] = &[
    "configmaps",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
/// Those of them that come one by one.
const COUNTED: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// Notes every mistake in a container's requests and limits.
pub fn validate(it: &ResourceRequirements, path: impl Fn() -> Path, errors: &mut Errors) {
    validate_named(it, validate_name, path, errors);
}

/// Notes every mistake in requests and limits whose names have this rule.
pub fn validate_named(
    it: &ResourceRequirements,
    validate_name: fn(&str, &dyn Fn() -> Path, &mut Errors),
    path: impl Fn() -> Path,
    errors: &mut Errors,
) {
    let limit_of = |name: &str| it.limits.as_ref().and_then(|it| it.get(name)).and_then(|it| Quantity::of(it).ok());
    for (name, text) in it.limits.iter().flatten() {
        let at = || path().child("limits").key(name);
        validate_name(name, &at, errors);
        if let Some(limit) = validate_amount(name, text, at, errors) {
            validate_pages(name, limit, at, errors);
        }
    }
    for (name, text) in it.requests.iter().flatten() {
        let at = || path().child("requests").key(name);
        validate_name(name, &at, errors);
        let Some(request) = validate_amount(name, text, at, errors) else { continue };
        match limit_of(name) {
            Some(limit) if request != limit && !may_overcommit(name) => {
                let why = format!("must be equal to {name} limit of {limit}");
                errors.invalid(path().child("requests"), request.to_string(), why);
            }
            Some(limit) if request > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(path().child("requests"), request.to_string(), why);
            }
            None if !may_overcommit(name) => {
                errors.required(path().child("limits"), "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        validate_pages(name, request, at, errors);
    }
    let names = || it.limits.iter().chain(&it.requests).flat_map(BTreeMap::keys);
    if names().any(|it| it.starts_with(PAGES)) && !names().any(|it| matches!(it.as_str(), "cpu" | "memory")) {
        errors.forbidden(path(), "HugePages require cpu or memory");
    }
}

/// Notes every mistake in a pod's overhead, which Kubernetes looks at as if it were a container's limits.
pub fn validate_overhead(list: &List, path: &Path, errors: &mut Errors) {
    let as_limits = ResourceRequirements { limits: Some(list.clone()), ..ResourceRequirements::default() };
    validate(&as_limits, || path.clone(), errors);
}

/// Notes every mistake in a list of amounts that belong to no container: a node's capacity. Their names are the node's matter.
pub fn validate_list(list: &List, path: impl Fn() -> Path, errors: &mut Errors) {
    for (name, text) in list {
        validate_amount(name, text, || path().child(name), errors);
    }
}

/// The start of the names of huge pages; their size follows.
const PAGES: &str = "hugepages-";

/// Whether a resource is memory in huge pages.
pub fn is_pages(name: &str) -> bool {
    name.starts_with(PAGES)
}

/// Kubernetes' own resources but huge pages may be promised more than once; those of others may not.
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with(PAGES)
}

/// Whether a resource is Kubernetes' own.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is someone else's, and such that a quota can count it as `requests.<name>`.
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && name::qualified_name(&format!("requests.{name}")).is_empty()
}

/// The resources that a quota may limit and that are not qualified.
const QUOTA_STANDARD: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Notes what is wrong with the name of a resource that a quota limits.
pub fn validate_quota_name(name: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    validate_any_name(name, &path, errors);
    let standard = QUOTA_STANDARD.contains(&name)
        || OTHER_STANDARD.contains(&name) && name != "storage"
        || name.starts_with(PAGES)
        || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !standard {
        errors.invalid(path(), name, "must be a standard resource for quota");
    }
}

/// Notes what is wrong with the name of a resource that a limit of this type is about.
pub fn validate_limit_name(of: &str, name: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    validate_any_name(name, &path, errors);
    let known = QUOTA_STANDARD.contains(&name) || name.starts_with(PAGES);
    if matches!(of, "Pod" | "Container") && !name.contains('/') && !known {
        let what = if of == "Pod" {
            "must be a standard limit resource for pods"
        } else {
            "must be a standard resource for containers"
        };
        errors.invalid(path(), name, what);
    }
}

/// Notes what is wrong with the name of a resource of any kind.
pub fn validate_any_name(name: &str, path: &dyn Fn() -> Path, errors: &mut Errors) {
    if QUOTA_STANDARD.contains(&name) || name.starts_with(PAGES) {
        return;
    }
    let complaints = name::qualified_name(name);
    let standard = OTHER_STANDARD.contains(&name) || name.starts_with("requests.hugepages-");
    if complaints.is_empty() && !name.contains('/') && !standard {
        errors.invalid(path(), name, "must be a standard resource type or fully qualified");
    }
    for complaint in complaints {
        errors.invalid(path(), name, complaint);
    }
}

/// Notes what is wrong with the name of a resource that a container may have.
pub fn validate_name(name: &str, path: &dyn Fn() -> Path, errors: &mut Errors) {
    if matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with(PAGES) {
        return;
    }
    validate_any_name(name, path, errors);
    if !name.contains('/') {
        errors.invalid(path(), name, "must be a standard resource for containers");
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path(), name, "doesn't follow extended resource name standard");
    }
}

/// Notes what is wrong with an amount, and reads it.
pub fn validate_amount(name: &str, text: &Text, path: impl Fn() -> Path, errors: &mut Errors) -> Option<Quantity> {
    match Quantity::of(text) {
        Ok(amount) => {
            if amount.is_negative() {
                errors.invalid(path(), amount.to_string(), "must be greater than or equal to 0");
            }
            if !amount.is_whole() && (COUNTED.contains(&name) || is_extended(name)) {
                errors.invalid(path(), amount.to_string(), "must be an integer");
            }
            Some(amount)
        }
        Err(error) => {
            errors.invalid(path(), &text.0, error.to_string());
            None
        }
    }
}

/// Huge pages come whole.
fn validate_pages(name: &str, amount: Quantity, path: impl Fn() -> Path, errors: &mut Errors) {
    let Some(size) = name.strip_prefix(PAGES).and_then(|it| Quantity::parse(it).ok()) else { return };
    let (size, bytes) = (size.value_ceil(), amount.value_ceil());
    if size > 0 && bytes % size != 0 {
        errors.invalid(path(), amount.to_string(), format!("{amount} is not positive integer multiple of {name}"));
    }
}

/// A pod's quality of service class: `Guaranteed` if every container's limits are its requests, `BestEffort` if it has neither,
/// `Burstable` otherwise.
pub fn quality_of_service(spec: &PodSpec) -> &'static str {
    let mut asks = false;
    let mut guaranteed = true;
    let of_containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    // What a pod has as a whole decides alone.
    let of_pod = pod_resources::of(spec);
    let all: Vec<Option<&ResourceRequirements>> = match of_pod {
        Some(_) => vec![of_pod],
        None => of_containers.map(|it| it.resources.as_ref()).collect(),
    };
    for resources in all {
        let (limits, requests) = (amounts(resources, true), amounts(resources, false));
        asks |= limits.iter().chain(&requests).any(Option::is_some);
        // Requests may not exceed limits, so that equal sums mean equal terms.
        guaranteed &= limits.iter().zip(&requests).all(|(limit, request)| limit.is_some() && limit == request);
    }
    match (asks, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// CPU and memory, where there is more than nothing of them.
fn amounts(resources: Option<&ResourceRequirements>, limits: bool) -> [Option<Quantity>; 2] {
    let list = resources.and_then(|it| if limits { it.limits.as_ref() } else { it.requests.as_ref() });
    ["cpu", "memory"].map(|name| {
        let amount = Quantity::of(list?.get(name)?).ok()?;
        (!amount.is_zero()).then_some(amount)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Container;
    use serde_json::{Value, json};

    fn check(resources: Value, quality: &str, mistakes: &[&str]) {
        let container: Container = serde_json::from_value(json!({"name": "a", "resources": resources})).unwrap();
        let mut errors = Errors::default();
        validate(container.resources.as_ref().unwrap(), || Path::new("resources"), &mut errors);
        assert_eq!(errors.list().iter().map(ToString::to_string).collect::<Vec<_>>(), mistakes);
        let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
        assert_eq!(quality_of_service(&spec), quality);
    }

    #[test]
    fn weighs_requests_against_limits() {
        check(json!({}), "BestEffort", &[]);
        check(json!({"requests": {"cpu": "1"}}), "Burstable", &[]);
        let all = json!({"cpu": "1", "memory": "1Gi"});
        check(json!({"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": all}), "Guaranteed", &[]);
        check(
            json!({"requests": {"cpu": "2"}, "limits": all}),
            "Burstable",
            &["resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
        );
        check(
            json!({"requests": {"gpu": "-1", "x.io/fpga": "500m"}}),
            "BestEffort",
            &[
                "resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified",
                "resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                "resources.requests[gpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                "resources.requests[x.io/fpga]: Invalid value: \"500m\": must be an integer",
                "resources.limits: Required value: Limit must be set for non overcommitable resources",
            ],
        );
        check(
            json!({"limits": {"hugepages-2Mi": "3Mi", "requests.x.io/y": "1"}}),
            "BestEffort",
            &[
                "resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "resources.limits[requests.x.io/y]: Invalid value: \"requests.x.io/y\": doesn't follow extended resource name standard",
                "resources: Forbidden: HugePages require cpu or memory",
            ],
        );
    }
}
