//! A client whose identity is replaced while it is used: certificates run out while their holders go on.
//!
//! In: clients, one after the other. Out: one client that everybody keeps. A request goes out by the client that is the latest at that moment; what
//! is under way, watches above all, goes on by the connection on which it began, which ends with the last of its answers.

use std::sync::Arc;

use http::Request;
use kube::client::Body;
use parking_lot::RwLock;
use tower::BoxError;

/// The place in which the latest client is.
#[derive(Clone)]
pub struct Swap(Arc<RwLock<kube::Client>>);

impl std::fmt::Debug for Swap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Swap")
    }
}

impl Swap {
    /// Begins with `client`.
    pub fn new(client: kube::Client) -> Self {
        Swap(Arc::new(RwLock::new(client)))
    }

    /// From now on requests go out by `client`.
    pub fn set(&self, client: kube::Client) {
        *self.0.write() = client;
    }

    /// The client that everybody keeps.
    pub fn client(&self) -> kube::Client {
        let namespace = self.0.read().default_namespace().to_owned();
        let swap = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let latest = swap.0.read().clone();
            // The error keeps its type, so that the outer client gives it back as it was.
            async move { latest.send(request).await.map_err(BoxError::from) }
        });
        kube::Client::new(service, namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saying(text: &'static str) -> kube::Client {
        let answer = move |_: Request<Body>| async move {
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(text.as_bytes().to_vec())))
        };
        kube::Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn requests_go_out_by_the_latest_client() {
        let swap = Swap::new(saying("old"));
        let kept = swap.client();
        let ask = async || kept.request_text(Request::get("/").body(Vec::new()).unwrap()).await.unwrap();
        assert_eq!(ask().await, "old");
        swap.set(saying("new"));
        assert_eq!(ask().await, "new");
    }
}
