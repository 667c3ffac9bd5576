//! The name under which a component speaks to the API: its user agent, which the server records as the manager of what it writes.

use http::Request;
use http::header::{HeaderValue, USER_AGENT};
use kube::client::Body;
use tower::BoxError;

/// The scheduler's name, Kubernetes' own, as its work is.
pub const SCHEDULER: &str = "kube-scheduler";
/// The controllers' name, likewise.
pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// The node agent's.
pub const KUBELET: &str = "kubelet";
/// The API server's, for what it writes itself.
pub const API_SERVER: &str = "kube-apiserver";
/// The command line.
pub const COMMAND: &str = "orlop";

/// A user agent as Kubernetes' components have it, of which everything before the slash is the name: `kubelet/1.35.0 (linux/amd64) orlop`.
pub fn user_agent(name: &str) -> HeaderValue {
    let text = format!("{name}/1.35.0 ({}/{}) orlop", std::env::consts::OS, std::env::consts::ARCH);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(COMMAND))
}

/// A client like `client` that names itself.
pub fn named(client: &kube::Client, name: &str) -> kube::Client {
    let agent = user_agent(name);
    let inner = client.clone();
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        request.headers_mut().insert(USER_AGENT, agent.clone());
        let inner = inner.clone();
        // The error keeps its type, so that the outer client gives it back as it was.
        async move { inner.send(request).await.map_err(BoxError::from) }
    });
    kube::Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo(request: Request<Body>) -> Result<http::Response<Body>, std::convert::Infallible> {
        let agent = request.headers().get(USER_AGENT).map_or("none", |it| it.to_str().unwrap_or_default());
        Ok(http::Response::new(Body::from(agent.as_bytes().to_vec())))
    }

    #[tokio::test]
    async fn a_client_names_itself() {
        let plain = kube::Client::new(tower::service_fn(echo), "default");
        let said = named(&plain, KUBELET).request_text(Request::get("/").body(Vec::new()).unwrap()).await.unwrap();
        assert!(said.starts_with("kubelet/1.35.0 ("), "{said}");
    }
}
