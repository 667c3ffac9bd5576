//! Ends a node's pods when its machine goes down: thin, who goes when is [`super::periods`]'.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use orlop_client::events::Severity;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::periods::{Period, priority};
use super::{Ended, Outcome, TERMINATED, TERMINATED_MESSAGE};
use crate::agent::Bells;
use crate::host::Host;
use crate::machine::Evicted;
use crate::machine::world::spec;
use crate::sync::Bell;

/// How long the Node may take to say that it goes down. Who puts pods on it has to know before they end, or it is given their successors.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How long a group is waited for beyond its time: what has to be killed then has yet to be seen dead.
const KILLED_WITHIN: Duration = Duration::from_millis(500);
/// How long the last statuses may take to be written.
const REPORTED_WITHIN: Duration = Duration::from_secs(3);

/// Ends one node's pods.
pub struct Keeper {
    pub host: Arc<Host>,
    pub bells: Bells,
}

impl Keeper {
    /// Waits until the machine goes down, and ends the pods then; or until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let off = &self.host.power_off;
        if off.periods().is_empty() {
            return;
        }
        let Some(since) = shutdown.run_until_cancelled(off.asked()).await else { return };
        if let Some(outcome) = shutdown.run_until_cancelled(self.end_all(since)).await {
            let ended = outcome.pods.iter().filter(|it| it.took_ms.is_some()).count();
            tracing::warn!(ended, of = outcome.pods.len(), took_ms = outcome.took_ms, "the node's pods were ended");
            off.finish(outcome);
        }
    }

    async fn end_all(&self, since: Instant) -> Outcome {
        let off = &self.host.power_off;
        off.begin();
        tracing::warn!(within = ?off.periods().total(), "the machine goes down: the node's pods are ended");
        self.host.tell_of_node(Severity::Normal, "NodeShutdown", "Shutdown manager detected shutdown event");
        let ready = async { tokio::join!(off.told(), self.host.pods.synced()) };
        if timeout(TOLD_WITHIN, ready).await.is_err() {
            tracing::warn!("the API server could not be told in time that the machine goes down");
        }
        let (mut pods, mut due, mut told) = (Vec::new(), since, Vec::new());
        for (place, period) in off.periods().groups().iter().enumerate() {
            due += period.grace;
            let group = self.group(place);
            if group.is_empty() {
                continue;
            }
            // Whatever those before it took: all groups together end in time.
            let until = due.min(Instant::now() + period.grace);
            pods.extend(join_all(group.iter().map(|(pod, bell)| end(pod, bell, period, until))).await);
            told.extend(group.into_iter().map(|it| it.1));
        }
        let reported = join_all(told.iter().map(|it| it.sees(|it| it.reported)));
        if timeout(REPORTED_WITHIN, reported).await.is_err() {
            tracing::warn!("the API server could not be told of every pod's end");
        }
        let took_ms = millis(since);
        Outcome { node: self.host.node_name.clone(), pods, took_ms }
    }

    /// The pods of a group that run or have yet to.
    fn group(&self, place: usize) -> Vec<(Arc<Pod>, Arc<Bell>)> {
        let over = |it: &Pod| {
            let phase = it.status.as_ref().and_then(|it| it.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let bells: Vec<_> = self.bells.lock().values().cloned().collect();
        let pods = bells.into_iter().filter_map(|it| it.pod().map(|pod| (pod, it)));
        let of_it = |pod: &Pod| self.host.power_off.periods().group_of(priority(pod)) == place;
        pods.filter(|(pod, _)| !over(pod) && of_it(pod)).collect()
    }
}

/// Ends a pod, and waits for that not much longer than `until`.
async fn end(pod: &Pod, bell: &Bell, period: &Period, until: Instant) -> Ended {
    let (began, text) = (Instant::now(), |it: &Option<String>| it.clone().unwrap_or_default());
    let own = spec(pod).and_then(|it| it.termination_grace_period_seconds);
    let own = own.map_or(period.grace, |it| Duration::from_secs(it.max(0).unsigned_abs()));
    let grace = own.min(until.saturating_duration_since(began));
    let message = TERMINATED_MESSAGE.to_owned();
    bell.evict(Evicted { reason: TERMINATED, message, grace, disrupts: true });
    let ended = timeout_at(until + KILLED_WITHIN, bell.sees(|it| it.ended)).await.is_ok();
    let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
    if !ended {
        tracing::warn!(namespace, name, "a pod has not ended in time");
    }
    Ended { namespace, name, priority: priority(pod), took_ms: ended.then(|| millis(began)) }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
