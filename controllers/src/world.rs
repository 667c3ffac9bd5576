//! The world as the controllers see it: one store a kind, shared by all of them, filled by informers or by a test.
//!
//! Stores lag behind the server, each by its own little; a decision that rests on something stale is refused by its
//! preconditions, and made again.

use std::collections::HashMap;
use std::sync::Arc;

use kube::Resource as _;
use orlop_api::revocation;
use orlop_client::informer::Source;
use orlop_client::storage::matching;
use orlop_client::write::{Done, Resource};
use orlop_client::{Informer, Key, Store, View, clock};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::garbage_collector::Dependent;
use crate::graph::{self, Graph};
use crate::node_lifecycle::hearing::Hearing;
use crate::view::*;

/// Pods, replica sets and replication controllers by the uid of what controls them.
pub const BY_CONTROLLER: &str = "controller";
/// Objects of the garbage collector's graph by the uids of their owners.
pub const BY_OWNER: &str = "owner";
/// Objects of the garbage collector's graph by their own uids.
pub const BY_UID: &str = "uid";
/// Pods by `namespace/claim` of the claims among their volumes.
pub const BY_CLAIM: &str = "claim";
/// Volumes by `namespace/claim` of the claim that has them.
pub const BY_CLAIM_OF_VOLUME: &str = "claim of volume";
/// Claims by the name of the volume that they have or want.
pub const BY_VOLUME: &str = "volume";
/// Claims that are not bound yet by their class, which is empty for none.
pub const UNBOUND_BY_CLASS: &str = "class of unbound";
/// Claims and volumes by the classes of attributes that they name.
pub const BY_ATTRIBUTES_CLASS: &str = "attributes class";
/// Pods by the name of their node.
pub const BY_NODE: &str = "node";
/// Endpoint slices by `namespace/service`.
pub const BY_SERVICE: &str = "service";
/// The label by which a slice names its service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Where node leases are.
pub const NODE_LEASES: &str = "kube-node-lease";
/// Where bootstrap tokens are.
pub const SYSTEM: &str = "kube-system";
/// Where everybody may read.
pub const PUBLIC: &str = "kube-public";
/// The config map that says where the cluster is, to who has a bootstrap token.
pub const CLUSTER_INFO: &str = "cluster-info";
/// The config map that says since when the use of tokens is told.
pub const TOKEN_TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// The config map that says since when which nodes' certificates are refused.
pub const REVOKED_NODES: &str = revocation::NAME;
/// The config map with the cluster's CA that every namespace gets.
pub const ROOT_CA: &str = "kube-root-ca.crt";

/// All stores.
#[derive(Clone)]
pub struct World {
    pub deployments: Store<DeploymentView>,
    pub replica_sets: Store<ReplicaSetView>,
    pub replication_controllers: Store<ReplicationControllerView>,
    pub pods: Store<PodView>,
    pub nodes: Store<NodeView>,
    pub leases: Store<LeaseView>,
    /// What was heard of the nodes, and whether we hear.
    pub hearing: Arc<Mutex<Hearing>>,
    pub services: Store<ServiceView>,
    pub endpoints: Store<EndpointsView>,
    pub slices: Store<EndpointSliceView>,
    pub namespaces: Store<NamespaceView>,
    pub service_accounts: Store<ServiceAccountView>,
    pub root_cas: Store<ConfigMapView>,
    pub tokens: Store<SecretView>,
    pub bootstrap_tokens: Store<BootstrapTokenView>,
    pub cluster_info: Store<ConfigMapView>,
    pub token_tracking: Store<ConfigMapView>,
    pub revoked_nodes: Store<ConfigMapView>,
    pub claims: Store<ClaimView>,
    pub volumes: Store<VolumeView>,
    pub attributes_classes: Store<AttributesClassView>,
    pub storage_classes: Store<StorageClassView>,
    pub service_cidrs: Store<ServiceCidrView>,
    pub events: Store<EventView>,
    pub requests: Store<RequestView>,
    pub budgets: Store<BudgetView>,
    pub cluster_roles: Store<ClusterRoleView>,
    /// The metadata of every object that can own or be owned, for the garbage collector.
    pub graph: Graph,
    /// The definitions that custom kinds of the graph come from.
    pub definitions: Store<DefinitionView>,
}

impl Default for World {
    fn default() -> Self {
        let world = World {
            deployments: Store::new(),
            replica_sets: Store::new(),
            replication_controllers: Store::new(),
            pods: Store::new(),
            nodes: Store::new(),
            leases: Store::new(),
            hearing: Arc::default(),
            services: Store::new(),
            endpoints: Store::new(),
            slices: Store::new(),
            namespaces: Store::new(),
            service_accounts: Store::new(),
            root_cas: Store::new(),
            tokens: Store::new(),
            bootstrap_tokens: Store::new(),
            cluster_info: Store::new(),
            token_tracking: Store::new(),
            revoked_nodes: Store::new(),
            claims: Store::new(),
            volumes: Store::new(),
            attributes_classes: Store::new(),
            storage_classes: Store::new(),
            service_cidrs: Store::new(),
            events: Store::new(),
            requests: Store::new(),
            budgets: Store::new(),
            cluster_roles: Store::new(),
            graph: Graph::of(crate::garbage_collector::kinds()),
            definitions: Store::new(),
        };
        world.replica_sets.add_index(BY_CONTROLLER, |it| controller_index(&it.metadata));
        world.replication_controllers.add_index(BY_CONTROLLER, |it| controller_index(&it.metadata));
        world.pods.add_index(BY_CONTROLLER, |it| controller_index(&it.metadata));
        world.pods.add_index(BY_CLAIM, |it: &PodView| {
            it.claims().into_iter().map(|name| Key::new(namespace_of(&it.metadata), &name).to_string()).collect()
        });
        world.claims.add_index(BY_ATTRIBUTES_CLASS, attributes_classes_of_claim);
        world.volumes.add_index(BY_ATTRIBUTES_CLASS, attributes_classes_of_volume);
        world
            .volumes
            .add_index(BY_CLAIM_OF_VOLUME, |it: &VolumeView| it.claim().map(|it| it.to_string()).into_iter().collect());
        matching::index(&world.volumes);
        world.claims.add_index(BY_VOLUME, |it: &ClaimView| vec![it.spec.volume_name.clone()]);
        world.claims.add_index(
            UNBOUND_BY_CLASS,
            |it: &ClaimView| {
                if it.is_bound() { Vec::new() } else { vec![it.class().to_owned()] }
            },
        );
        world.pods.add_index(BY_NODE, |it: &PodView| vec![it.spec.node_name.clone()]);
        world.slices.add_index(BY_SERVICE, |it: &EndpointSliceView| {
            let service = it.metadata.labels.as_ref().and_then(|it| it.get(SERVICE_NAME));
            service.map(|name| format!("{}/{name}", namespace_of(&it.metadata))).into_iter().collect()
        });
        world
    }
}

impl World {
    /// Starts the informers that keep the world, until `shutdown`.
    pub fn watch(&self, client: &kube::Client, shutdown: &CancellationToken) {
        fn start<V: View>(client: &kube::Client, source: Source, store: &Store<V>, shutdown: &CancellationToken) {
            Informer::of(client.clone(), source).into_store(store.clone()).start(shutdown.clone());
        }
        fn all<V: View + kube::Resource<DynamicType = ()>>(
            client: &kube::Client,
            store: &Store<V>,
            shutdown: &CancellationToken,
        ) {
            start(client, Source::all::<V>(), store, shutdown);
        }
        self.mirror();
        self.hear();
        all(client, &self.deployments, shutdown);
        all(client, &self.replica_sets, shutdown);
        all(client, &self.replication_controllers, shutdown);
        all(client, &self.pods, shutdown);
        all(client, &self.nodes, shutdown);
        all(client, &self.services, shutdown);
        all(client, &self.endpoints, shutdown);
        all(client, &self.slices, shutdown);
        all(client, &self.namespaces, shutdown);
        all(client, &self.service_accounts, shutdown);
        all(client, &self.requests, shutdown);
        all(client, &self.budgets, shutdown);
        all(client, &self.cluster_roles, shutdown);
        // All leases, so that our own comes over the same watch as those of the nodes.
        all(client, &self.leases, shutdown);
        let mut root_cas = Source::path(ConfigMapView::url_path(&(), None));
        root_cas.fields = Some(format!("metadata.name={ROOT_CA}"));
        start(client, root_cas, &self.root_cas, shutdown);
        let mut tokens = Source::path(SecretView::url_path(&(), None));
        tokens.fields = Some("type=kubernetes.io/service-account-token".to_owned());
        start(client, tokens, &self.tokens, shutdown);
        let mut tokens = Source::path(BootstrapTokenView::url_path(&(), Some(SYSTEM)));
        tokens.fields = Some("type=bootstrap.kubernetes.io/token".to_owned());
        start(client, tokens, &self.bootstrap_tokens, shutdown);
        let mut cluster_info = Source::path(ConfigMapView::url_path(&(), Some(PUBLIC)));
        cluster_info.fields = Some(format!("metadata.name={CLUSTER_INFO}"));
        start(client, cluster_info, &self.cluster_info, shutdown);
        let mut tracking = Source::path(ConfigMapView::url_path(&(), Some(SYSTEM)));
        tracking.fields = Some(format!("metadata.name={TOKEN_TRACKING}"));
        start(client, tracking, &self.token_tracking, shutdown);
        let mut revoked = Source::path(ConfigMapView::url_path(&(), Some(revocation::NAMESPACE)));
        revoked.fields = Some(format!("metadata.name={REVOKED_NODES}"));
        start(client, revoked, &self.revoked_nodes, shutdown);
        all(client, &self.claims, shutdown);
        all(client, &self.volumes, shutdown);
        all(client, &self.attributes_classes, shutdown);
        all(client, &self.storage_classes, shutdown);
        all(client, &self.service_cidrs, shutdown);
        start(client, Source::path("/api/v1/events"), &self.events, shutdown);
        for (resource, store) in self.graph.all().iter() {
            if !self.is_whole(*resource) {
                start(client, Source::path(resource.path("")).metadata(), store, shutdown);
            }
        }
        self.follow_definitions(client.clone(), shutdown.clone());
        all(client, &self.definitions, shutdown);
    }

    /// Has the graph show the objects of custom kinds for as long as those are served.
    fn follow_definitions(&self, client: kube::Client, shutdown: CancellationToken) {
        let (graph, running) = (self.graph.clone(), Mutex::new(HashMap::<Key, (Resource, CancellationToken)>::new()));
        self.definitions.listen(move |change| {
            let wanted = change.new.as_deref().and_then(graph::served);
            let mut running = running.lock();
            if running.get(&change.key).map(|(resource, _)| *resource) == wanted {
                return true;
            }
            if let Some((resource, stop)) = running.remove(&change.key) {
                stop.cancel();
                graph.remove(resource);
            }
            if let Some(resource) = wanted
                && let Some(store) = graph.add(resource)
            {
                let stop = shutdown.child_token();
                let source = Source::path(resource.path("")).metadata();
                Informer::of(client.clone(), source).into_store(store).start(stop.clone());
                running.insert(change.key.clone(), (resource, stop));
            }
            true
        });
    }

    /// Whether the objects of a kind are watched as a whole. Their metadata need not be watched, too.
    fn is_whole(&self, resource: Resource) -> bool {
        self.kept(resource).is_some()
    }

    /// Has the garbage collector's graph show what the other stores show.
    fn mirror(&self) {
        for (resource, store) in self.graph.all().iter() {
            if let Some(kept) = self.kept(*resource) {
                kept.mirror(store.clone());
            }
        }
    }

    /// Notes what is heard of the nodes from now on. What a first list shows says nothing of when it happened.
    fn hear(&self) {
        let (hearing, leases) = (self.hearing.clone(), self.leases.clone());
        self.leases.listen(move |change| {
            let (now, mut hearing) = (clock::now(), hearing.lock());
            hearing.note(now);
            let renewed = |it: &Option<Arc<LeaseView>>| it.as_ref()?.spec.renew_time.as_ref().map(|it| it.0);
            let is_news = leases.is_synced() && renewed(&change.new) != renewed(&change.old);
            match &change.new {
                _ if change.key.namespace() != NODE_LEASES => {}
                Some(_) if is_news => hearing.note_node(change.key.name(), now),
                Some(_) => {}
                None => hearing.forget(change.key.name()),
            }
            true
        });
        let (hearing, nodes) = (self.hearing.clone(), self.nodes.clone());
        self.nodes.listen(move |change| {
            let beat = |it: &Option<Arc<NodeView>>| {
                let ready = it.as_ref()?.status.conditions.iter().find(|it| it.type_ == "Ready")?;
                ready.last_heartbeat_time.as_ref().map(|it| it.0)
            };
            let is_news = change.old.is_none() || beat(&change.new) != beat(&change.old);
            if change.new.is_some() && nodes.is_synced() && is_news {
                hearing.lock().note_node(change.key.name(), clock::now());
            }
            true
        });
    }

    /// Waits until every store holds its first list, but those of secrets: while one of them cannot be decrypted, none are listed, and that must not
    /// hold up what has to do with no secret. Every write that rests on an absence asks the server first.
    pub async fn synced(&self) {
        self.deployments.synced().await;
        self.replica_sets.synced().await;
        self.replication_controllers.synced().await;
        self.pods.synced().await;
        self.nodes.synced().await;
        self.services.synced().await;
        self.endpoints.synced().await;
        self.slices.synced().await;
        self.namespaces.synced().await;
        self.service_accounts.synced().await;
        self.leases.synced().await;
        self.root_cas.synced().await;
        self.cluster_info.synced().await;
        self.token_tracking.synced().await;
        self.revoked_nodes.synced().await;
        self.claims.synced().await;
        self.volumes.synced().await;
        self.attributes_classes.synced().await;
        self.storage_classes.synced().await;
        self.service_cidrs.synced().await;
        self.events.synced().await;
        self.requests.synced().await;
        self.budgets.synced().await;
        self.cluster_roles.synced().await;
        self.definitions.synced().await;
        // Not those of custom kinds either, one of which might never come.
        let built_in = crate::garbage_collector::kinds();
        for (resource, store) in self.graph.all().iter() {
            if !self.is_whole(*resource) && *resource != SECRETS && built_in.contains(resource) {
                store.synced().await;
            }
        }
    }

    /// Whether what a write brought about has come back by watch. Kinds that are not watched have nothing to wait for.
    pub fn has_seen(&self, resource: Resource, key: &Key, done: &Done) -> bool {
        match resource {
            SECRETS => self.tokens.has_seen(key, done),
            _ => self.kept(resource).is_none_or(|it| it.has_seen(key, done)),
        }
    }

    /// The store that keeps all objects of a kind.
    fn kept(&self, resource: Resource) -> Option<&dyn Kept> {
        Some(match resource {
            DEPLOYMENTS => &self.deployments,
            REPLICA_SETS => &self.replica_sets,
            REPLICATION_CONTROLLERS => &self.replication_controllers,
            PODS => &self.pods,
            NODES => &self.nodes,
            SERVICES => &self.services,
            ENDPOINTS => &self.endpoints,
            ENDPOINT_SLICES => &self.slices,
            NAMESPACES => &self.namespaces,
            SERVICE_ACCOUNTS => &self.service_accounts,
            CSRS => &self.requests,
            BUDGETS => &self.budgets,
            CLUSTER_ROLES => &self.cluster_roles,
            CLAIMS => &self.claims,
            VOLUMES => &self.volumes,
            ATTRIBUTES_CLASSES => &self.attributes_classes,
            STORAGE_CLASSES => &self.storage_classes,
            SERVICE_CIDRS => &self.service_cidrs,
            DEFINITIONS => &self.definitions,
            _ => return None,
        })
    }
}

/// A store of any view.
trait Kept {
    fn has_seen(&self, key: &Key, done: &Done) -> bool;
    fn mirror(&self, graph: Store<Dependent>);
}

impl<V: View + kube::Resource<DynamicType = ()>> Kept for Store<V> {
    fn mirror(&self, graph: Store<Dependent>) {
        self.listen(move |change| {
            match (&change.new, &change.old) {
                (Some(new), _) => graph.apply(Dependent::of(new.meta())),
                (None, Some(old)) => graph.delete(Dependent::of(old.meta())),
                (None, None) => {}
            }
            true
        });
    }

    fn has_seen(&self, key: &Key, done: &Done) -> bool {
        if done.revision.is_empty() {
            // Gone at once: until the store has heard of that, it still shows the same object.
            return done.uid.is_empty() || self.get(key).is_none_or(|it| it.uid() != done.uid);
        }
        self.revision() >= done.revision.parse().unwrap_or(0)
    }
}
