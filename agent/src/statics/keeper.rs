//! Keeps the pods of the API that stand for this node's static ones: does what `mirror` plans, and again when that fails.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use orlop_client::{Store, random};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::mirror::{self, Step};
use crate::node::{Refused, within};

/// The waits after a failure: doubling from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long what was done may take to come back by watch before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The keeper of one node's mirrors.
pub struct Keeper {
    pub node: String,
    pub client: kube::Client,
    /// This node's pods in the API.
    pub pods: Store<Pod>,
    /// The static pods that live here, once that is known.
    pub lives: watch::Receiver<Option<Vec<Arc<Pod>>>>,
}

impl Keeper {
    /// Works until `shutdown`, which leaves the mirrors as they are.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = self.work();
        let _ = shutdown.run_until_cancelled(work).await;
    }

    async fn work(&mut self) {
        self.pods.synced().await;
        let (_, mut changes) = self.pods.subscribe();
        let (mut wait, mut ended) = (FIRST_WAIT, false);
        loop {
            while changes.try_next().is_some() {}
            let own = self.lives.borrow_and_update().clone();
            let steps = own.map(|own| mirror::plan(&own, &self.pods.list())).unwrap_or_default();
            let mut failed = false;
            for step in &steps {
                if let Err(error) = self.act(step).await {
                    tracing::debug!(%error, ?step, "a static pod's mirror could not be kept; it is tried again");
                    failed = true;
                }
            }
            let pause = match (steps.is_empty(), failed) {
                (true, _) => None,
                (false, true) => Some(random::jitter(wait, 0.5)),
                (false, false) => Some(LOOK_AGAIN),
            };
            wait = if failed { (wait * 2).min(LONGEST_WAIT) } else { FIRST_WAIT };
            let again = async {
                match pause {
                    Some(it) => tokio::time::sleep(it).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // On a node without static pods nobody tells of any.
                changed = self.lives.changed(), if !ended => ended = changed.is_err(),
                // What others do is no reason to try at once what has just failed.
                _ = changes.next(), if !failed => {}
                () = again => {}
            }
        }
    }

    async fn act(&self, step: &Step) -> Result<(), Refused> {
        let api = |pod: &Pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            Api::<Pod>::namespaced(self.client.clone(), namespace)
        };
        match step {
            Step::Make(pod) => {
                let node = within(Api::<Node>::all(self.client.clone()).get_metadata(&self.node)).await?;
                let made = mirror::of(pod, &self.node, node.metadata.uid.as_deref().unwrap_or_default());
                within(api(pod).create(&PostParams::default(), &made)).await.map(drop)
            }
            Step::Remove(pod) => {
                let uid = pod.metadata.uid.clone();
                let only_this = Preconditions { uid, resource_version: None };
                let params = DeleteParams {
                    grace_period_seconds: Some(0),
                    preconditions: Some(only_this),
                    ..DeleteParams::default()
                };
                match within(api(pod).delete(pod.metadata.name.as_deref().unwrap_or_default(), &params)).await {
                    // Gone already, or another has its name.
                    Err(Refused::Api(it)) if it.code == 404 || it.code == 409 => Ok(()),
                    other => other.map(drop),
                }
            }
        }
    }
}
