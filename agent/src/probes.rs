//! Probes: asking running containers how they are, one task a probe.
//!
//! In: the probes that the machine wants. Out: a [`Verdict`] each time a probe's threshold is crossed, and the kubelet's `Unhealthy`
//! events. What a verdict means for the pod the machine decides.

pub mod grpc;
pub mod http;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orlop_client::{clock, random};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::host::Host;
use crate::machine::ending::find;
use crate::machine::world::host_network;
use crate::machine::{ProbeKind, ProbeWanted};
use crate::runtime::Id;

/// What is kept of a probe's output for its event.
const OUTPUT_BYTES: usize = 10 * 1024;
/// Probes of one moment are spread over this part of their period at most, so that a node's probes do not beat as one.
const JITTER: f64 = 0.05;

/// A probe's threshold was crossed.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub id: Id,
    pub kind: ProbeKind,
    pub healthy: bool,
}

/// The probes of one pod that run now.
pub struct ProbeSet {
    host: Arc<Host>,
    sender: mpsc::Sender<Verdict>,
    running: BTreeMap<ProbeWanted, DropGuard>,
}

impl ProbeSet {
    /// No probes yet; verdicts go to `sender`.
    pub fn new(host: Arc<Host>, sender: mpsc::Sender<Verdict>) -> Self {
        ProbeSet { host, sender, running: BTreeMap::new() }
    }

    /// Makes `wanted` the probes that run: ends others, starts missing ones, leaves the rest alone.
    pub fn sync(&mut self, pod: Option<&Arc<Pod>>, address: Option<IpAddr>, wanted: &[ProbeWanted]) {
        self.running.retain(|it, _| wanted.contains(it));
        let Some(pod) = pod else { return };
        for it in wanted {
            if self.running.contains_key(it) {
                continue;
            }
            let Some(task) = Task::of(&self.host, pod, address, it, &self.sender) else { continue };
            let end = CancellationToken::new();
            let until = end.clone();
            tokio::spawn(async move { until.run_until_cancelled(Box::pin(task.run())).await });
            self.running.insert(it.clone(), end.drop_guard());
        }
    }

    /// Ends all.
    pub fn clear(&mut self) {
        self.running.clear();
    }
}

/// Counts results until a threshold is crossed.
#[derive(Clone, Copy, Debug)]
struct Count {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    in_a_row: u32,
    told: Option<bool>,
}

impl Count {
    fn of(probe: &Probe) -> Self {
        let threshold = |it: Option<i32>, default: u32| {
            it.and_then(|it| u32::try_from(it).ok()).filter(|it| *it > 0).unwrap_or(default)
        };
        Count {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            last: None,
            in_a_row: 0,
            told: None,
        }
    }

    /// Notes one result; gives the verdict where it is a new one.
    fn note(&mut self, healthy: bool) -> Option<bool> {
        self.in_a_row = if self.last == Some(healthy) { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = Some(healthy);
        let threshold = if healthy { self.success_threshold } else { self.failure_threshold };
        if self.in_a_row < threshold || self.told == Some(healthy) {
            return None;
        }
        self.told = Some(healthy);
        self.told
    }
}

struct Task {
    host: Arc<Host>,
    pod: Arc<Pod>,
    container: Container,
    probe: Probe,
    address: Option<IpAddr>,
    wanted: ProbeWanted,
    sender: mpsc::Sender<Verdict>,
}

fn seconds(it: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(it.and_then(|it| u64::try_from(it).ok()).unwrap_or(default))
}

impl Task {
    fn of(
        host: &Arc<Host>,
        pod: &Arc<Pod>,
        address: Option<IpAddr>,
        wanted: &ProbeWanted,
        sender: &mpsc::Sender<Verdict>,
    ) -> Option<Self> {
        let container = find(pod, &wanted.container)?.clone();
        let probe = match wanted.kind {
            ProbeKind::Startup => container.startup_probe.clone(),
            ProbeKind::Readiness => container.readiness_probe.clone(),
            ProbeKind::Liveness => container.liveness_probe.clone(),
        }?;
        let address = if host_network(pod) { host.facts.host_ips.map(|it| it.primary()) } else { address };
        Some(Task {
            host: Arc::clone(host),
            pod: Arc::clone(pod),
            container,
            probe,
            address,
            wanted: wanted.clone(),
            sender: sender.clone(),
        })
    }

    async fn run(self) {
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        let timeout = seconds(self.probe.timeout_seconds, 1).max(Duration::from_secs(1));
        let since_start = clock::since(self.wanted.started, clock::now());
        tokio::time::sleep(seconds(self.probe.initial_delay_seconds, 0).saturating_sub(since_start)).await;
        let mut count = Count::of(&self.probe);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let result = tokio::time::timeout(timeout + Duration::from_secs(1), self.ask(timeout)).await;
            let result = result.unwrap_or_else(|_| Err(format!("probe timed out after {}s", timeout.as_secs())));
            if let Err(output) = &result {
                let message = format!("{} probe failed: {output}", self.wanted.kind.word());
                self.host.teller.warning(&self.pod, Some(&self.container.name), "Unhealthy", message);
            }
            if let Some(healthy) = count.note(result.is_ok()) {
                let verdict = Verdict { id: self.wanted.id.clone(), kind: self.wanted.kind, healthy };
                if self.sender.send(verdict).await.is_err() {
                    return;
                }
                // What comes next for the container is not this probe's to say.
                let last_word = match self.wanted.kind {
                    ProbeKind::Startup => true,
                    ProbeKind::Liveness => !healthy,
                    ProbeKind::Readiness => false,
                };
                if last_word {
                    return std::future::pending().await;
                }
            }
            tokio::time::sleep(random::jitter(period, JITTER).saturating_sub(period)).await;
        }
    }

    /// One look. The error is what the event says.
    async fn ask(&self, timeout: Duration) -> Result<(), String> {
        if let Some(it) = &self.probe.exec {
            let command = it.command.clone().unwrap_or_default();
            let done = self.host.runtime.exec(&self.wanted.id, &command, timeout, OUTPUT_BYTES).await;
            let done = done.map_err(|it| format!("command {command:?}: {it}"))?;
            let output = String::from_utf8_lossy(&done.output).trim_end().to_owned();
            return if done.exit_code == 0 { Ok(()) } else { Err(output) };
        }
        if let Some(it) = &self.probe.http_get {
            let (status, _) = http::Target::of(it, &self.container, self.address)?.get(timeout).await?;
            return if (200..400).contains(&status) {
                Ok(())
            } else {
                Err(format!("HTTP probe failed with statuscode: {status}"))
            };
        }
        if let Some(it) = &self.probe.tcp_socket {
            let host = it.host.clone().filter(|it| !it.is_empty());
            let address = resolve(host.as_deref(), self.address, port(&it.port, &self.container)?).await?;
            return connect(address, timeout).await.map(drop);
        }
        if let Some(it) = &self.probe.grpc {
            let port = u16::try_from(it.port).map_err(|_| format!("invalid port number: {}", it.port))?;
            let address = resolve(None, self.address, port).await?;
            return grpc::check(address, it.service.as_deref().unwrap_or_default(), timeout).await;
        }
        Err("missing probe handler".into())
    }
}

/// A port by its number, or by its name among the container's.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(it) => Some(*it),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|it| it.name.as_deref() == Some(name));
            named.map(|it| it.container_port).or_else(|| name.parse().ok())
        }
    };
    let number = number.ok_or_else(|| format!("couldn't find port: {port:?} in container"))?;
    u16::try_from(number).ok().filter(|it| *it > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// Where a probe goes: the pod's address, or a host that the probe names.
pub async fn resolve(host: Option<&str>, pod: Option<IpAddr>, port: u16) -> Result<SocketAddr, String> {
    let Some(host) = host else {
        return pod.map(|it| SocketAddr::new(it, port)).ok_or_else(|| "the pod has no address yet".to_owned());
    };
    let mut found =
        tokio::net::lookup_host((host, port)).await.map_err(|it| format!("dial tcp: lookup {host}: {it}"))?;
    found.next().ok_or_else(|| format!("dial tcp: lookup {host}: no such host"))
}

/// A TCP connection, with Go's words where there is none.
pub async fn connect(address: SocketAddr, timeout: Duration) -> Result<TcpStream, String> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(it)) => Ok(it),
        Ok(Err(error)) => {
            let why = match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
                std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
                _ => error.to_string(),
            };
            Err(format!("dial tcp {address}: connect: {why}"))
        }
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_come_at_thresholds_and_once() {
        let probe = Probe { failure_threshold: Some(2), success_threshold: Some(2), ..Probe::default() };
        let mut count = Count::of(&probe);
        let told: Vec<_> =
            [true, true, true, false, true, false, false, false, true, true].map(|it| count.note(it)).into();
        let expected = [None, Some(true), None, None, None, None, Some(false), None, None, Some(true)];
        assert_eq!(told, expected);
    }

    #[test]
    fn ports_are_found_by_name() {
        let container: Container =
            serde_json::from_value(serde_json::json!({"name": "c", "ports": [{"name": "web", "containerPort": 80}]}))
                .unwrap();
        assert_eq!(port(&IntOrString::String("web".into()), &container), Ok(80));
        assert_eq!(port(&IntOrString::Int(81), &container), Ok(81));
        assert!(port(&IntOrString::String("db".into()), &container).is_err());
    }

    #[tokio::test]
    async fn a_closed_port_is_told_in_gos_words() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(connect(address, Duration::from_secs(1)).await.is_ok());
        drop(listener);
        let told = connect(address, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(told, format!("dial tcp {address}: connect: connection refused"));
    }
}
