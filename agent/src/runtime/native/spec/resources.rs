//! The cgroup of a container: what it may use, and below which pod it stands. Pure.

use serde_json::{Value, json};

use super::Place;
use crate::node::huge_pages::in_words;
use crate::runtime::ContainerSpec;

/// The period that a quota counts in, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// The scores by which the kubelet's classes of service are told apart, see `crate::resources`.
const GUARANTEED_SCORE: i32 = -997;
const BEST_EFFORT_SCORE: i32 = 1000;

/// The pod's cgroup, in the places where the kubelet's cgroupfs driver has it: `/kubepods/burstable/pod<uid>` and its like, below `root`, which is
/// empty or begins with a slash.
pub fn pod_cgroup(root: &str, uid: &str, oom_score_adj: i32) -> String {
    let class = match oom_score_adj {
        BEST_EFFORT_SCORE => "/besteffort",
        // Scores below that of a guaranteed pod are of a critical one, which may be of any class.
        it if it <= GUARANTEED_SCORE => "",
        _ => "/burstable",
    };
    format!("{root}/kubepods{class}/pod{uid}")
}

/// Every place where [`pod_cgroup`] may have put a pod.
pub fn pod_cgroups(root: &str, uid: &str) -> [String; 3] {
    [GUARANTEED_SCORE, BEST_EFFORT_SCORE, 0].map(|it| pod_cgroup(root, uid, it))
}

/// The OCI's `resources`.
pub fn resources(spec: &ContainerSpec, place: &Place) -> Value {
    let asked = &spec.resources;
    // What every container may use, such as /dev/null, the runtime allows by itself.
    let mut all = json!({"devices": [{"allow": spec.privileged, "access": "rwm"}]});
    let mut cpu = serde_json::Map::new();
    if asked.cpu_shares > 0 {
        cpu.insert("shares".into(), json!(asked.cpu_shares));
    }
    if let Some(quota) = asked.cpu_quota_us {
        cpu.insert("quota".into(), json!(quota));
        cpu.insert("period".into(), json!(CPU_PERIOD_US));
    }
    if !cpu.is_empty() {
        all["cpu"] = cpu.into();
    }
    if let Some(limit) = asked.memory_limit_bytes {
        all["memory"] = json!({"limit": limit});
        if place.swap_limit {
            // Memory and swap together at the memory's limit: a pod does not swap.
            all["memory"]["swap"] = json!(limit);
        }
    }
    if !place.huge_pages.is_empty() {
        let limit = |size: &u64| asked.huge_pages.get(size).copied().unwrap_or(0);
        let limits = place.huge_pages.iter().map(|it| json!({"pageSize": in_words(*it), "limit": limit(it)}));
        all["hugepageLimits"] = limits.collect();
    }
    if place.unified {
        // One process without memory is no container any more: the kernel kills all of it, as the kubelet has it.
        all["unified"] = json!({"memory.oom.group": "1"});
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Resources;
    use crate::runtime::native::spec::tests::plain;

    #[test]
    fn pods_stand_where_the_kubelet_puts_them() {
        let check = |score: i32, expected: &str| assert_eq!(pod_cgroup("", "u", score), expected, "{score}");
        check(1000, "/kubepods/besteffort/podu");
        check(999, "/kubepods/burstable/podu");
        check(2, "/kubepods/burstable/podu");
        check(-997, "/kubepods/podu");
        assert_eq!(pod_cgroup("/orlop/a", "u", 2), "/orlop/a/kubepods/burstable/podu");
    }

    #[test]
    fn limits_are_in_the_kernels_units() {
        let asked = Resources {
            cpu_shares: 512,
            cpu_quota_us: Some(50_000),
            memory_limit_bytes: Some(1 << 26),
            oom_score_adj: 3,
            huge_pages: [(2 << 20, 4 << 20)].into(),
        };
        let check = |asked: &Resources, swap_limit: bool, unified: bool, expected: Value| {
            let spec = ContainerSpec { resources: asked.clone(), ..plain() };
            let it = resources(&spec, &Place { swap_limit, unified, ..Place::default() });
            assert_eq!(it, expected);
            let _: oci_spec::runtime::LinuxResources = serde_json::from_value(it).unwrap();
        };
        let devices = json!([{"allow": false, "access": "rwm"}]);
        check(&Resources::default(), true, false, json!({"devices": devices}));
        let cpu = json!({"shares": 512, "quota": 50_000, "period": 100_000});
        let both = json!({"limit": 1 << 26, "swap": 1 << 26});
        check(&asked, true, false, json!({"devices": devices, "cpu": cpu, "memory": both}));
        let unified = json!({"memory.oom.group": "1"});
        let memory = json!({"limit": 1 << 26});
        check(&asked, false, true, json!({"devices": devices, "cpu": cpu, "memory": memory, "unified": unified}));
        // Where they are counted, what was not asked for is not to be had.
        let place = Place { huge_pages: vec![2 << 20, 1 << 30], ..Place::default() };
        let it = resources(&ContainerSpec { resources: asked, ..plain() }, &place);
        let limits = json!([{"pageSize": "2MB", "limit": 4 << 20}, {"pageSize": "1GB", "limit": 0}]);
        assert_eq!(it["hugepageLimits"], limits);
        let _: oci_spec::runtime::LinuxResources = serde_json::from_value(it).unwrap();
    }
}
