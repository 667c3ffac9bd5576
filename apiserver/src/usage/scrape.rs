//! Asking the nodes' agents for their resource metrics: some at a time, each with its time and its size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use orlop_client::clock;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::points::{Points, parse};
use crate::cache::Object;
use crate::connect::log_proxy::{self, Place};

/// Where an agent tells.
const PATH: &str = "/metrics/resource";
/// Nodes that are asked at once.
const AT_ONCE: usize = 64;
/// How long one may take: metrics-server's `scrapeTimeout` is 70% of its resolution of 15 s.
const WITHIN: Duration = Duration::from_secs(10);
/// How long all may take together. Those that have not been reached by then are left out.
const ALL_WITHIN: Duration = Duration::from_secs(30);
/// The longest answer: some hundred bytes for each of four metrics of each container of 110 pods, with much to spare.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What each node tells that answers in time.
pub async fn all(tls: &Arc<ClientConfig>, nodes: &[Arc<Object>]) -> BTreeMap<String, Points> {
    let mut asking = futures::stream::iter(nodes.to_vec())
        .map(|node| {
            let tls = Arc::clone(tls);
            async move {
                let name = node.head.name.to_string();
                let told = timeout(WITHIN, one(&tls, &name, &node.json)).await;
                match told.unwrap_or_else(|_| Err("it takes too long".to_owned())) {
                    Ok(it) => Some((name, it)),
                    Err(why) => {
                        tracing::debug!(node = name, why, "a node does not tell what it uses");
                        None
                    }
                }
            }
        })
        .buffer_unordered(AT_ONCE);
    let mut found = BTreeMap::new();
    let _ = timeout(ALL_WITHIN, async {
        while let Some(it) = asking.next().await {
            found.extend(it);
        }
    })
    .await;
    found
}

async fn one(tls: &Arc<ClientConfig>, name: &str, json: &Bytes) -> Result<Points, String> {
    let place = Place::of_json(name, json).map_err(|it| it.message)?;
    let answer = log_proxy::get(tls, &place, PATH).await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answers {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|it| it.to_string())?;
    Ok(parse(&String::from_utf8_lossy(&body.to_bytes()), clock::now()))
}
