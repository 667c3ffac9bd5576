//! Joining a cluster: a machine with nothing but a token and the digest of the CA's key becomes a node with a certificate of its own.
//!
//! ```text
//! pin the CA → ask with the token whether the name is free → make a key → ask for a certificate → wait → files → run the agent
//! ```
//!
//! In: what `orlop token create --print-join-command` prints. Out: the files of [`crate::credentials`], and an agent that runs with them. A machine that
//! has joined already runs at once, whatever the token has become; only where the API server refuses its certificate, or another CA is
//! asked for, does it join anew. What may pass (a server that is away) is tried again until the time is over; what will not is told at
//! once. Source: `kubeadm join` and the kubelet's TLS bootstrap.

pub mod pin;
mod server;

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use orlop_client::{clock, connect, random};
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Args as AgentArgs, Config};
use crate::credentials::folder::FolderError;
use crate::credentials::request::{self, RequestError, Wanted};
use crate::credentials::{Folder, Pair};
use crate::node::{Refused, within};
use crate::run::{AgentError, run_apart};
use pin::{Pin, PinError};
use server::Server;

/// The waits between attempts.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Where to get another token.
const ANOTHER: &str = "make another with `orlop token create --print-join-command`";

/// The arguments of `orlop node join`.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "join")]
pub struct Args {
    /// The API server: ADDRESS:PORT, or its URL.
    pub server: Server,
    /// A bootstrap token; needed until the machine has joined.
    #[arg(long, value_name = "ID.SECRET", env = "ORLOP_JOIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The digest of the key of the cluster's CA; may be given several times, of which one has to fit. Needed with --token.
    #[arg(long, value_name = "sha256:HEX")]
    pub ca_hash: Vec<Pin>,
    /// How long to try to join, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub join_timeout: u64,
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Why a machine did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Agent(Box<AgentError>),
    #[error("a node's credentials: {0}")]
    Folder(#[from] FolderError),
    #[error(
        "this machine has not joined yet: give --token and --ca-hash, as `orlop token create --print-join-command` prints them"
    )]
    Uninvited,
    #[error(
        "--token needs --ca-hash, by which the cluster is recognized: `orlop token create --print-join-command` prints both"
    )]
    Unpinned,
    #[error(
        "{folder} holds the credentials of {holds:?}, not of node {node:?}: give --node-name, or another --data-dir"
    )]
    Another { folder: String, holds: String, node: String },
    #[error("the node's certificate has run out: {ANOTHER}")]
    Expired,
    #[error("{0}")]
    Pin(#[source] PinError),
    #[error("the API server does not take the token: it is wrong, has expired, or was deleted; {ANOTHER}")]
    Token,
    #[error(
        "a Node with name {0:?} and status \"Ready\" already exists in the cluster. You must delete the existing Node or \
         change the name of this new joining Node"
    )]
    Exists(String),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("what the API server sent is no certificate for our key: {0}")]
    Certificate(String),
    #[error("the API server could not be asked within {seconds} s: {why}")]
    Away { seconds: u64, why: String },
    #[error("stopped before the machine had joined")]
    Stopped,
}

impl From<AgentError> for JoinError {
    fn from(it: AgentError) -> Self {
        JoinError::Agent(Box::new(it))
    }
}

/// An attempt that failed.
enum Trouble {
    /// It may pass.
    Passing(String),
    Lasting(JoinError),
}

impl<E: Into<JoinError>> From<E> for Trouble {
    fn from(it: E) -> Self {
        Trouble::Lasting(it.into())
    }
}

/// Joins, if that is still to be done, and runs the agent until `shutdown`.
///
/// # Errors
/// [`JoinError`].
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), JoinError> {
    let config = Config::try_from(args.agent.clone()).map_err(AgentError::Args)?;
    let folder = Folder::of(&config.data_dir);
    if !has_joined(&args, &config.node_name, &folder).await? {
        let joined = shutdown.run_until_cancelled(join(&args, &config.node_name, &folder)).await;
        joined.unwrap_or(Err(JoinError::Stopped))?;
    }
    let agent = AgentArgs { node_name: Some(config.node_name), rotate_certificates: true, ..args.agent };
    Ok(run_apart(agent, Some(&folder.kubeconfig()), shutdown).await?)
}

/// Whether the files do.
async fn has_joined(args: &Args, node: &str, folder: &Folder) -> Result<bool, JoinError> {
    let invited = args.token.is_some();
    let pair = match folder.client() {
        Ok(Some(it)) if folder.kubeconfig().exists() => it,
        // Half of it is nothing, and what is broken is replaced.
        Ok(_) => return Ok(false),
        Err(error) if invited => {
            tracing::warn!(%error, "the credentials cannot be used; the machine joins anew");
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    if pair.user != format!("system:node:{node}") {
        let folder = folder.kubeconfig().parent().unwrap_or(std::path::Path::new("")).display().to_string();
        return Err(JoinError::Another { folder, holds: pair.user, node: node.to_owned() });
    }
    if !pair.is_good(clock::now()) {
        return if invited { Ok(false) } else { Err(JoinError::Expired) };
    }
    if !invited {
        return Ok(true);
    }
    let ours = folder.ca_pem()?.and_then(|it| pin_of_pem(&it));
    if !args.ca_hash.is_empty() && ours.is_none_or(|it| !args.ca_hash.contains(&it)) {
        tracing::info!("the credentials are another cluster's; the machine joins anew");
        return Ok(false);
    }
    // Only the server's own word sends us back to the token: one that is away will take the files when it comes.
    let client = connect::client(Some(&folder.kubeconfig())).await.map_err(AgentError::from)?;
    let known = within(Api::<Node>::all(client).get_opt(node)).await;
    let refused = matches!(&known, Err(Refused::Api(it)) if it.code == 401);
    if refused {
        tracing::info!("the API server refuses the node's certificate; the machine joins anew");
    }
    Ok(!refused)
}

fn pin_of_pem(pem: &str) -> Option<Pin> {
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
    Pin::of_certificate(&CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
}

async fn join(args: &Args, node: &str, folder: &Folder) -> Result<(), JoinError> {
    let token = args.token.as_deref().ok_or(JoinError::Uninvited)?;
    if args.ca_hash.is_empty() {
        return Err(JoinError::Unpinned);
    }
    let within = Duration::from_secs(args.join_timeout.max(1));
    let deadline = Instant::now() + within;
    let ca = persistently(within, deadline, async || {
        pin::authority(&args.server.host, args.server.port, &args.ca_hash).await.map_err(|error| match error {
            PinError::Away(why) => Trouble::Passing(why),
            lasting => Trouble::Lasting(JoinError::Pin(lasting)),
        })
    })
    .await?;
    let client = client(&args.server, &ca, token)?;
    persistently(within, deadline, async || name_is_free(&client, node).await).await?;
    let key = folder.pending_key()?;
    tracing::info!(node, server = %args.server, "asking for the node's certificate");
    let certificate = persistently(within, deadline, async || {
        let left = deadline.saturating_duration_since(Instant::now());
        let name = request::name_of(&key);
        match request::certificate(&client, &Wanted::client(node), &key, Some(&name), left).await {
            Ok(it) => Ok(it),
            Err(RequestError::Unauthorized) => Err(JoinError::Token.into()),
            Err(error) if error.may_pass() => Err(Trouble::Passing(error.to_string())),
            Err(error) => {
                // One that was not answered in time may still be; after a refusal the next attempt is another request.
                if !matches!(error, RequestError::Late { .. }) {
                    folder.forget_pending()?;
                }
                Err(error.into())
            }
        }
    })
    .await?;
    let pair = Pair::of(&certificate, &key.serialize_pem()).map_err(JoinError::Certificate)?;
    let ca = String::from_utf8_lossy(&crate::config::pem(&[ca.to_vec()])).into_owned();
    folder.keep_joined(&args.server.to_string(), &ca, &pair)?;
    tracing::info!(node, until = %pair.not_after, "the machine has joined");
    Ok(())
}

/// A client with the token, that trusts nobody but the CA.
fn client(server: &Server, ca: &[u8], token: &str) -> Result<kube::Client, JoinError> {
    let url: http::Uri = server
        .to_string()
        .parse()
        .map_err(|it: http::uri::InvalidUri| JoinError::Away { seconds: 0, why: it.to_string() })?;
    let mut config = kube::Config::new(url.clone());
    config.root_cert = Some(vec![ca.to_vec()]);
    config.auth_info.token = Some(SecretString::from(token));
    config.connect_timeout = Some(connect::CONNECT_TIMEOUT);
    config.read_timeout = Some(connect::READ_TIMEOUT);
    config.write_timeout = Some(connect::WRITE_TIMEOUT);
    let client = kube::Client::try_from(config);
    client.map_err(|source| AgentError::from(connect::Error::Client { url, source }).into())
}

/// As kubeadm: a node that is alive keeps its name; one that is not may be this machine before it lost its data.
async fn name_is_free(client: &kube::Client, node: &str) -> Result<(), Trouble> {
    match within(Api::<Node>::all(client.clone()).get_opt(node)).await {
        Ok(Some(it)) if is_ready(&it) => Err(JoinError::Exists(node.to_owned()).into()),
        Ok(_) => Ok(()),
        Err(Refused::Api(status)) if status.code == 401 => Err(JoinError::Token.into()),
        // Who may not look is not kept from joining: the approver and the signer judge.
        Err(Refused::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(Trouble::Passing(error.to_string())),
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|it| it.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// Tries until it works, will never work, or the time is over.
async fn persistently<T>(
    within: Duration,
    deadline: Instant,
    attempt: impl AsyncFn() -> Result<T, Trouble>,
) -> Result<T, JoinError> {
    let mut wait = FIRST_WAIT;
    loop {
        let why = match attempt().await {
            Ok(it) => return Ok(it),
            Err(Trouble::Lasting(error)) => return Err(error),
            Err(Trouble::Passing(why)) => why,
        };
        let pause = random::jitter(wait, 0.5);
        if Instant::now() + pause >= deadline {
            return Err(JoinError::Away { seconds: within.as_secs(), why });
        }
        tracing::warn!(why, "the API server cannot be asked; it is tried again");
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[tokio::test]
    async fn what_is_missing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let run = async |more: &str| {
            let line =
                format!("x 127.0.0.1:1 --node-name n1 --join-timeout 1 --data-dir {} {more}", dir.path().display());
            let args = Line::try_parse_from(line.split_whitespace()).map_err(|it| it.to_string())?.args;
            Box::pin(run(args, CancellationToken::new())).await.map_err(|it| it.to_string())
        };
        let hash = format!("--ca-hash sha256:{}", "0".repeat(64));
        let told = run("").await.unwrap_err();
        assert!(told.starts_with("this machine has not joined yet: give --token and --ca-hash"), "{told}");
        let told = run("--token abcdef.0123456789abcdef").await.unwrap_err();
        assert!(told.starts_with("--token needs --ca-hash"), "{told}");
        let told = run(&format!("--token abcdef.0123456789abcdef {hash}")).await.unwrap_err();
        assert!(told.starts_with("the API server could not be asked within 1 s: connect to 127.0.0.1:1: "), "{told}");
        assert!(run("--ca-hash sha256:0").await.unwrap_err().contains("is no digest of the form sha256:"));

        let folder = Folder::of(dir.path());
        let key = folder.pending_key().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:n2");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 2);
        let certificate = params.self_signed(&key).unwrap().pem();
        let pair = Pair::of(&certificate, &key.serialize_pem()).unwrap();
        folder.keep_joined("https://127.0.0.1:1", &certificate, &pair).unwrap();
        let told = run("").await.unwrap_err();
        assert!(told.contains("holds the credentials of \"system:node:n2\", not of node \"n1\""), "{told}");
        let line = format!("x 127.0.0.1:1 --node-name n2 --data-dir {}", dir.path().display());
        let args = Line::try_parse_from(line.split_whitespace()).unwrap().args;
        assert!(matches!(Box::pin(super::run(args, CancellationToken::new())).await, Err(JoinError::Expired)));
    }
}
