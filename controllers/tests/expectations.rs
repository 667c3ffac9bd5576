//! The runtime against a server whose watch is late: a replica set's pods are made once, though the store does not show
//! them yet, and what has come back counts.

#![allow(clippy::unwrap_used)] // A test says what it expects by panicking.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use kube::client::Body;
use orlop_client::{Store, View};
use orlop_controllers::replica_set::ReplicaSets;
use orlop_controllers::runtime;
use orlop_controllers::world::World;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The server: takes every write, and keeps the pods that it made.
#[derive(Default)]
struct Server {
    revision: u64,
    pods: Vec<Value>,
}

impl Server {
    fn take(&mut self, method: &Method, path: &str, body: &[u8]) -> Value {
        self.revision += 1;
        let mut object: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!({}));
        let name = format!("pod-{}", self.revision);
        if *method == Method::POST && path.ends_with("/pods") {
            object["metadata"]["name"] = name.as_str().into();
            object["metadata"]["uid"] = name.as_str().into();
        }
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        if *method == Method::POST && path.ends_with("/pods") {
            self.pods.push(object.clone());
        }
        object
    }
}

fn client(server: Arc<Mutex<Server>>) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = server.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap_or_default();
            let answer = server.lock().take(&parts.method, parts.uri.path(), &body);
            Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes())))
        }
    });
    kube::Client::new(service, "default")
}

fn show<V: View>(store: &Store<V>) {
    store.replace(Vec::new(), "0");
}

fn empty_world() -> World {
    let world = World::default();
    show(&world.deployments);
    show(&world.replica_sets);
    show(&world.replication_controllers);
    show(&world.pods);
    show(&world.nodes);
    show(&world.leases);
    show(&world.services);
    show(&world.endpoints);
    show(&world.slices);
    show(&world.namespaces);
    show(&world.service_accounts);
    show(&world.root_cas);
    show(&world.tokens);
    show(&world.bootstrap_tokens);
    show(&world.cluster_info);
    show(&world.token_tracking);
    show(&world.revoked_nodes);
    show(&world.claims);
    show(&world.volumes);
    show(&world.attributes_classes);
    show(&world.storage_classes);
    show(&world.service_cidrs);
    show(&world.events);
    show(&world.requests);
    show(&world.budgets);
    show(&world.cluster_roles);
    show(&world.definitions);
    world.graph.all().iter().for_each(|(_, store)| show(store));
    world
}

fn set(replicas: u64, revision: &str) -> Value {
    json!({
        "metadata": { "namespace": "a", "name": "web", "uid": "r", "resourceVersion": revision, "generation": 1 },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c" }] } } },
        "status": { "replicas": replicas, "fullyLabeledReplicas": replicas, "observedGeneration": 1 },
    })
}

#[tokio::test(start_paused = true)]
async fn pods_are_made_once_though_the_watch_is_late() {
    let (server, world, stop) = (Arc::new(Mutex::new(Server::default())), empty_world(), CancellationToken::new());
    world.replica_sets.apply(serde_json::from_value(set(3, "1")).unwrap());
    let controllers: Vec<Arc<dyn runtime::Controller>> = vec![Arc::new(ReplicaSets)];
    let running = tokio::spawn(runtime::run(controllers, world.clone(), client(server.clone()), stop.clone()));
    // While nothing comes back, changes of the set bring no second set of pods.
    for second in 2..8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.replica_sets.apply(serde_json::from_value(set(3, &second.to_string())).unwrap());
    }
    assert_eq!(server.lock().pods.len(), 3);
    // Two of three came back: still not all that was done is seen.
    let made = server.lock().pods.clone();
    for pod in &made[..2] {
        world.pods.apply(serde_json::from_str(&pod.to_string()).unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.lock().pods.len(), 3);
    world.pods.apply(serde_json::from_str(&made[2].to_string()).unwrap());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(server.lock().pods.len(), 3, "all are there");
    // One goes, and one is made.
    world.pods.delete(serde_json::from_str(&made[0].to_string()).unwrap());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.lock().pods.len(), 4);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), running).await.unwrap().unwrap();
}
