//! A client whose requests take turns: a burst of work opens no burst of connections.
//!
//! The client below speaks HTTP/1.1, one request at a time on a connection, and keeps each connection for a minute and a half after its last. A hundred pods that
//! start at once had seventy, of some 70 KiB on either side, each after a handshake that costs more than the request. What goes on for long (a watch) has
//! a connection of its own anyway, and does not count.

use std::sync::Arc;

use http::Request;
use kube::client::Body;
use tokio::sync::Semaphore;
use tower::BoxError;

/// The client `client`, of which at most `places` requests are under way at once until their answers begin; the others wait.
pub fn in_turn(client: &kube::Client, places: usize) -> kube::Client {
    let namespace = client.default_namespace().to_owned();
    let (client, free) = (client.clone(), Arc::new(Semaphore::new(places)));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, free) = (client.clone(), Arc::clone(&free));
        async move {
            let _place = if is_watch(&request) { None } else { free.acquire().await.ok() };
            // The error keeps its type, so that the outer client gives it back as it was.
            client.send(request).await.map_err(BoxError::from)
        }
    });
    kube::Client::new(service, namespace)
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|it| matches!(it, "watch" | "watch=1" | "watch=true"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// A client that counts how many of its requests are under way at once, the most of them in the second.
    fn counting(counts: &Arc<[AtomicUsize; 2]>) -> kube::Client {
        let counts = Arc::clone(counts);
        let answer = move |_: Request<Body>| {
            let counts = Arc::clone(&counts);
            async move {
                let now = counts[0].fetch_add(1, Ordering::SeqCst) + 1;
                counts[1].fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                counts[0].fetch_sub(1, Ordering::SeqCst);
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
            }
        };
        kube::Client::new(tower::service_fn(answer), "default")
    }

    async fn most_at_once(path: &str) -> usize {
        let counts = Arc::default();
        let client = in_turn(&counting(&counts), 3);
        let asked = (0..20).map(|_| client.request_text(Request::get(path).body(Vec::new()).unwrap()));
        futures::future::try_join_all(asked).await.unwrap();
        counts[1].load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn requests_wait_for_their_turn_and_watches_do_not() {
        assert_eq!(most_at_once("/api/v1/pods?limit=1&resourceVersion=7").await, 3);
        assert_eq!(most_at_once("/api/v1/pods?allowWatchBookmarks=true&watch=true").await, 20);
    }
}
