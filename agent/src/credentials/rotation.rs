//! The renewal of a node's two certificates, for as long as its agent runs.
//!
//! In: the files, and the clients that are in use. Out: each certificate replaced at a random point between 70 and 90 % of its life: first the file,
//! then the clients, or what the port shows. Nothing that is under way is broken off: see [`Swap`]. A renewal that fails is tried again, ever
//! later, until the certificate has run out and beyond, as an administrator may mend what stood against it. Source: the kubelet's
//! `certificate_manager`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use orlop_client::swap::Swap;
use orlop_client::{clock, connect, random};
use tokio_util::sync::CancellationToken;

use super::request::{self, SERVING_SIGNER, Wanted};
use super::{Folder, Pair};
use crate::network::ips::Ips;
use crate::server::tls::Shown;

/// How long a request may wait for its answer before another is made, as the kubelet's.
const ANSWER_WITHIN: Duration = Duration::from_secs(15 * 60);
/// The waits between attempts.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The clock of the day may jump, so that it is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is renewed.
#[derive(Clone, Debug)]
pub struct Rotation {
    folder: Folder,
    node_name: String,
    kubeconfig: PathBuf,
    clients: Vec<Swap>,
    shown: Arc<Shown>,
    /// The API server's address, if its URL has one.
    server: Option<IpAddr>,
}

impl Rotation {
    /// Renews the files of `folder`, and the identity of `clients`, which `kubeconfig` describes. Until there is a certificate to serve with, the
    /// port shows one that nobody has signed.
    ///
    /// # Errors
    /// No certificate can be made.
    pub fn new(folder: Folder, node_name: &str, kubeconfig: PathBuf, clients: Vec<Swap>) -> Result<Self, String> {
        let kept = folder.serving().filter(|it| it.is_good(clock::now()));
        let shown = match kept {
            Some(it) => Shown::new(it.certified()?),
            None => Shown::self_signed(node_name)?,
        };
        let node_name = node_name.to_owned();
        Ok(Rotation { folder, node_name, kubeconfig, clients, shown: Arc::new(shown), server: None })
    }

    /// Knows where the API server is: a node beside it does not ask to serve under the address of both.
    #[must_use]
    pub fn beside(self, server: &http::Uri) -> Self {
        let host = server.host().map(|it| it.trim_matches(['[', ']']));
        Rotation { server: host.and_then(|it| it.parse().ok()), ..self }
    }

    /// What the port shows.
    pub fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown)
    }

    /// Begins, for a node that has registered with these addresses, and goes on until `shutdown`.
    pub fn start(&self, client: &kube::Client, addresses: Ips, shutdown: &CancellationToken) {
        // Everybody has a loopback address, and a certificate for that of the API server would be good for the API server.
        let own = |it: &IpAddr| !it.is_loopback() && !it.is_unspecified() && Some(*it) != self.server;
        let addresses = addresses.iter().filter(own).collect();
        for wanted in [Wanted::client(&self.node_name), Wanted::serving(&self.node_name, addresses)] {
            let (rotation, client, shutdown) = (self.clone(), client.clone(), shutdown.clone());
            let keeping = Box::pin(rotation.keep(client, wanted));
            tokio::spawn(async move { shutdown.run_until_cancelled_owned(keeping).await });
        }
    }

    /// Keeps one certificate good.
    async fn keep(self, client: kube::Client, wanted: Wanted) {
        let mut due = self.kept(&wanted).as_ref().map(renewal);
        loop {
            if let Some(due) = due {
                wait_until(due).await;
            }
            let mut wait = FIRST_WAIT;
            let renewed = loop {
                match self.renew(&client, &wanted).await {
                    Ok(it) => break it,
                    Err(why) => {
                        tracing::warn!(
                            why,
                            signer = wanted.signer,
                            "a certificate could not be renewed; it is tried again"
                        );
                    }
                }
                tokio::time::sleep(random::jitter(wait, 0.5)).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            };
            tracing::info!(signer = wanted.signer, until = %renewed.not_after, names = ?renewed.names, "a certificate was renewed");
            due = Some(renewal(&renewed));
        }
    }

    /// The certificate that there is, if it is what is wanted.
    fn kept(&self, wanted: &Wanted) -> Option<Pair> {
        if wanted.signer == SERVING_SIGNER {
            let names = |it: &Pair| wanted.names().all(|name| it.names.contains(&name));
            return self.folder.serving().filter(|it| it.is_good(clock::now()) && names(it));
        }
        self.folder.client().unwrap_or_else(|error| {
            tracing::error!(%error, "the client certificate cannot be read; another is asked for");
            None
        })
    }

    async fn renew(&self, client: &kube::Client, wanted: &Wanted) -> Result<Pair, String> {
        let key = request::new_key()?;
        let certificate = request::certificate(client, wanted, &key, None, ANSWER_WITHIN).await;
        let pair = Pair::of(&certificate.map_err(|it| it.to_string())?, &key.serialize_pem())?;
        if wanted.signer == SERVING_SIGNER {
            self.folder.keep_serving(&pair).map_err(|it| it.to_string())?;
            self.shown.set(pair.certified()?);
            return Ok(pair);
        }
        self.folder.keep_client(&pair).map_err(|it| it.to_string())?;
        for swap in &self.clients {
            swap.set(connect::client(Some(&self.kubeconfig)).await.map_err(|it| it.to_string())?);
        }
        Ok(pair)
    }
}

/// When a certificate is renewed.
fn renewal(it: &Pair) -> Timestamp {
    const PARTS: u64 = 1 << 20;
    it.renewal(random::below(PARTS) as f64 / PARTS as f64)
}

async fn wait_until(due: Timestamp) {
    loop {
        let left = clock::until(due, clock::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}
