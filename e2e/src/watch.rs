//! A watch that stays open while a test goes on, and what it has told so far.
//!
//! Events are read beside the test, in their order; asking for one passes over those before it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::TryStreamExt as _;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::api::Api;

/// How long an event may take to come.
const EVENT_LIMIT: Duration = Duration::from_secs(20);

/// An open watch, closed with its value.
#[derive(Debug)]
pub struct Watch {
    events: Receiver<Result<(&'static str, Value)>>,
    passed: Vec<String>,
    reading: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Watch {
    /// Watches a list from what it is now, or from a version that its query names. What is changed after this call is seen.
    ///
    /// # Errors
    /// When the watch is refused.
    pub fn open(api: &Api, path: &str) -> Result<Watch> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let request = http::Request::get(format!("{path}{sign}watch=1")).body(Vec::new())?;
        let (runtime, client) = api.parts();
        let stream = runtime.block_on(client.request_events::<Value>(request)).with_context(|| path.to_owned())?;
        let (sender, events) = channel();
        let reading = runtime.spawn(async move {
            let mut stream = std::pin::pin!(stream);
            loop {
                let event = match stream.try_next().await {
                    Ok(Some(event)) => Ok(named(event)),
                    Ok(None) => return,
                    Err(error) => Err(anyhow::Error::new(error)),
                };
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Watch { events, passed: Vec::new(), reading: reading.abort_handle() })
    }

    /// The next event of this type whose object satisfies `check`: `ADDED`, `MODIFIED`, `DELETED`.
    ///
    /// # Errors
    /// When none comes in time; what came is in the error.
    pub fn sees(&mut self, kind: &str, what: &str, check: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + EVENT_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    let (found, object) = event?;
                    if found == kind && check(&object) {
                        return Ok(object);
                    }
                    self.passed.push(format!("{found} {object}"));
                }
                Err(why) => {
                    let ended = if why == RecvTimeoutError::Disconnected { "it has ended" } else { "it is too late" };
                    bail!("no {kind} {what}: {ended}; there came\n{}", self.passed.join("\n"));
                }
            }
        }
    }
}

fn named(event: WatchEvent<Value>) -> (&'static str, Value) {
    match event {
        WatchEvent::Added(it) => ("ADDED", it),
        WatchEvent::Modified(it) => ("MODIFIED", it),
        WatchEvent::Deleted(it) => ("DELETED", it),
        WatchEvent::Bookmark(_) => ("BOOKMARK", Value::Null),
        WatchEvent::Error(status) => ("ERROR", serde_json::to_value(status).unwrap_or_default()),
    }
}
