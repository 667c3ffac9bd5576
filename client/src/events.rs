//! Events: what a component tells users about an object, as `kubectl describe` and `kubectl get events` show it.
//!
//! In: [`Recorder::publish`], from anywhere; it never waits. Out: `v1` Events, written by one task. Like events are
//! counted up in one object, floods of similar ones are combined, and each object gets only so many: [`Correlator`]
//! decides that, with client-go's numbers. What does not fit the queue is dropped and counted: an event is a courtesy,
//! and may not slow down what it reports on.

mod correlator;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::correlator::{Correlator, Verdict};
use crate::key::Key;
use crate::write::{Action, Refused, Resource};
use crate::{clock, random};

/// Events that may wait to be written: about 500 bytes each, half a megabyte.
const QUEUE: usize = 1000;
/// Attempts to write one event, as in client-go.
const ATTEMPTS: u32 = 4;
/// Between two attempts, up to twice that.
const RETRY: Duration = Duration::from_millis(500);
/// How long the events that wait may hold up a shutdown.
const FLUSH: Duration = Duration::from_millis(500);
/// The longest message the API takes (core validation).
const MESSAGE_BYTES: usize = 1024;

const EVENTS: Resource = Resource { group: "", version: "v1", kind: "Event", plural: "events", namespaced: true };

/// Whether an event is news or trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Someone should look.
    Warning,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The object it is about.
    pub regarding: ObjectReference,
    /// Whether it is news or trouble.
    pub severity: Severity,
    /// One word in upper camel case, for instance `SuccessfulCreate`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Takes events and has them written; clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Note>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// Starts the task that writes events of `component` (for instance `deployment-controller`) on `host` (a node's
    /// name, or empty) through `client` until `shutdown`.
    pub fn start(client: kube::Client, component: &str, host: &str, shutdown: CancellationToken) -> Recorder {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            client,
            component: component.to_owned(),
            host: host.to_owned(),
            correlator: Correlator::default(),
            dropped: dropped.clone(),
        };
        tokio::spawn(writer.run(receiver, shutdown));
        Recorder { sender, dropped }
    }

    /// A recorder whose notes are taken from the other end, for tests and for components that write them otherwise.
    pub fn channel() -> (Recorder, mpsc::Receiver<Note>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Recorder { sender, dropped: Arc::default() }, receiver)
    }

    /// Tells `note`, if there is room. Never waits.
    pub fn publish(&self, note: Note) {
        if self.sender.try_send(note).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Tells something about `regarding`. Never waits.
    pub fn note(&self, regarding: ObjectReference, severity: Severity, reason: &str, message: impl Into<String>) {
        self.publish(Note { regarding, severity, reason: reason.to_owned(), message: message.into() });
    }

    /// How many events were not written: no room, too many of one object, or refused.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

struct Writer {
    client: kube::Client,
    component: String,
    host: String,
    correlator: Correlator,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Note>, shutdown: CancellationToken) {
        while let Some(Some(note)) = shutdown.run_until_cancelled(receiver.recv()).await {
            // A write that is under way at shutdown gets the time of the flush, no more.
            let grace = async {
                shutdown.cancelled().await;
                tokio::time::sleep(FLUSH).await;
            };
            tokio::select! { () = self.write(note) => {}, () = grace => return }
        }
        let _ = tokio::time::timeout(FLUSH, async {
            while let Ok(note) = receiver.try_recv() {
                self.write(note).await;
            }
        })
        .await;
    }

    async fn write(&mut self, note: Note) {
        let now = clock::now();
        let namespace = namespace_of(&note.regarding).to_owned();
        let (slot, action) = match self.correlator.admit(&note, now) {
            Verdict::Drop => {
                self.dropped.fetch_add(1, Relaxed);
                return;
            }
            Verdict::Create { slot, message } => {
                let name = event_name(note.regarding.name.as_deref().unwrap_or_default(), now);
                (slot, self.create(&note, &namespace, &name, &message, (1, now), now))
            }
            Verdict::Count { slot, name, message, count, .. } => {
                let patch = json!({ "count": count, "lastTimestamp": seconds(now), "message": message });
                let key = Key::new(&namespace, &name);
                let (resource, uid) = (EVENTS, String::new());
                (slot, Action::Patch { resource, key, sub: None, uid, revision: None, patch })
            }
        };
        if let Some(name) = self.send(&note, &namespace, action, now).await {
            self.correlator.written(slot, name);
        } else {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Tries a few times; gives the event's name.
    async fn send(&self, note: &Note, namespace: &str, mut action: Action, now: Timestamp) -> Option<String> {
        for _ in 0..ATTEMPTS {
            match action.apply(&self.client).await {
                Ok(done) => return Some(done.name),
                // The event to count up has expired: begin a new one.
                Err(Refused::NotFound(_)) if matches!(action, Action::Patch { .. }) => {
                    let Action::Patch { patch, .. } = &action else { return None };
                    let count = patch["count"].as_u64().unwrap_or(1);
                    let name = event_name(note.regarding.name.as_deref().unwrap_or_default(), now);
                    action = self.create(note, namespace, &name, &note.message, (count, now), now);
                }
                Err(Refused::Later(error)) => {
                    tracing::debug!(error, "an event was not taken yet");
                    tokio::time::sleep(random::jitter(RETRY, 1.0)).await;
                }
                Err(error) => {
                    tracing::debug!(%error, reason = note.reason, "an event was refused");
                    return None;
                }
            }
        }
        None
    }

    fn create(
        &self,
        note: &Note,
        namespace: &str,
        name: &str,
        message: &str,
        (count, first): (u64, Timestamp),
        now: Timestamp,
    ) -> Action {
        let mut source = json!({ "component": self.component });
        if !self.host.is_empty() {
            source["host"] = self.host.as_str().into();
        }
        let body: Value = json!({
            "metadata": { "name": name, "namespace": namespace },
            "involvedObject": note.regarding,
            "reason": note.reason,
            "message": shortened(message),
            "source": source,
            "firstTimestamp": seconds(first),
            "lastTimestamp": seconds(now),
            "count": count,
            "type": note.severity.text(),
            "reportingComponent": self.component,
            "reportingInstance": self.host,
        });
        Action::Create { resource: EVENTS, namespace: namespace.to_owned(), body }
    }
}

/// Events about objects of the cluster are kept in `default`, as in Kubernetes.
fn namespace_of(regarding: &ObjectReference) -> &str {
    regarding.namespace.as_deref().filter(|it| !it.is_empty()).unwrap_or("default")
}

/// The object's name and the time in nanoseconds in hexadecimal, as client-go names events.
fn event_name(object: &str, now: Timestamp) -> String {
    format!("{object}.{:x}{}", now.as_nanosecond(), &random::suffix()[..2])
}

/// Kubernetes' times have no fractions.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let text = "ä".repeat(600);
        assert_eq!(shortened(&text).len(), MESSAGE_BYTES);
        assert_eq!(shortened(&format!("a{text}")).len(), MESSAGE_BYTES - 1);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (recorder, _receiver) = Recorder::channel();
        for _ in 0..QUEUE + 3 {
            recorder.note(ObjectReference::default(), Severity::Normal, "Test", "text");
        }
        assert_eq!(recorder.dropped(), 3);
    }

    #[test]
    fn times_have_no_fractions() {
        let time = Timestamp::from_millisecond(1_500_000_000_123).unwrap();
        assert_eq!(seconds(time), "2017-07-14T02:40:00Z");
    }
}
