//! What a container asks for, in the kernel's units: CPU shares and quota, memory limit, the score for the out-of-memory killer.
//!
//! Pure arithmetic over the pod, as the kubelet does it. It knows no cgroups; a runtime applies the numbers.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use orlop_api::quantity::Quantity;

use crate::machine::world::{app_containers, init_containers};
use crate::node::huge_pages;
use crate::runtime::Resources;

/// Shares of a whole core.
const SHARES_PER_CORE: i64 = 1024;
/// The least the kernel takes.
const LEAST_SHARES: i64 = 2;
/// Microseconds of quota per thousandth of a core, of a period of 100,000 µs.
const QUOTA_US_PER_MILLI: i64 = 100;
/// The least quota the kernel takes.
const LEAST_QUOTA_US: i64 = 1000;
/// The scores the kubelet gives: a guaranteed container is killed last, one without requests first.
const GUARANTEED_SCORE: i32 = -997;
const BEST_EFFORT_SCORE: i32 = 1000;

/// A pod's quality of service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// Which of the two amounts of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Request,
    Limit,
}

/// A container's amount of a resource. A limit without a request stands for both, as the API server's defaults have it.
pub fn amount(container: &Container, which: Amount, resource: &str) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    let limit = || lookup(resources.limits.as_ref(), resource);
    match which {
        Amount::Limit => limit(),
        Amount::Request => lookup(resources.requests.as_ref(), resource).or_else(limit),
    }
}

/// A quantity of a resource list; one that cannot be read counts as none, the API server refuses it before.
pub fn lookup(list: Option<&BTreeMap<String, Text>>, resource: &str) -> Option<Quantity> {
    Quantity::parse(&list?.get(resource)?.0).ok()
}

fn millis(it: Option<Quantity>) -> i64 {
    it.map_or(0, |it| it.milli_value_ceil())
}

fn whole(it: Option<Quantity>) -> i64 {
    it.map_or(0, |it| it.value_ceil())
}

/// The pod's class, by its containers' CPU and memory.
pub fn qos_class(pod: &Pod) -> Qos {
    let mut any = false;
    let mut all_equal = true;
    for container in app_containers(pod).iter().chain(init_containers(pod)) {
        for resource in ["cpu", "memory"] {
            let request = millis(amount(container, Amount::Request, resource));
            let limit = millis(amount(container, Amount::Limit, resource));
            any |= request > 0 || limit > 0;
            all_equal &= limit > 0 && request == limit;
        }
    }
    match (any, all_equal) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// The sizes of the huge pages that a pod asks for, in bytes.
pub fn huge_page_sizes(pod: &Pod) -> BTreeSet<u64> {
    let containers = app_containers(pod).iter().chain(init_containers(pod));
    containers.flat_map(|it| of_huge_pages(it).into_keys()).collect()
}

/// What a container may use of huge pages, by their size, both in bytes: the request is the limit, the API server sees to that.
fn of_huge_pages(container: &Container) -> BTreeMap<u64, u64> {
    let limits = container.resources.as_ref().and_then(|it| it.limits.as_ref());
    let pages = limits.into_iter().flatten().filter_map(|(resource, amount)| {
        let amount = Quantity::parse(&amount.0).ok()?;
        Some((huge_pages::size_of(resource)?, u64::try_from(amount.value_ceil()).ok()?))
    });
    pages.collect()
}

/// The kernel's numbers of one container on a machine with `memory_bytes` of memory.
pub fn of_container(pod: &Pod, container: &Container, memory_bytes: i64) -> Resources {
    let request = millis(amount(container, Amount::Request, "cpu"));
    let limit = millis(amount(container, Amount::Limit, "cpu"));
    let memory = whole(amount(container, Amount::Limit, "memory"));
    Resources {
        cpu_shares: (request.saturating_mul(SHARES_PER_CORE) / 1000).max(LEAST_SHARES).unsigned_abs(),
        cpu_quota_us: (limit > 0).then(|| limit.saturating_mul(QUOTA_US_PER_MILLI).max(LEAST_QUOTA_US)),
        memory_limit_bytes: (memory > 0).then_some(memory),
        oom_score_adj: oom_score(qos_class(pod), whole(amount(container, Amount::Request, "memory")), memory_bytes),
        huge_pages: of_huge_pages(container),
    }
}

/// A burstable container's score falls with the share of the machine's memory that it asks for.
fn oom_score(qos: Qos, request_bytes: i64, memory_bytes: i64) -> i32 {
    match qos {
        Qos::Guaranteed => GUARANTEED_SCORE,
        Qos::BestEffort => BEST_EFFORT_SCORE,
        Qos::Burstable => {
            let share = request_bytes.saturating_mul(1000) / memory_bytes.max(1);
            let score = i32::try_from(1000 - share.clamp(0, 1000)).unwrap_or(0);
            score.clamp(1000 + GUARANTEED_SCORE, BEST_EFFORT_SCORE - 1)
        }
    }
}

/// What the pod takes of the node: the sum of its containers, or its largest init container, and its overhead. CPU in thousandths.
pub fn pod_request(pod: &Pod, resource: &str) -> i64 {
    let of = |it: &Container| {
        let amount = amount(it, Amount::Request, resource);
        if resource == "cpu" { millis(amount) } else { whole(amount) }
    };
    let apps: i64 = app_containers(pod).iter().map(of).sum();
    let mut sidecars = 0;
    let mut largest_init = 0;
    for it in init_containers(pod) {
        if it.restart_policy.as_deref() == Some("Always") {
            sidecars += of(it);
            largest_init = largest_init.max(sidecars);
        } else {
            largest_init = largest_init.max(sidecars + of(it));
        }
    }
    let overhead = lookup(pod.spec.as_ref().and_then(|it| it.overhead.as_ref()), resource);
    let overhead = if resource == "cpu" { millis(overhead) } else { whole(overhead) };
    (apps + sidecars).max(largest_init) + overhead
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"spec": {"containers": [{"name": "a", "resources": resources}]}}))
            .unwrap()
    }

    fn check(resources: serde_json::Value, qos: Qos, expected: Resources) {
        let pod = pod(resources);
        assert_eq!(qos_class(&pod), qos);
        assert_eq!(of_container(&pod, &app_containers(&pod)[0], 1000 << 20), expected);
    }

    #[test]
    fn kernel_numbers_follow_requests_and_limits() {
        let best_effort = Resources { cpu_shares: 2, oom_score_adj: 1000, ..Resources::default() };
        check(serde_json::json!({}), Qos::BestEffort, best_effort);
        let guaranteed = Resources {
            cpu_shares: 512,
            cpu_quota_us: Some(50_000),
            memory_limit_bytes: Some(64 << 20),
            oom_score_adj: -997,
            huge_pages: BTreeMap::from([(2 << 20, 4 << 20)]),
        };
        let limits = serde_json::json!({"limits": {"cpu": "500m", "memory": "64Mi", "hugepages-2Mi": "4Mi"}});
        check(limits, Qos::Guaranteed, guaranteed);
        let burstable = Resources { cpu_shares: 102, oom_score_adj: 900, ..Resources::default() };
        check(serde_json::json!({"requests": {"cpu": "0.1", "memory": "100Mi"}}), Qos::Burstable, burstable);
    }

    #[test]
    fn a_pod_takes_its_largest_init_container_or_the_sum_of_the_others() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "2"}}}],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}, {"name": "b", "resources": {"requests": {"cpu": "500m"}}}]
        }})).unwrap();
        assert_eq!(pod_request(&pod, "cpu"), 2000);
    }
}
