//! What the server counts of itself, under Kubernetes' names, in Prometheus' text form.
//!
//! Counting a request is a look into a small map by static words and two additions; what can be asked when somebody looks
//! (objects, memory) is asked then.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::core::Core;
use crate::fairness::Fairness;
use crate::request::{Request, Verb};

/// Upper bounds of the buckets of durations, in seconds: those of kube-apiserver, thinned out.
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestKind {
    request_kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stored {
    resource: String,
}

/// The server's own counts.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
    inflight: Family<RequestKind, Gauge>,
    long_running: Gauge,
    stored: Family<Stored, Gauge>,
    undecodable: Gauge,
    watch_revision: Gauge,
    memory_bytes: Gauge,
    cpu_seconds: Counter<f64, AtomicU64>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Answered, Counter>::default();
        let durations: Family<Asked, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        let inflight = Family::<RequestKind, Gauge>::default();
        let stored = Family::<Stored, Gauge>::default();
        let (long_running, undecodable, watch_revision) = (Gauge::default(), Gauge::default(), Gauge::default());
        let memory_bytes = Gauge::default();
        let cpu_seconds = Counter::<f64, AtomicU64>::default();
        // Counters get their `_total` from the encoder.
        registry.register("apiserver_request", "Requests by what was asked and how it was answered", requests.clone());
        registry.register_with_unit(
            "apiserver_request_duration",
            "How long requests took that are not long-running",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register("apiserver_current_inflight_requests", "Requests under way", inflight.clone());
        registry.register("apiserver_longrunning_requests", "Watches and other long requests", long_running.clone());
        registry.register("apiserver_storage_objects", "Stored objects by resource", stored.clone());
        registry.register(
            "orlop_undecodable_objects",
            "Stored objects that could not be read since the start",
            undecodable.clone(),
        );
        registry.register("orlop_cache_revision", "The revision the cache has reached", watch_revision.clone());
        registry.register("process_resident_memory_bytes", "Resident memory", memory_bytes.clone());
        registry.register("process_cpu_seconds", "Processor time spent", cpu_seconds.clone());
        Metrics {
            registry,
            requests,
            durations,
            inflight,
            long_running,
            stored,
            undecodable,
            watch_revision,
            memory_bytes,
            cpu_seconds,
        }
    }
}

impl Metrics {
    /// Notes that a request was answered.
    pub fn answered(&self, request: &Request, code: u16, took: Duration) {
        let (group, version, resource) =
            request.kind.map_or(("", "", ""), |it| (it.group, it.version, it.names.plural));
        // Clients choose names of subresources that do not exist; only known ones are counted apart.
        let known = request.kind.and_then(|it| crate::registry::subresource(it, &request.subresource));
        let scope = match request.verb {
            Verb::PlainGet | Verb::PlainHead | Verb::PlainPost | Verb::PlainPut | Verb::PlainOther => "",
            Verb::Get | Verb::Update | Verb::Patch | Verb::Delete => "resource",
            _ if request.namespace.is_empty() => "cluster",
            _ => "namespace",
        };
        let verb = upper(request.verb);
        let subresource = known.map_or("", orlop_api::kind::Sub::segment);
        let answered = Answered { verb, group, version, resource, subresource, scope, code };
        self.requests.get_or_create(&answered).inc();
        if !crate::fairness::is_long_running(request) {
            self.durations.get_or_create(&Asked { verb, group, resource }).observe(took.as_secs_f64());
        }
    }

    /// Everything in Prometheus' text form.
    ///
    /// # Errors
    /// When it cannot be written, which is a defect of ours.
    pub fn text(&self, core: &Core, fairness: &Fairness) -> Result<String, std::fmt::Error> {
        let (reads, writes, long) = fairness.under_way();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.inflight.get_or_create(&RequestKind { request_kind: "readOnly" }).set(gauge(reads));
        self.inflight.get_or_create(&RequestKind { request_kind: "mutating" }).set(gauge(writes));
        self.long_running.set(gauge(long));
        for table in core.cache.tables() {
            let kind = table.kind();
            let resource = orlop_api::status::qualified(kind.group, kind.names.plural);
            self.stored.get_or_create(&Stored { resource }).set(gauge(table.len()));
        }
        self.undecodable.set(core.cache.undecodable() as i64);
        self.watch_revision.set(core.cache.revision() as i64);
        if let Some(bytes) = resident_bytes() {
            self.memory_bytes.set(bytes);
        }
        if let Some(seconds) = cpu_seconds() {
            let more = seconds - self.cpu_seconds.get();
            self.cpu_seconds.inc_by(more.max(0.0));
        }
        let mut out = String::new();
        encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

const fn upper(verb: Verb) -> &'static str {
    match verb {
        Verb::Get | Verb::PlainGet => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create | Verb::PlainPost => "POST",
        Verb::Update | Verb::PlainPut => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
        Verb::PlainHead => "HEAD",
        Verb::PlainOther => "OTHER",
    }
}

/// The bytes of a page and the clock ticks of a second, as Linux has them on every machine we run on.
const PAGE_BYTES: i64 = 4096;
const TICKS_PER_SECOND: f64 = 100.0;

fn resident_bytes() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name stands in brackets and may have blanks; what follows it does not.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}
