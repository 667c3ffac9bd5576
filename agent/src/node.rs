//! The Node object: made at the start, kept true while the agent runs, and its lease, which says that it lives.
//!
//! In: what this machine has ([`capacity`]) and what its runtime says. Out: the Node and its status, the lease in `kube-node-lease`.
//! The lease has a connection of its own, so that no load on the other one makes the node look dead. It does not know pods.

pub mod capacity;
pub mod huge_pages;
pub mod lease;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use orlop_api::ranges::Ranges;
use orlop_client::write::WRITE_TIMEOUT;
use orlop_client::{clock, random};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;
pub use capacity::Capacity;
pub use status::About;

/// How often the node looks at itself; what changed is told then.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the status is told though nothing changed.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How soon it is tried again to say that the machine goes down.
const GOING_RETRY: Duration = Duration::from_millis(500);
/// The waits between attempts to register.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(7);
/// How often the node is asked for while it has no pod CIDR.
const CIDR_LOOK: Duration = Duration::from_millis(100);
const LONGEST_CIDR_LOOK: Duration = Duration::from_secs(5);

/// Keeps one Node.
pub struct NodeKeeper {
    pub about: About,
    pub api: Api<Node>,
    pub runtime: Arc<dyn Runtime>,
}

impl NodeKeeper {
    /// Makes the Node, or brings the one that is there up to date. Tries until it succeeds; none when `shutdown` comes first.
    pub async fn register(&self, shutdown: &CancellationToken) -> Option<Node> {
        let mut wait = FIRST_WAIT;
        loop {
            match self.try_register().await {
                Ok(it) => return Some(it),
                Err(why) => {
                    tracing::warn!(node = self.about.name, why, "the node could not be registered; it is tried again")
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(random::jitter(wait, 0.5)) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn try_register(&self) -> Result<Node, String> {
        let now = clock::now();
        let status = self.status(None).await;
        let mut node = Node { metadata: self.about.metadata(), status: Some(status), ..Node::default() };
        let params = PostParams::default();
        let made = within(self.api.create(&params, &node)).await;
        match made {
            Ok(it) => return Ok(it),
            Err(Refused::Api(it)) if it.code == 409 => {}
            Err(error) => return Err(error.to_string()),
        }
        let (labels, annotations) = (node.metadata.labels.take(), node.metadata.annotations.take());
        let own = json!({ "metadata": { "labels": labels, "annotations": annotations } });
        let there = within(self.api.patch(&self.about.name, &PatchParams::default(), &Patch::Merge(&own))).await;
        let there = there.map_err(|it| it.to_string())?;
        let status = self.about.status(&there, &self.runtime, now).await;
        let patch = json!({ "status": status });
        within(self.api.patch_status(&self.about.name, &PatchParams::default(), &Patch::Merge(&patch)))
            .await
            .map_err(|it| it.to_string())
    }

    async fn status(&self, old: Option<&Node>) -> k8s_openapi::api::core::v1::NodeStatus {
        self.about.status(old.unwrap_or(&Node::default()), &self.runtime, clock::now()).await
    }

    /// Waits until the node has a range of pod addresses, or one of each family; none when `shutdown` comes first.
    pub async fn pod_cidr(&self, mut node: Node, shutdown: &CancellationToken) -> Option<Ranges> {
        let mut wait = CIDR_LOOK;
        let mut told = false;
        loop {
            let spec = node.spec.take().unwrap_or_default();
            let several = spec.pod_cidrs.filter(|it| !it.is_empty()).map(|it| it.join(","));
            let cidr = several.or(spec.pod_cidr).filter(|it| !it.is_empty());
            match cidr.as_deref().map(str::parse::<Ranges>) {
                Some(Ok(it)) => return Some(it),
                Some(Err(error)) => tracing::warn!(%error, cidr, "the node's pod CIDR cannot be read"),
                None if !std::mem::replace(&mut told, true) => {
                    tracing::info!(node = self.about.name, "waiting for the controllers to give the node a pod CIDR");
                }
                None => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(random::jitter(wait, 0.2)) => {}
            }
            wait = (wait * 2).min(LONGEST_CIDR_LOOK);
            if let Ok(it) = within(self.api.get(&self.about.name)).await {
                node = it;
            }
        }
    }

    /// Keeps the status true until `shutdown`: at once when something changed, once a minute otherwise. A Node that was deleted is made
    /// again.
    pub async fn keep(&self, shutdown: CancellationToken) {
        let mut told: Option<(Value, tokio::time::Instant)> = None;
        let mut failed = false;
        loop {
            let going = self.about.power_off.is_asked();
            let pause = if failed && going { GOING_RETRY } else { LOOK_EVERY };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(random::jitter(pause, 0.1)) => {}
                () = self.about.power_off.untold(), if !failed => {}
            }
            failed = true;
            let node = match within(self.api.get(&self.about.name)).await {
                Ok(it) => it,
                Err(Refused::Api(it)) if it.code == 404 => {
                    self.register(&shutdown).await;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, "the node could not be read");
                    continue;
                }
            };
            let going = self.about.power_off.is_asked();
            let status = self.status(Some(&node)).await;
            let said = status::without_times(&status);
            let fresh = told.as_ref().is_some_and(|(before, at)| *before == said && at.elapsed() < TELL_EVERY);
            if fresh {
                failed = false;
                continue;
            }
            let patch = json!({ "status": status });
            match within(self.api.patch_status(&self.about.name, &PatchParams::default(), &Patch::Merge(&patch))).await
            {
                Ok(_) => {
                    failed = false;
                    told = Some((said, tokio::time::Instant::now()));
                    if going {
                        self.about.power_off.tell();
                    }
                }
                Err(error) => tracing::debug!(%error, "the node's status could not be written"),
            }
        }
    }
}

/// Why a request about the node failed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{}", .0.message)]
    Api(Box<kube::core::Status>),
    #[error("{0}")]
    Other(String),
    #[error("the API server does not answer")]
    Late,
}

/// A request with its time limit.
pub async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Refused> {
    match tokio::time::timeout(WRITE_TIMEOUT, request).await {
        Ok(Ok(it)) => Ok(it),
        Ok(Err(kube::Error::Api(it))) => Err(Refused::Api(it)),
        Ok(Err(error)) => Err(Refused::Other(error.to_string())),
        Err(_) => Err(Refused::Late),
    }
}
