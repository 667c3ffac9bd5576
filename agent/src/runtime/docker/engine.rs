//! The way to the Docker Engine: the socket, a limit on every wait, what its errors mean, and the fence around what is not ours.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::RemoveContainerOptions;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::OnceCell;

use crate::runtime::RuntimeError;
use crate::runtime::labels;

/// How long the Engine may take to look something up. It answers from memory; seconds mean that the machine is starved.
pub const QUICK: Duration = Duration::from_secs(15);

/// How long it may take to make, start, kill or remove a container: some disk and a few processes.
pub const SLOW: Duration = Duration::from_secs(60);

/// Where the Engine listens unless `DOCKER_HOST` says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The Engine as seen by one node's agent.
#[derive(Debug)]
pub struct Engine {
    socket: String,
    node: String,
    client: OnceCell<Docker>,
}

impl Engine {
    /// The Engine that the environment names. Only unix sockets: the agent makes the network of the Engine's containers itself.
    pub fn from_env(node: &str) -> Result<Self, RuntimeError> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        match host.strip_prefix("unix://") {
            Some(socket) => Ok(Self::at_socket(socket, node)),
            None if host.is_empty() => Ok(Self::at_socket(DEFAULT_SOCKET, node)),
            None => Err(RuntimeError::Other(format!(
                "DOCKER_HOST={host} is not a unix socket: the agent needs the Docker Engine of its own machine (unset it, or give \
                 unix:///path/to/docker.sock)"
            ))),
        }
    }

    /// The Engine at a socket.
    pub fn at_socket(socket: &str, node: &str) -> Self {
        Self { socket: socket.to_owned(), node: node.to_owned(), client: OnceCell::new() }
    }

    /// The node whose containers are ours.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Where it listens.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// A client that speaks the Engine's version of the API. Its own limit, on the wait for an answer's head, is `limit`.
    pub async fn client(&self, limit: Duration) -> Result<Docker, RuntimeError> {
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        Ok(client.clone().with_timeout(limit))
    }

    async fn connect(&self) -> Result<Docker, RuntimeError> {
        let docker = Docker::connect_with_unix(&self.socket, QUICK.as_secs(), API_DEFAULT_VERSION)
            .map_err(|it| self.explain("connect", it))?;
        docker.negotiate_version().await.map_err(|it| self.explain("version", it))
    }

    /// Asks the Engine something that must be answered within `limit`.
    pub async fn call<T, F>(
        &self,
        what: &str,
        limit: Duration,
        ask: impl FnOnce(Docker) -> F,
    ) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.try_call(what, limit, ask).await?.map_err(|it| self.explain(what, it))
    }

    /// As [`Engine::call`], with the Engine's own refusal left for the caller to read.
    pub async fn try_call<T, F>(
        &self,
        what: &str,
        limit: Duration,
        ask: impl FnOnce(Docker) -> F,
    ) -> Result<Result<T, Error>, RuntimeError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = self.client(limit).await?;
        match tokio::time::timeout(limit, ask(client)).await {
            Err(_) | Ok(Err(Error::RequestTimeoutError)) => {
                Err(RuntimeError::Timeout(format!("docker: {what} took longer than {} s", limit.as_secs())))
            }
            Ok(answer) => Ok(answer),
        }
    }

    /// What an error of the client means to a pod. Refusals keep the Engine's own words.
    pub fn explain(&self, what: &str, error: Error) -> RuntimeError {
        match error {
            Error::DockerResponseServerError { status_code: 404, message } => RuntimeError::NotFound(message),
            Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message } => {
                RuntimeError::Other(message)
            }
            Error::RequestTimeoutError => RuntimeError::Timeout(format!("docker: {what}")),
            Error::JsonDataError { .. } | Error::JsonSerdeError { .. } | Error::APIVersionParseError {} => {
                RuntimeError::Other(format!("docker: {what}: {error}"))
            }
            other => RuntimeError::Unavailable(advice(&self.socket, &chain(&other))),
        }
    }

    /// The container, if it is there and ours. One that is there and not ours is an error: nothing may be done to it.
    pub async fn owned(&self, id: &str) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
        if id.is_empty() {
            return Ok(None);
        }
        match self.call("inspect", QUICK, |docker| async move { docker.inspect_container(id, None).await }).await {
            Err(RuntimeError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
            Ok(container) => {
                let found = container.config.as_ref().and_then(|it| it.labels.as_ref());
                match found.and_then(|it| it.get(labels::NODE)) {
                    Some(node) if *node == self.node => Ok(Some(container)),
                    _ => Err(RuntimeError::Other(format!("container {id} does not belong to node {}", self.node))),
                }
            }
        }
    }

    /// Kills and removes a container of ours with its anonymous volumes and its log.
    pub async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        if self.owned(id).await?.is_none() {
            return Ok(());
        }
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let removed = self
            .try_call("remove", SLOW, |docker| async move { docker.remove_container(id, Some(options)).await })
            .await?;
        match removed {
            Ok(()) => Ok(()),
            // Gone, or going because of an earlier call.
            Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(self.explain("remove", error)),
        }
    }
}

/// What to do about an Engine that does not answer.
fn advice(socket: &str, reason: &str) -> String {
    let advice = if reason.contains("Permission denied") {
        "run as root or as a member of the group docker"
    } else if Path::new(socket).exists() {
        "it may be stopped: start it with `systemctl start docker` or `dockerd`"
    } else {
        "install Docker (Debian: `apt-get install docker.io`) and start it with `systemctl start docker` or `dockerd`, or name its \
         socket in DOCKER_HOST"
    };
    format!("the Docker Engine does not answer on {socket} ({reason}): {advice}")
}

/// An error with its causes, which carry the operating system's word.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        let next = it.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = it.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_absent_engine_is_explained() {
        let engine = Engine::at_socket("/nonexistent/docker.sock", "n");
        let error = engine.call("info", QUICK, |docker| async move { docker.info().await }).await.unwrap_err();
        assert!(
            matches!(&error, RuntimeError::Unavailable(text) if text.contains("apt-get install docker.io")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_dead_engine_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let engine = Engine::at_socket(socket.to_str().unwrap(), "n");
        let error = engine.call("info", QUICK, |docker| async move { docker.info().await }).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::Unavailable(text) if text.contains("may be stopped")), "{error}");
    }
}
