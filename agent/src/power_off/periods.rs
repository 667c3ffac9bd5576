//! How long pods may take to end when the machine goes down, by their priority: in which order they go, and in which group each is. Pure; the rules and words
//! are the kubelet's.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::machine::world::spec;
use crate::pressure::CRITICAL;
use crate::pressure::settings::duration;

/// The classes that every cluster has. A pod that lies in a file names its class, and nobody looks that up.
const CLASSES: [(&str, i32); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", CRITICAL)];

/// A group of pods and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The least of the group.
    pub priority: i32,
    pub grace: Duration,
}

/// All groups, in the order in which they end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Periods(Vec<Period>);

impl Periods {
    /// Two groups: the critical pods have `critical`, which is a part of `total`, and the others the rest. No groups where `total` is nothing.
    ///
    /// # Errors
    /// Times that do not go together.
    pub fn of(total: Duration, critical: Duration) -> Result<Self, String> {
        let second = Duration::from_secs(1);
        if critical > total {
            return Err(format!(
                "shutdownGracePeriodCriticalPods {critical:?} must be <= shutdownGracePeriod {total:?}"
            ));
        }
        for (name, it) in [("shutdownGracePeriod", total), ("shutdownGracePeriodCriticalPods", critical)] {
            if it > Duration::ZERO && it < second {
                return Err(format!("{name} {it:?} must be either zero or otherwise >= 1 sec"));
            }
        }
        if total.is_zero() {
            return Ok(Periods::default());
        }
        let regular = Period { priority: 0, grace: total - critical };
        Ok(Periods(vec![regular, Period { priority: CRITICAL, grace: critical }]))
    }

    /// The groups of a text: `0=20s,1000=10s,2000000000=5s`.
    ///
    /// # Errors
    /// What cannot be read, and a priority that is named twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all: Vec<Period> = Vec::new();
        for it in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let (priority, grace) = it.split_once('=').ok_or_else(|| format!("{it:?} is not PRIORITY=TIME"))?;
            let read = priority.trim().parse().map_err(|_| format!("{priority:?} is no priority"))?;
            if all.iter().any(|it| it.priority == read) {
                return Err(format!("the priority {read} has two times"));
            }
            let grace = duration(grace.trim()).ok_or_else(|| format!("{grace:?} is no duration"))?;
            all.push(Period { priority: read, grace });
        }
        all.sort_by_key(|it| it.priority);
        Ok(Periods(all))
    }

    /// Those of the flags: by priority, or of two groups.
    ///
    /// # Errors
    /// As [`Self::of`] and [`Self::parse`], or both were given.
    pub fn of_flags(total: Duration, critical: Duration, by_priority: &str) -> Result<Self, String> {
        let by_priority = Self::parse(by_priority).map_err(|it| format!("shutdownGracePeriodByPodPriority: {it}"))?;
        if by_priority.is_empty() {
            return Self::of(total, critical);
        }
        if !total.is_zero() || !critical.is_zero() {
            return Err(
                "Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time"
                    .to_owned(),
            );
        }
        Ok(by_priority)
    }

    /// Whether pods have no times at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The groups in their order.
    pub fn groups(&self) -> &[Period] {
        &self.0
    }

    /// What all groups may take, one after the other.
    pub fn total(&self) -> Duration {
        self.0.iter().map(|it| it.grace).sum()
    }

    /// The place of a priority's group: the last whose least it reaches, or the first.
    pub fn group_of(&self, priority: i32) -> usize {
        self.0.iter().rposition(|it| it.priority <= priority).unwrap_or(0)
    }
}

/// How important a pod is.
pub fn priority(pod: &Pod) -> i32 {
    let Some(spec) = spec(pod) else { return 0 };
    let named = |name: &str| CLASSES.iter().find(|it| it.0 == name).map(|it| it.1);
    spec.priority.or_else(|| named(spec.priority_class_name.as_deref()?)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn flags_are_read() {
        let check = |total: u64, critical: u64, text: &str, expected: Result<&[(i32, u64)], &str>| {
            let read = Periods::of_flags(Duration::from_millis(total), Duration::from_millis(critical), text);
            let read = read.map(|it| it.0.iter().map(|it| (it.priority, it.grace.as_secs())).collect::<Vec<_>>());
            match expected {
                Ok(it) => assert_eq!(read.as_deref(), Ok(it), "{total} {critical} {text:?}"),
                Err(it) => assert!(read.clone().is_err_and(|why| why.contains(it)), "{total} {critical}: {read:?}"),
            }
        };
        check(0, 0, "", Ok(&[]));
        check(30_000, 10_000, "", Ok(&[(0, 20), (CRITICAL, 10)]));
        check(30_000, 0, "", Ok(&[(0, 30), (CRITICAL, 0)]));
        check(10_000, 30_000, "", Err("shutdownGracePeriodCriticalPods 30s must be <= shutdownGracePeriod 10s"));
        check(500, 0, "", Err("must be either zero or otherwise >= 1 sec"));
        check(0, 0, "100=1m, -5=10s,2000000000=5s", Ok(&[(-5, 10), (100, 60), (CRITICAL, 5)]));
        check(30_000, 0, "0=1s", Err("Cannot specify both"));
        check(0, 0, "0=1s,0=2s", Err("the priority 0 has two times"));
        check(0, 0, "x=1s", Err("\"x\" is no priority"));
        check(0, 0, "0=soon", Err("\"soon\" is no duration"));
        check(0, 0, "7", Err("\"7\" is not PRIORITY=TIME"));
    }

    #[test]
    fn a_pod_goes_with_the_highest_group_that_it_reaches() {
        let periods = Periods::parse("100=3s,1000=2s,2000000000=1s").unwrap();
        let all = [(-7, 0), (0, 0), (100, 0), (999, 0), (1000, 1), (CRITICAL - 1, 1), (CRITICAL, 2), (i32::MAX, 2)];
        for (priority, expected) in all {
            assert_eq!(periods.group_of(priority), expected, "{priority}");
        }
        assert_eq!(periods.total(), 6 * SECOND);
    }

    #[test]
    fn a_priority_is_a_number_or_that_of_a_class() {
        let check = |spec: serde_json::Value, expected| {
            let pod: Pod = serde_json::from_value(serde_json::json!({ "spec": spec })).unwrap();
            assert_eq!(priority(&pod), expected, "{spec}");
        };
        check(serde_json::json!({"containers": []}), 0);
        check(serde_json::json!({"containers": [], "priority": 7, "priorityClassName": "system-node-critical"}), 7);
        check(serde_json::json!({"containers": [], "priorityClassName": "system-cluster-critical"}), CRITICAL);
        check(serde_json::json!({"containers": [], "priorityClassName": "system-node-critical"}), CRITICAL + 1000);
        check(serde_json::json!({"containers": [], "priorityClassName": "other"}), 0);
    }
}
