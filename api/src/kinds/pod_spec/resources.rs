//! The rules for requests and limits, and the quality of service that follows from them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

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

/// Notes every mistake in a container's requests and limits.
pub fn validate(it: &ResourceRequirements, path: &Path, errors: &mut Errors) {
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    for (name, text) in it.limits.iter().flatten() {
        validate_name(name, &limits_path, errors);
        validate_amount(name, text, &limits_path, errors);
    }
    for (name, text) in it.requests.iter().flatten() {
        validate_name(name, &requests_path, errors);
        let Some(request) = validate_amount(name, text, &requests_path, errors) else { continue };
        let limit = it.limits.as_ref().and_then(|it| it.get(name)).and_then(|it| Quantity::of(it).ok());
        match limit {
            Some(limit) if request != limit && !may_overcommit(name) => {
                let why = format!("must be equal to {name} limit of {limit}");
                errors.invalid(requests_path.clone(), request.to_string(), why);
            }
            Some(limit) if request > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(requests_path.clone(), request.to_string(), why);
            }
            None if !may_overcommit(name) => {
                errors.required(limits_path.clone(), "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
}

/// Notes every mistake in a list of amounts that belong to no single container: overhead, a node's capacity.
pub fn validate_list(list: &List, path: &Path, errors: &mut Errors) {
    for (name, text) in list {
        for complaint in name::qualified_name(name) {
            errors.invalid(path.key(name), name, complaint);
        }
        validate_amount(name, text, path, errors);
    }
}

/// Kubernetes' own resources but huge pages may be promised more than once; those of others may not.
fn may_overcommit(name: &str) -> bool {
    !name.contains('/') && !name.starts_with("hugepages-")
}

fn validate_name(name: &str, path: &Path, errors: &mut Errors) {
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if standard {
        return;
    }
    let complaints = name::qualified_name(name);
    if complaints.is_empty() && !name.contains('/') {
        errors.invalid(path.key(name), name, "must be a standard resource for containers");
    }
    for complaint in complaints {
        errors.invalid(path.key(name), name, complaint);
    }
}

fn validate_amount(name: &str, text: &Text, path: &Path, errors: &mut Errors) -> Option<Quantity> {
    match Quantity::of(text) {
        Ok(amount) => {
            if amount.is_negative() {
                errors.invalid(path.key(name), amount.to_string(), "must be greater than or equal to 0");
            } else if (name.contains('/') || name == "pods") && !amount.is_whole() {
                errors.invalid(path.key(name), amount.to_string(), "must be an integer");
            }
            Some(amount)
        }
        Err(error) => {
            errors.invalid(path.key(name), &text.0, error.to_string());
            None
        }
    }
}

/// A pod's quality of service class: `Guaranteed` if every container's limits are its requests, `BestEffort` if it has neither,
/// `Burstable` otherwise.
pub fn quality_of_service(spec: &PodSpec) -> &'static str {
    let mut asks = false;
    let mut guaranteed = true;
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let (limits, requests) = (amounts(container, true), amounts(container, false));
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
fn amounts(container: &Container, limits: bool) -> [Option<Quantity>; 2] {
    let list =
        container.resources.as_ref().and_then(|it| if limits { it.limits.as_ref() } else { it.requests.as_ref() });
    ["cpu", "memory"].map(|name| {
        let amount = Quantity::of(list?.get(name)?).ok()?;
        (!amount.is_zero()).then_some(amount)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(resources: Value, quality: &str, mistakes: &[&str]) {
        let container: Container = serde_json::from_value(json!({"name": "a", "resources": resources})).unwrap();
        let mut errors = Errors::default();
        validate(container.resources.as_ref().unwrap(), &Path::new("resources"), &mut errors);
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
                "resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                "resources.requests[gpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                "resources.requests[x.io/fpga]: Invalid value: \"500m\": must be an integer",
                "resources.limits: Required value: Limit must be set for non overcommitable resources",
            ],
        );
    }
}
