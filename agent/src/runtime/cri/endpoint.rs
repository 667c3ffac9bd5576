//! The way to a runtime of the CRI: the socket, a limit on every wait, what its errors mean, and what is ours.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Response, Status};

use crate::runtime::RuntimeError;
use crate::runtime::labels::NODE;

/// How long it may take to look something up.
pub const QUICK: Duration = Duration::from_secs(15);
/// How long it may take to make, start, kill or remove: some disk and a few processes. The kubelet's own is two minutes.
pub const SLOW: Duration = Duration::from_secs(120);
/// The longest answer, as the kubelet's: an exec's output is cut at this by the runtime.
const ANSWER_BYTES: usize = 16 << 20;

/// The calls about containers.
pub type Calls = RuntimeServiceClient<Channel>;
/// The calls about images.
pub type ImageCalls = ImageServiceClient<Channel>;

/// The runtime as seen by one node's agent.
#[derive(Debug)]
pub struct Endpoint {
    socket: PathBuf,
    node: String,
    logs: PathBuf,
    /// Whether it makes the pods' network.
    cni: bool,
    channel: OnceCell<Channel>,
}

impl Endpoint {
    /// The runtime at a unix socket. Nothing else: it has to run on this machine. With `cni` the network of its sandboxes is its own.
    ///
    /// # Errors
    /// It is something else.
    pub fn open(endpoint: &str, node: &str, folder: &Path, cni: bool) -> Result<Self, RuntimeError> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        if !path.starts_with('/') {
            return Err(RuntimeError::Other(format!(
                "--runtime-endpoint {endpoint} is not a unix socket (unix:///path/to/containerd.sock)"
            )));
        }
        let logs = folder.join("logs");
        Ok(Self { socket: path.into(), node: node.to_owned(), logs, cni, channel: OnceCell::new() })
    }

    /// The node whose sandboxes are ours.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether the runtime makes the network of its sandboxes.
    pub fn makes_network(&self) -> bool {
        self.cni
    }

    /// Where the runtime listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where the logs of all pods are, in a folder a pod.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The labels by which everything of this node is found.
    pub fn ours(&self) -> HashMap<String, String> {
        HashMap::from([(NODE.to_owned(), self.node.clone())])
    }

    /// One call about containers. Requests are large, and lie in a box while they are waited for.
    ///
    /// # Errors
    /// As the runtime says, or that it does not answer.
    pub fn call<'a, T, F>(
        &'a self,
        what: &'a str,
        limit: Duration,
        ask: impl FnOnce(Calls) -> F + Send + 'a,
    ) -> BoxFuture<'a, Result<T, RuntimeError>>
    where
        T: 'a,
        F: Future<Output = Result<Response<T>, Status>> + Send + 'a,
    {
        async move {
            let calls = Calls::new(self.channel().await).max_decoding_message_size(ANSWER_BYTES);
            within(what, limit, ask(calls)).await
        }
        .boxed()
    }

    /// One call about images.
    ///
    /// # Errors
    /// As the runtime says, or that it does not answer.
    pub fn image_call<'a, T, F>(
        &'a self,
        what: &'a str,
        limit: Duration,
        ask: impl FnOnce(ImageCalls) -> F + Send + 'a,
    ) -> BoxFuture<'a, Result<T, RuntimeError>>
    where
        T: 'a,
        F: Future<Output = Result<Response<T>, Status>> + Send + 'a,
    {
        async move {
            let calls = ImageCalls::new(self.channel().await).max_decoding_message_size(ANSWER_BYTES);
            within(what, limit, ask(calls)).await
        }
        .boxed()
    }

    /// What the runtime says of itself beside its status, as JSON by name: containerd has its configuration there.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn about(&self) -> Result<HashMap<String, String>, RuntimeError> {
        let request = cri::StatusRequest { verbose: true };
        Ok(self.call("Status", QUICK, |mut it| async move { it.status(request).await }).await?.info)
    }

    /// Connected when something is asked, and anew when the connection has ended.
    async fn channel(&self) -> Channel {
        let connect = || async {
            let socket = self.socket.clone();
            let connector = tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            });
            // The address is not used: the connector has its own.
            Channel::from_static("http://cri").connect_with_connector_lazy(connector)
        };
        self.channel.get_or_init(connect).await.clone()
    }
}

async fn within<T>(
    what: &str,
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RuntimeError> {
    match tokio::time::timeout(limit, call).await {
        Err(_) => Err(RuntimeError::Timeout(format!("{what} took longer than {} s", limit.as_secs()))),
        Ok(Ok(it)) => Ok(it.into_inner()),
        Ok(Err(status)) => Err(explain(what, &status)),
    }
}

/// What a refusal means.
pub fn explain(what: &str, status: &Status) -> RuntimeError {
    let message = status.message().to_owned();
    match status.code() {
        Code::NotFound => RuntimeError::NotFound(message),
        Code::Unavailable => RuntimeError::Unavailable(format!("{what}: {message}")),
        Code::DeadlineExceeded => RuntimeError::Timeout(message),
        _ => RuntimeError::Other(message),
    }
}

/// Takes what is not there for done.
pub fn absent_is_done(outcome: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match outcome {
        Err(RuntimeError::NotFound(_)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_this_machine_are_endpoints() {
        let check = |text: &str, expected: Option<&str>| {
            let found = Endpoint::open(text, "n", Path::new("/x"), false).ok().map(|it| it.socket);
            assert_eq!(found, expected.map(PathBuf::from), "{text}");
        };
        check("unix:///run/containerd/containerd.sock", Some("/run/containerd/containerd.sock"));
        check("/run/crio/crio.sock", Some("/run/crio/crio.sock"));
        check("tcp://10.0.0.1:1234", None);
        check("", None);
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status: Status, expected: &str| assert_eq!(explain("x", &status).to_string(), expected);
        check(Status::not_found("no container"), "no container not found");
        check(Status::unavailable("no socket"), "the runtime is unavailable: x: no socket");
        check(Status::deadline_exceeded("late"), "timed out: late");
        check(Status::unknown("why"), "why");
    }
}
