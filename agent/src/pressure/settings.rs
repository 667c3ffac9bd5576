//! What a user decides about pressure: thresholds, what is kept back for the system, and what pods may have of the rest. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use orlop_api::quantity::Quantity;

use super::signals::{Signal, Threshold, parse, signal};
use crate::admission::Allocatable;
use crate::node::Capacity;

/// The kubelet's thresholds on Linux.
pub const HARD: &str =
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%";
/// Those of a local cluster's nodes. Its machine is there for other things, too, and how full their disk is says nothing of the pods: kind asks nothing of the
/// disk, either.
pub const HARD_OF_LOCAL: &str = "memory.available<100Mi";
/// How long a condition stays when nothing is short any more.
pub const TRANSITION_PERIOD: Duration = Duration::from_secs(300);

/// The settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    pub hard: Vec<Threshold>,
    pub soft: Vec<Threshold>,
    /// How much more than a threshold has to be there until it is no longer met.
    pub minimum_reclaim: Vec<Threshold>,
    pub transition_period: Duration,
    /// The longest that a pod may take to end that goes for a soft threshold.
    pub max_pod_grace: Duration,
    /// Kept back for the system and for Kubernetes' own parts, by resource: `cpu`, `memory`, `ephemeral-storage`.
    pub reserved: BTreeMap<String, Quantity>,
}

impl Default for Eviction {
    fn default() -> Self {
        Eviction {
            hard: parse(HARD).expect("the defaults can be read"),
            soft: Vec::new(),
            minimum_reclaim: Vec::new(),
            transition_period: TRANSITION_PERIOD,
            max_pod_grace: Duration::ZERO,
            reserved: BTreeMap::new(),
        }
    }
}

impl Eviction {
    /// For nodes of a local cluster ([`HARD_OF_LOCAL`]).
    pub fn of_local() -> Self {
        Eviction { hard: parse(HARD_OF_LOCAL).expect("the defaults can be read"), ..Eviction::default() }
    }

    /// All thresholds, the hard ones first.
    pub fn thresholds(&self) -> impl Iterator<Item = &Threshold> {
        self.hard.iter().chain(&self.soft)
    }

    /// How much more has to be there.
    pub fn reclaim(&self, signal: Signal, capacity: i64) -> i64 {
        self.minimum_reclaim.iter().find(|it| it.signal == signal).map_or(0, |it| it.least.of(capacity))
    }

    /// What pods may have: what there is, without what is kept back and what the hard thresholds want free.
    pub fn allocatable(&self, capacity: &Capacity) -> Allocatable {
        let hard = |signal, of: i64| self.hard.iter().find(|it| it.signal == signal).map_or(0, |it| it.least.of(of));
        let kept = |resource: &str| self.reserved.get(resource);
        let bytes = |resource: &str| kept(resource).map_or(0, Quantity::value_ceil);
        let left = |all: i64, reserved: i64, free: i64| all.saturating_sub(reserved).saturating_sub(free).max(0);
        Allocatable {
            cpu_milli: left(capacity.cpu.saturating_mul(1000), kept("cpu").map_or(0, Quantity::milli_value_ceil), 0),
            // What is set aside in huge pages is no memory for anything else.
            memory_bytes: left(
                capacity.memory_bytes.saturating_sub(capacity.huge_pages.values().sum()),
                bytes("memory"),
                hard(Signal::MemoryAvailable, capacity.memory_bytes),
            ),
            disk_bytes: left(
                capacity.disk_bytes,
                bytes("ephemeral-storage"),
                hard(Signal::NodefsAvailable, capacity.disk_bytes),
            ),
            pods: capacity.pods,
            huge_pages: capacity.huge_pages.clone(),
        }
    }
}

/// Reads `memory.available=1m30s`: how long each soft threshold has to be met.
///
/// # Errors
/// The kubelet's message: a signal that is none, a time that is none, or a soft threshold without one.
pub fn with_graces(soft: Vec<Threshold>, graces: &str) -> Result<Vec<Threshold>, String> {
    let mut times = BTreeMap::new();
    for (name, text) in pairs(graces)? {
        let time = duration(text).filter(|it| !it.is_zero());
        let time =
            time.ok_or_else(|| format!("invalid eviction grace period specified: {text}, must be a positive value"))?;
        times.insert(signal(name)?, time);
    }
    soft.into_iter()
        .map(|it| match times.get(&it.signal) {
            Some(grace) => Ok(Threshold { grace: Some(*grace), ..it }),
            None => Err(format!("grace period must be specified for the soft eviction threshold {}", it.signal)),
        })
        .collect()
}

/// Reads `cpu=200m,memory=1Gi`, and adds it to what is kept back already.
///
/// # Errors
/// A resource that cannot be kept back, or an amount that is none.
pub fn reserve(reserved: &mut BTreeMap<String, Quantity>, text: &str) -> Result<(), String> {
    for (resource, amount) in pairs(text)? {
        if !["cpu", "memory", "ephemeral-storage"].contains(&resource) {
            return Err(format!("cannot reserve {resource:?} resource"));
        }
        let amount = Quantity::parse(amount)
            .map_err(|it| format!("failed to parse quantity {amount:?} for {resource:?} resource: {it}"))?;
        if amount.is_negative() {
            return Err(format!("resource quantity for {resource:?} cannot be negative"));
        }
        let sum = reserved.remove(resource).map_or(amount, |it| it + amount);
        reserved.insert(resource.to_owned(), sum);
    }
    Ok(())
}

fn pairs(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let parts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    parts.map(|it| it.split_once('=').ok_or_else(|| format!("malformed pair, expect string=string: {it}"))).collect()
}

/// A duration as Go writes it: `1h30m`, `90s`, `500ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if text == "0" {
        return Some(total);
    }
    while !rest.is_empty() {
        let number_end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|it: char| it.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocatable_is_what_nothing_else_wants() {
        let mut reserved = BTreeMap::new();
        reserve(&mut reserved, "cpu=200m,memory=1Gi").unwrap();
        reserve(&mut reserved, "cpu=300m,ephemeral-storage=1Gi").unwrap();
        let settings = Eviction { reserved, ..Eviction::default() };
        let huge_pages = BTreeMap::from([(2 << 20, 512 << 20)]);
        let capacity = Capacity {
            cpu: 2,
            memory_bytes: 4 << 30,
            disk_bytes: 100 << 30,
            pods: 110,
            huge_pages: huge_pages.clone(),
        };
        let expected = Allocatable {
            cpu_milli: 1500,
            memory_bytes: (3 << 30) - (512 << 20) - (100 << 20),
            disk_bytes: (100 << 30) - (1 << 30) - (10 << 30),
            pods: 110,
            huge_pages,
        };
        assert_eq!(settings.allocatable(&capacity), expected);
        let tiny = Capacity { memory_bytes: 1, disk_bytes: 1, pods: 1, ..Capacity::default() };
        assert_eq!(settings.allocatable(&tiny), Allocatable { pods: 1, ..Allocatable::default() });
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut reserved = BTreeMap::new();
        for bad in ["pods=1", "cpu", "cpu=x", "memory=-1"] {
            assert!(reserve(&mut reserved, bad).is_err(), "{bad}");
        }
        let soft = || parse("memory.available<1Gi").unwrap();
        assert_eq!(with_graces(soft(), "memory.available=1m30s").unwrap()[0].grace, Some(Duration::from_secs(90)));
        for bad in ["", "memory.available=0s", "memory.available=x", "cpu=1s"] {
            assert!(with_graces(soft(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let check =
            |text, expected: Option<u64>| assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        check("1h1m", Some(3_660_000));
        check("1.5s", Some(1500));
        check("20ms", Some(20));
        check("0", Some(0));
        check("", None);
        check("5", None);
        check("5x", None);
    }
}
