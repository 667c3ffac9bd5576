//! What objects use of a quota, and which quotas they count against: the same for the admission that charges and the controller that counts.
//!
//! In: an object as JSON or typed. Out: amounts by the names that a quota limits. It knows no namespaces and keeps no sums.
//! Source: `pkg/quota/v1/evaluator/core`, `k8s.io/apiserver/pkg/quota/v1`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaim, Pod, PodSpec, ResourceQuotaSpec, ResourceRequirements,
    ScopedResourceSelectorRequirement, Service,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::kinds::{is_extended_resource, quality_of_service};
use crate::quantity::{Format, Quantity};

/// Amounts of resources by their names.
pub type Amounts = BTreeMap<String, Quantity>;

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";

/// Resources that every container must ask for where a quota limits them.
const EXPLICIT: &[&str] = &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Amounts as objects hold them; what cannot be read is nothing.
pub fn read(list: Option<&BTreeMap<String, Text>>) -> Amounts {
    let read = |(name, text): (&String, &Text)| Some((name.clone(), Quantity::of(text).ok()?));
    list.into_iter().flatten().filter_map(read).collect()
}

/// Amounts as objects hold them.
pub fn write(amounts: &Amounts) -> BTreeMap<String, Text> {
    amounts.iter().map(|(name, amount)| (name.clone(), amount.to_text())).collect()
}

/// `cpu=1,memory=2Gi`, as refusals show amounts.
pub fn shown(amounts: &Amounts) -> String {
    let parts: Vec<String> = amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    parts.join(",")
}

/// Adds amounts.
pub fn add(into: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match into.get_mut(name) {
            Some(sum) => *sum += *amount,
            None => _ = into.insert(name.clone(), *amount),
        }
    }
}

/// What `new` uses more than `old`; nothing where it is not more.
pub fn risen(new: &Amounts, old: &Amounts) -> Amounts {
    let more = new.iter().map(|(name, amount)| match old.get(name) {
        Some(before) => (name.clone(), *amount - *before),
        None => (name.clone(), *amount),
    });
    more.filter(|(_, amount)| !amount.is_zero() && !amount.is_negative()).collect()
}

fn one() -> Quantity {
    Quantity::from_units(1, Format::DecimalSi)
}

fn of_resources(it: Option<&ResourceRequirements>) -> (Amounts, Amounts) {
    let of = |list: fn(&ResourceRequirements) -> Option<&BTreeMap<String, Text>>| read(it.and_then(list));
    (of(|it| it.requests.as_ref()), of(|it| it.limits.as_ref()))
}

/// What a container requests, and its limits.
pub fn of_container(container: &Container) -> (Amounts, Amounts) {
    of_resources(container.resources.as_ref())
}

/// What the containers of a pod request, and their limits: together, or the most that one of its init containers needs beside the sidecars
/// that have started before it.
pub fn of_containers(spec: &PodSpec) -> (Amounts, Amounts) {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for container in &spec.containers {
        let (more, most) = of_container(container);
        add(&mut requests, &more);
        add(&mut limits, &most);
    }
    let (mut sidecars, mut sidecar_limits) = (Amounts::new(), Amounts::new());
    let (mut peak, mut limit_peak) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let (mut needs, mut most) = of_container(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut requests, &needs);
            add(&mut limits, &most);
            add(&mut sidecars, &needs);
            add(&mut sidecar_limits, &most);
            (needs, most) = (sidecars.clone(), sidecar_limits.clone());
        } else {
            add(&mut needs, &sidecars);
            add(&mut most, &sidecar_limits);
        }
        raise(&mut peak, &needs);
        raise(&mut limit_peak, &most);
    }
    raise(&mut requests, &peak);
    raise(&mut limits, &limit_peak);
    (requests, limits)
}

/// What a pod requests, and its limits: those of its containers or of the pod as a whole; with or without what its runtime takes.
pub fn of_pod_spec(spec: &PodSpec, overhead: bool) -> (Amounts, Amounts) {
    let (mut requests, mut limits) = of_containers(spec);
    // What the pod as a whole asks for stands for what its containers ask for.
    let (whole, whole_limits) = of_resources(spec.resources.as_ref());
    requests.extend(whole);
    limits.extend(whole_limits);
    if let (true, Some(_)) = (overhead, &spec.overhead) {
        let fixed = read(spec.overhead.as_ref());
        add(&mut requests, &fixed);
        for (name, amount) in &fixed {
            if let Some(limit) = limits.get_mut(name) {
                *limit += *amount;
            }
        }
    }
    (requests, limits)
}

fn raise(into: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        let now = into.entry(name.clone()).or_insert(*amount);
        if *now < *amount {
            *now = *amount;
        }
    }
}

/// Requests and limits by the names that a quota has for them.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut out = Amounts::from([("pods".to_owned(), one())]);
    for (name, amount) in requests {
        let native = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
        if native {
            out.insert(name.clone(), *amount);
        }
        if native || is_extended_resource(name) {
            out.insert(format!("requests.{name}"), *amount);
        }
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            out.insert(format!("limits.{name}"), *amount);
        }
    }
    out
}

/// `count/deployments.apps`: the name under which a quota counts objects of any kind.
pub fn counted(group: &str, plural: &str) -> String {
    if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") }
}

/// The older names under which a quota counts objects of some kinds.
pub const COUNTED_KINDS: &[&str] =
    &["configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services"];

/// What an object uses that is only counted.
pub fn of_any(group: &str, plural: &str) -> Amounts {
    let mut out = Amounts::from([(counted(group, plural), one())]);
    if group.is_empty() && COUNTED_KINDS.contains(&plural) {
        out.insert(plural.to_owned(), one());
    }
    out
}

/// What a pod uses. One that has ended, or should have long since, is only counted. `now` is a second since 1970.
pub fn of_pod(pod: &Pod, now: i64) -> Amounts {
    let mut out = of_any("", "pods");
    let ended =
        pod.status.as_ref().and_then(|it| it.phase.as_deref()).is_some_and(|it| matches!(it, "Failed" | "Succeeded"));
    let overdue = match (&pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds) {
        // The time of the deletion has the grace period in it.
        (Some(at), Some(_)) => at.0.as_second() < now,
        _ => false,
    };
    if ended || overdue {
        return out;
    }
    let (requests, limits) = pod.spec.as_ref().map(|it| of_pod_spec(it, true)).unwrap_or_default();
    out.extend(compute(&requests, &limits));
    out
}

/// What a service uses.
pub fn of_service(service: &Service) -> Amounts {
    let mut out = of_any("", "services");
    let Some(spec) = &service.spec else { return out };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let count = |count: usize| Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi);
    match spec.type_.as_deref() {
        Some("NodePort") => _ = out.insert("services.nodeports".to_owned(), count(ports.len())),
        Some("LoadBalancer") => {
            out.insert("services.loadbalancers".to_owned(), one());
            let used = match spec.allocate_load_balancer_node_ports {
                Some(false) => ports.iter().filter(|it| it.node_port.unwrap_or(0) != 0).count(),
                _ => ports.len(),
            };
            out.insert("services.nodeports".to_owned(), count(used));
        }
        _ => {}
    }
    out
}

/// What a claim uses, in all and of its storage class.
pub fn of_claim(claim: &PersistentVolumeClaim) -> Amounts {
    let mut out = of_any("", "persistentvolumeclaims");
    let class = storage_class(claim).filter(|it| !it.is_empty());
    if let Some(class) = &class {
        out.insert(format!("{class}{STORAGE_CLASS}persistentvolumeclaims"), one());
    }
    let asked = claim.spec.as_ref().and_then(|it| it.resources.as_ref()).and_then(|it| it.requests.as_ref());
    let allocated = claim.status.as_ref().and_then(|it| it.allocated_resources.as_ref());
    let size = |list: Option<&BTreeMap<String, Text>>| list.and_then(|it| Quantity::of(it.get("storage")?).ok());
    if let Some(asked) = size(asked) {
        let used = size(allocated).map_or(asked, |it| if it > asked { it } else { asked });
        out.insert("requests.storage".to_owned(), used);
        if let Some(class) = &class {
            out.insert(format!("{class}{STORAGE_CLASS}requests.storage"), used);
        }
    }
    out
}

/// The storage class that a claim names, by its annotation or its field.
pub fn storage_class(claim: &PersistentVolumeClaim) -> Option<String> {
    let annotation =
        claim.metadata.annotations.as_ref().and_then(|it| it.get("volume.beta.kubernetes.io/storage-class"));
    annotation.cloned().or_else(|| claim.spec.as_ref()?.storage_class_name.clone())
}

/// Whether objects of a kind may use a resource that a quota limits.
pub fn may_use(group: &str, plural: &str, resource: &str) -> bool {
    if resource == counted(group, plural) {
        return true;
    }
    if !group.is_empty() {
        return false;
    }
    match plural {
        "pods" => {
            matches!(resource, "pods" | "cpu" | "memory" | "ephemeral-storage")
                || resource.starts_with("hugepages-")
                || resource.starts_with("limits.")
                || resource.starts_with("requests.") && resource != "requests.storage"
        }
        "services" => matches!(resource, "services" | "services.nodeports" | "services.loadbalancers"),
        "persistentvolumeclaims" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage") || resource.contains(STORAGE_CLASS)
        }
        _ => resource == plural && COUNTED_KINDS.contains(&plural),
    }
}

/// What each container of a pod must state because quotas limit it, and does not: `limits.cpu for: a,b; memory for: a`. None if all do.
pub fn unstated<'a>(pod: &Pod, limited: impl Iterator<Item = &'a str>) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let required: BTreeSet<&str> = limited.filter(|it| EXPLICIT.contains(it)).collect();
    if required.is_empty() || spec.resources.is_some() {
        return None;
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let (requests, limits) = of_container(container);
        let stated = compute(&requests, &limits);
        for name in required.iter().filter(|it| !stated.contains_key(**it)) {
            missing.entry(name).or_default().insert(&container.name);
        }
    }
    let parts: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(",")))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Whether a quota counts this pod: all that it is narrowed to holds.
pub fn counts_pod(quota: &ResourceQuotaSpec, pod: &Pod) -> bool {
    scopes(quota).all(|it| {
        let Some(spec) = &pod.spec else { return false };
        let class = spec.priority_class_name.as_deref().filter(|it| !it.is_empty());
        match it.scope_name.as_str() {
            "Terminating" => spec.active_deadline_seconds.is_some(),
            "NotTerminating" => spec.active_deadline_seconds.is_none(),
            "BestEffort" => quality_of_service(spec) == "BestEffort",
            "NotBestEffort" => quality_of_service(spec) != "BestEffort",
            "PriorityClass" => selects(&it, class),
            "CrossNamespacePodAffinity" => looks_elsewhere(spec),
            _ => false,
        }
    })
}

/// Whether a quota counts objects that are no pods: only if it is not narrowed to some pods; claims may be told apart by their
/// attributes class.
pub fn counts_other(quota: &ResourceQuotaSpec, claim: Option<&PersistentVolumeClaim>) -> bool {
    scopes(quota).all(|it| {
        let class = claim.and_then(|it| it.spec.as_ref()).and_then(|it| it.volume_attributes_class_name.as_deref());
        it.scope_name == "VolumeAttributesClass" && claim.is_some() && selects(&it, class.filter(|it| !it.is_empty()))
    })
}

fn scopes(quota: &ResourceQuotaSpec) -> impl Iterator<Item = ScopedResourceSelectorRequirement> + '_ {
    let plain = quota.scopes.iter().flatten().map(|it| ScopedResourceSelectorRequirement {
        operator: "Exists".to_owned(),
        scope_name: it.clone(),
        values: None,
    });
    let selected = quota.scope_selector.iter().flat_map(|it| it.match_expressions.iter().flatten()).cloned();
    plain.chain(selected)
}

fn selects(it: &ScopedResourceSelectorRequirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| it.values.iter().flatten().any(|it| it == value));
    match it.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "DoesNotExist" => value.is_none(),
        _ => value.is_some(),
    }
}

fn looks_elsewhere(spec: &PodSpec) -> bool {
    let affinity = spec.affinity.as_ref();
    let pods = affinity.and_then(|it| it.pod_affinity.as_ref());
    let anti = affinity.and_then(|it| it.pod_anti_affinity.as_ref());
    let required =
        pods.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref()).into_iter().flatten();
    let anti_required =
        anti.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref()).into_iter().flatten();
    let preferred =
        pods.and_then(|it| it.preferred_during_scheduling_ignored_during_execution.as_ref()).into_iter().flatten();
    let anti_preferred =
        anti.and_then(|it| it.preferred_during_scheduling_ignored_during_execution.as_ref()).into_iter().flatten();
    let weighted = preferred.chain(anti_preferred).map(|it| &it.pod_affinity_term);
    required
        .chain(anti_required)
        .chain(weighted)
        .any(|it| it.namespace_selector.is_some() || it.namespaces.as_ref().is_some_and(|it| !it.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(amounts: &Amounts, expected: &str) {
        assert_eq!(shown(amounts), expected);
    }

    fn pod(value: Value) -> Pod {
        serde_json::from_value(json!({ "spec": value })).unwrap()
    }

    #[test]
    fn pods_use_what_they_ask_for() {
        let it = pod(json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "2"}, "limits": {"memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "500m"}}}],
            "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                {"name": "i", "resources": {"requests": {"cpu": "2"}}}],
        }));
        check(&of_pod(&it, 0), "count/pods=1,cpu=3,limits.memory=1Gi,pods=1,requests.cpu=3,requests.nvidia.com/gpu=2");
        assert_eq!(unstated(&it, ["cpu", "pods"].into_iter()), None);
        assert_eq!(
            unstated(&it, ["limits.memory", "memory"].into_iter()).unwrap(),
            "limits.memory for: b,i,s; memory for: a,b,i,s"
        );
        let mut ended = it;
        ended.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
        check(&of_pod(&ended, 0), "count/pods=1");
    }

    #[test]
    fn services_and_claims_use_more_than_themselves() {
        let service = |spec: Value| of_service(&serde_json::from_value(json!({ "spec": spec })).unwrap());
        let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
        check(&service(json!({"ports": ports})), "count/services=1,services=1");
        check(
            &service(json!({"type": "NodePort", "ports": ports})),
            "count/services=1,services=1,services.nodeports=2",
        );
        check(
            &service(json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false})),
            "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1",
        );
        let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
        check(
            &of_claim(&claim),
            "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
             gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
        );
        assert!(of_claim(&claim).keys().all(|it| may_use("", "persistentvolumeclaims", it)));
        check(&of_any("apps", "deployments"), "count/deployments.apps=1");
    }

    #[test]
    fn scopes_narrow_what_counts() {
        let plain = pod(json!({"containers": [{"name": "a"}], "priorityClassName": "high"}));
        for (quota, expected) in [
            (json!({}), true),
            (json!({"scopes": ["BestEffort", "NotTerminating"]}), true),
            (json!({"scopes": ["NotBestEffort"]}), false),
            (json!({"scopes": ["Terminating"]}), false),
            (json!({"scopes": ["CrossNamespacePodAffinity"]}), false),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}),
                true,
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}]}}),
                false,
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}),
                false,
            ),
        ] {
            let quota: ResourceQuotaSpec = serde_json::from_value(quota).unwrap();
            assert_eq!(counts_pod(&quota, &plain), expected, "{quota:?}");
        }
        let narrowed: ResourceQuotaSpec = serde_json::from_value(json!({"scopes": ["BestEffort"]})).unwrap();
        assert!(!counts_other(&narrowed, None));
        assert!(counts_other(&ResourceQuotaSpec::default(), None));
    }

    #[test]
    fn only_what_rises_is_charged() {
        let of = |cpu: &str| Amounts::from([("cpu".to_owned(), Quantity::parse(cpu).unwrap())]);
        check(&risen(&of("3"), &of("1")), "cpu=2");
        check(&risen(&of("1"), &of("1")), "");
        check(&risen(&of("1"), &of("3")), "");
    }
}
