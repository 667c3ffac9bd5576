//! What nodes and pods use: the objects of `metrics.k8s.io`, made of what the nodes' agents tell when somebody asks.
//!
//! In: `/metrics/resource` of the agents ([`scrape`], read by [`points`]), and which nodes and pods there are, from the cache. Out: the tables of the two
//! kinds. CPU is a rate, so that it takes two looks at a node ([`history`]): they are some seconds apart for the first who asks, and the last two are kept
//! for the next. Nobody is asked while nobody asks. What a node tells of pods that are not its own is not heard.
//! Source: metrics-server's `pkg/storage`, and its timing.

mod history;
mod points;
mod scrape;

use std::sync::Arc;
use std::time::Duration;

use orlop_api::computed::usage::GROUP;
use orlop_api::computed::{node_metrics, pod_metrics};
use orlop_api::kind::Kind;
use orlop_api::meta::whole_seconds;
use orlop_client::clock;
use orlop_store::Key;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConfig;

use crate::cache::{Cache, Object};
use crate::connect::log_proxy;
use crate::core::Core;
use crate::pki::Pair;
use crate::registry;
use crate::serve::ServeError;
use history::History;

/// How old a look may be that is told again: metrics-server's `--metric-resolution` as it is installed.
const RESOLUTION: Duration = Duration::from_secs(15);
/// How far apart the two looks of the first who asks are: agents answer twice a second with the same, and count CPU in hundredths of one.
const FIRST_WINDOW: Duration = Duration::from_secs(2);
/// The oldest look that a rate is told from: older ones say nothing of now.
const WINDOW_MAX: Duration = Duration::from_secs(120);

/// What nodes and pods use.
pub struct Usage {
    tls: Arc<ClientConfig>,
    /// Held by who asks the nodes; the others wait for what is found.
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    history: History,
    looked: Option<Instant>,
}

impl Usage {
    /// Trusts agents with certificates of `ca`, and shows them `client`.
    ///
    /// # Errors
    /// [`ServeError::Certificate`] where either cannot be used.
    pub fn new(ca: &str, client: &Pair) -> Result<Self, ServeError> {
        Ok(Usage { tls: Arc::new(log_proxy::tls_of(ca, client)?), state: tokio::sync::Mutex::default() })
    }

    /// Makes the table of a kind say what is used now. Nodes that do not answer in time are left out.
    pub async fn look(&self, core: &Core, kind: &'static Kind) {
        let mut state = self.state.lock().await;
        let nodes = of_kind(&core.cache, "Node");
        let mut asked = nodes.clone();
        let age = state.looked.map(|it| it.elapsed());
        if age.is_none_or(|it| it >= RESOLUTION) {
            if age.is_none_or(|it| it > WINDOW_MAX) {
                state.history = History::default();
                let first = scrape::all(&self.tls, &nodes).await;
                if first.is_empty() {
                    // Nobody to ask again.
                    core.cache.table(kind).fill(Vec::new(), core.cache.revision());
                    return;
                }
                asked.retain(|it| first.contains_key(&*it.head.name));
                state.history.add(first);
                tokio::time::sleep(FIRST_WINDOW).await;
            }
            let found = scrape::all(&self.tls, &asked).await;
            state.history.add(found);
            state.looked = Some(Instant::now());
        }
        fill(&core.cache, kind, &state.history, &nodes);
    }
}

/// Whether this is a kind that is computed here.
pub fn computes(kind: &Kind) -> bool {
    kind.computed && kind.group == GROUP
}

fn fill(cache: &Cache, kind: &'static Kind, history: &History, nodes: &[Arc<Object>]) {
    let at = cache.revision();
    let mut objects = Vec::new();
    let mut put = |of: &Object, json: Vec<u8>| {
        let key: Key = kind.key(&of.head.namespace, &of.head.name).as_str().into();
        match Object::stored(kind, key, at, &json) {
            Ok(it) => objects.push(Arc::new(it)),
            Err(error) => tracing::error!(name = %of.head.name, %error, "what an object uses cannot be shown"),
        }
    };
    if kind.namespaced() {
        for pod in of_kind(cache, "Pod") {
            let node = registry::named("", "Pod").and_then(|it| pod.field(it, "spec.nodeName")).unwrap_or_default();
            let Some((window, containers)) = history.pod(node, &pod.head.namespace, &pod.head.name) else { continue };
            put(&pod, pod_metrics::object(&meta(&pod), &window, &containers));
        }
    } else {
        for node in nodes {
            let Some((window, usage)) = history.node(&node.head.name) else { continue };
            put(node, node_metrics::object(&meta(node), &window, &usage));
        }
    }
    cache.table(kind).fill(objects, at);
}

/// The metadata of what an object uses: its names and labels, and now.
fn meta(of: &Object) -> Value {
    let mut meta = json!({ "name": &*of.head.name, "creationTimestamp": whole_seconds(clock::now()).to_string() });
    if !of.head.namespace.is_empty() {
        meta["namespace"] = json!(&*of.head.namespace);
    }
    let labels: serde_json::Map<String, Value> =
        of.head.labels.iter().map(|(key, value)| (key.to_string(), json!(value))).collect();
    if !labels.is_empty() {
        meta["labels"] = labels.into();
    }
    meta
}

/// All objects of a kind of the core group.
fn of_kind(cache: &Cache, kind: &str) -> Vec<Arc<Object>> {
    let Some(kind) = registry::named("", kind) else { return Vec::new() };
    let snapshot = cache.table(kind).snapshot();
    snapshot.iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use orlop_api::computed::COMPUTED;

    use super::*;

    #[test]
    fn nodes_and_pods_are_computed_here() {
        let names: Vec<_> = COMPUTED.iter().filter(|it| computes(it)).map(|it| it.names.plural).collect();
        assert_eq!(names, ["nodes", "pods"]);
        assert!(registry::named("", "Pod").is_some_and(|it| !computes(it)));
    }
}
