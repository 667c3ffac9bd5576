//! What is asked of us: absolute limits, and multiples of what Kubernetes 1.20 on etcd 3.4 does: in the same run where it is measured beside ours
//! (`--kubernetes`), and else what it did on a quiet machine like the one these budgets were written on (two cores shared by client, server
//! and store). Pure.

use std::time::Duration;

use super::report;

/// Start to the first 200 of `/readyz` in a new data directory (reference: 3.4–4.2 s).
pub const START: Duration = Duration::from_millis(200);
/// Idle resident memory of store, API server, controllers and scheduler in one process.
pub const IDLE_BYTES: u64 = 50 << 20;
/// The same, apart or together.
pub const PLANE_BYTES: u64 = 60_000_000;
/// The same, of what etcd and Kubernetes' three have.
pub const PLANE_SHARE: f64 = 0.1;
/// Resident memory of the API server with its store after the whole load (reference: 1,660 MiB and etcd 310 MiB).
pub const LOADED_BYTES: u64 = 150 << 20;
/// Processor time of the server per create with 64 clients (reference: 650 µs).
pub const CREATE_PROCESSOR: Duration = Duration::from_micros(100);
/// Processor time of the server per get with 64 clients (reference: 410 µs).
pub const GET_PROCESSOR: Duration = Duration::from_micros(50);
/// A LIST of 5,000 pods, 15 MB (reference: 295 ms; 93 ms at resourceVersion 0).
pub const LIST: Duration = Duration::from_millis(20);
/// Processor time of a server-side apply of a 3 kB Deployment over that of a plain update.
pub const APPLY_RATIO: f64 = 2.0;
/// Processor time of creating an object of a kind with 100 fields that a definition made, over that of a ConfigMap of the same size.
pub const CUSTOM_RATIO: f64 = 2.0;
/// What 100 definitions of kinds with 100 fields may add to the server's memory.
pub const DEFINITIONS_BYTES: u64 = 20 << 20;
/// From asking for a write to its event at the watcher, 99 of 100 times.
pub const WATCH_DELAY: Duration = Duration::from_millis(50);
/// What the load generator itself may take per request.
pub const OWN_PROCESSOR: Duration = Duration::from_micros(110);
/// The agent's median from bind to running over the raw runtime's create and start.
pub const AGENT_RATIO: f64 = 2.0;
/// Pods an agent brings up per second.
pub const AGENT_RATE: f64 = 50.0;
/// Resident memory of an agent with 110 pods on `native`.
pub const AGENT_BYTES: u64 = 30 << 20;
/// Resident memory of a pod's shim.
pub const SHIM_BYTES: u64 = 3 << 20;
/// From a change of an endpoint to the data path, with 10,000 Services.
pub const ENDPOINT_CHANGE: Duration = Duration::from_millis(50);
/// Answers of the DNS per second on two cores, shared with who asks.
pub const DNS_RATE: f64 = 50_000.0;
/// The delay of an answer of the DNS, 99 of 100 times.
pub const DNS_DELAY: Duration = Duration::from_millis(2);
/// From nothing to a Service that answers by its name on three nodes (k3d: 19.9 s, kind: 33 s).
pub const CLUSTER: Duration = Duration::from_secs(3);
/// Our rate of creates and updates on etcd by [`ETCD_CLIENTS`] over etcd's own rate of the same transactions, watched, where etcd has processors of its own.
pub const ETCD_SHARE: f64 = 0.8;
/// Clients by whom that rate is judged.
pub const ETCD_CLIENTS: usize = 64;

/// What the reference did, and how many times that is asked of us.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    pub value: f64,
    pub factor: f64,
}

/// The reference's figures.
#[derive(Clone, Copy, Debug)]
pub struct References {
    /// Creates per second by 16 clients.
    pub create_16: Reference,
    /// The same by 64.
    pub create_64: Reference,
    /// Gets per second by 64 clients.
    pub get_64: Reference,
    /// Events delivered to 200 watchers per second of its processor time.
    pub fan_out: Reference,
    /// Pods that kube-scheduler bound per second on 1,000 nodes through the API.
    pub scheduler: Reference,
    /// Resident bytes of etcd, API server, controllers and scheduler when nothing happens.
    pub idle_bytes: u64,
}

impl Default for References {
    /// As they were measured once.
    fn default() -> Self {
        References {
            create_16: Reference { value: 2_400.0, factor: 3.0 },
            create_64: Reference { value: 2_540.0, factor: 3.0 },
            get_64: Reference { value: 3_880.0, factor: 3.0 },
            fan_out: Reference { value: 27_000.0, factor: 5.0 },
            scheduler: Reference { value: 393.0, factor: 5.0 },
            idle_bytes: 495 << 20,
        }
    }
}

impl References {
    /// What is asked of the rate of a verb by so many clients.
    pub fn verb(&self, verb: &str, clients: usize) -> Option<Reference> {
        match (verb, clients) {
            ("create", 16) => Some(self.create_16),
            ("create", 64) => Some(self.create_64),
            ("get", 64) => Some(self.get_64),
            _ => None,
        }
    }
}

impl Reference {
    /// `3.4× of 2,540 (≥ 3×) ✓`.
    pub fn judge(&self, value: f64) -> String {
        let ratio = value / self.value;
        let mark = mark(ratio >= self.factor);
        format!("{}× of {} (≥ {}×) {mark}", report::significant(ratio), report::rate(self.value), self.factor)
    }
}

/// Whether a budget is kept.
pub fn mark(kept: bool) -> &'static str {
    if kept { "✓" } else { "✗" }
}

/// `≤ 100 µs ✓`: the limit and whether `value` keeps it.
pub fn at_most<T: PartialOrd>(value: T, limit: T, shown: &str) -> String {
    format!("≤ {shown} {}", mark(value <= limit))
}

/// `≥ 50 ✗`.
pub fn at_least<T: PartialOrd>(value: T, limit: T, shown: &str) -> String {
    format!("≥ {shown} {}", mark(value >= limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_judged() {
        let references = References::default();
        assert_eq!(references.get_64.judge(11_640.0), "3.00× of 3,880 (≥ 3×) ✓");
        assert_eq!(references.get_64.judge(3_880.0), "1.00× of 3,880 (≥ 3×) ✗");
        assert_eq!(at_most(Duration::from_millis(20), LIST, "20 ms"), "≤ 20 ms ✓");
        assert_eq!(at_least(49.0, AGENT_RATE, "50"), "≥ 50 ✗");
        assert_eq!(references.verb("create", 1), None);
    }
}
