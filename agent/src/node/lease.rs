//! The node's lease in `kube-node-lease`: renewed every few seconds, it is what says that the node lives.
//!
//! In: a client of its own. Out: the Lease, and when it was last renewed, for the fence.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};
use orlop_client::{clock, random};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Refused, within};

/// The namespace of all nodes' leases.
pub const NAMESPACE: &str = "kube-node-lease";
/// Renewals in one duration: three may be lost before the node counts as dead.
const RENEWALS: u32 = 4;

/// How one node's lease is kept.
#[derive(Clone, Debug)]
pub struct NodeLease {
    pub node: String,
    pub node_uid: String,
    pub duration: Duration,
}

impl NodeLease {
    /// How often it is renewed: every 2 s for 8 s.
    pub fn every(&self) -> Duration {
        self.duration / RENEWALS
    }

    /// The Lease as it is made.
    pub fn object(&self, now: Timestamp) -> Lease {
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.node.clone(),
            uid: self.node_uid.clone(),
            ..OwnerReference::default()
        };
        Lease {
            metadata: ObjectMeta {
                name: Some(self.node.clone()),
                namespace: Some(NAMESPACE.into()),
                owner_references: Some(vec![owner]).filter(|_| !self.node_uid.is_empty()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.node.clone()),
                lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
                renew_time: Some(MicroTime(now)),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Renews it once, as a write on what `held` last was; makes it where it is missing. One request while nobody else writes it.
    ///
    /// # Errors
    /// The API server refuses or does not answer; what is held is forgotten where it may be old.
    pub async fn renew(&self, api: &Api<Lease>, held: &mut Option<Lease>) -> Result<(), Refused> {
        let params = PostParams::default();
        let mut lease = match held.take() {
            Some(it) => it,
            None => match within(api.get(&self.node)).await {
                Ok(it) => it,
                Err(Refused::Api(it)) if it.code == 404 => {
                    *held = Some(within(api.create(&params, &self.object(clock::now()))).await?);
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        lease.spec = self.object(clock::now()).spec;
        *held = Some(within(api.replace(&self.node, &params, &lease)).await?);
        Ok(())
    }

    /// Renews it until `shutdown`; each success is noted in `renewed`.
    pub async fn keep(self, client: kube::Client, renewed: watch::Sender<Instant>, shutdown: CancellationToken) {
        let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
        let (mut failed, mut held) = (false, None);
        loop {
            let began = Instant::now();
            let why = match tokio::time::timeout(self.duration, self.renew(&api, &mut held)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("it took too long".to_owned()),
            };
            match why {
                None => {
                    renewed.send_replace(began);
                    if std::mem::take(&mut failed) {
                        tracing::info!(node = self.node, "the node's lease is renewed again");
                    }
                }
                Some(why) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(node = self.node, why, "the node's lease could not be renewed");
                    }
                }
            }
            // One that failed is tried again soon: where several API servers are, the next attempt may meet another.
            let every = if failed { self.every() / 4 } else { self.every() };
            let pause = random::jitter(every, 0.05).saturating_sub(began.elapsed());
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause.max(self.every() / 10)) => {}
            }
        }
    }
}
