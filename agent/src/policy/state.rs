//! All that is known, and the tables that follow from it: a function of policies, pods, namespaces and the node. Pure.
//!
//! Changes come in by [`State::change`]. Each pod has a fragment: its part in the sets that chains name, and if it is on this node its
//! chains and the entries that lead there. A pod that changes costs its own fragment. A policy that changes costs those of the node's
//! pods of its namespace, and, if other sets are named then, one look at every pod.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orlop_client::Key;

use super::chain::{self, Direction, Judge};
use super::selection::{Labels, Seen, Selection, matches};
use super::spec::Policy;
use super::table::{Place, bases};
use super::view::{NamedPort, PodView};
use crate::rules::fragment::Fragment;
use crate::rules::table::Family;
use crate::rules::wanted::Wanted;
use crate::services::protocol::Protocol;
use crate::services::table::Dns;

/// What is fixed for a node.
#[derive(Clone, Debug)]
pub struct Setting {
    pub node: String,
    /// The interface that its pods send from and receive by.
    pub bridge: String,
    /// How the cluster's DNS is reached on this node.
    pub dns: Option<Dns>,
}

/// What has changed; none is gone.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub policies: BTreeMap<Key, Option<Arc<Policy>>>,
    pub namespaces: BTreeMap<String, Option<Labels>>,
    pub pods: BTreeMap<Key, Option<Arc<PodView>>>,
}

/// What is known, and what is wanted.
pub struct State {
    setting: Setting,
    policies: BTreeMap<Key, Arc<Policy>>,
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<Key, Arc<PodView>>,
    /// The pods of this node.
    local: BTreeMap<Key, Local>,
    /// All that the node's chains name.
    named: Named,
    pub wanted: Wanted<Place>,
}

/// Sets by their names.
type Named = BTreeMap<(Family, Arc<str>), Selection>;

/// What a pod of this node adds besides its part in sets.
#[derive(Clone, Debug, Default, PartialEq)]
struct Local {
    fragment: Fragment<Place>,
    named: Named,
}

impl State {
    /// Nothing is known but the node and its DNS.
    pub fn new(setting: Setting) -> Self {
        let wanted = Wanted::new(bases(&setting.bridge, setting.dns.as_ref()));
        let pods = setting.dns.as_ref().map(|it| (dns_key(), Arc::new(dns_pod(it)))).into_iter().collect();
        State {
            setting,
            policies: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            pods,
            local: BTreeMap::new(),
            named: BTreeMap::new(),
            wanted,
        }
    }

    /// Whether nothing is isolated by anything.
    pub fn is_idle(&self) -> bool {
        self.policies.is_empty()
    }

    /// The pods of this node.
    pub fn local_pods(&self) -> impl Iterator<Item = &Key> {
        self.local.keys()
    }

    /// Takes in what has changed.
    pub fn change(&mut self, batch: Batch) {
        let Batch { policies, namespaces, pods } = batch;
        let mut to_judge: BTreeSet<Key> = BTreeSet::new();
        let mut to_place: BTreeSet<Key> = BTreeSet::new();
        let with_policies: BTreeSet<&str> = policies.keys().map(Key::namespace).collect();
        to_judge.extend(self.local.keys().filter(|it| with_policies.contains(it.namespace())).cloned());
        for (key, policy) in policies {
            put(&mut self.policies, key, policy);
        }
        for (name, labels) in namespaces {
            let of_namespace = self.pods.range(Key::new(&name, "")..).take_while(|it| it.0.namespace() == name);
            to_place.extend(of_namespace.map(|it| it.0.clone()));
            put(&mut self.namespaces, name, labels);
        }
        for (key, pod) in pods {
            let is_local = pod.as_ref().is_some_and(|it| it.node == self.setting.node);
            if is_local || self.local.contains_key(&key) {
                to_judge.insert(key.clone());
            }
            to_place.insert(key.clone());
            put(&mut self.pods, key, pod);
        }
        for key in &to_judge {
            match self.pods.get(key).filter(|it| it.node == self.setting.node) {
                Some(pod) => drop(self.local.insert(key.clone(), self.judge(pod))),
                None => drop(self.local.remove(key)),
            }
        }
        to_place.extend(to_judge);
        let named: Named = self.local.values().flat_map(|it| it.named.clone()).collect();
        if named != self.named {
            self.named = named;
            to_place.extend(self.pods.keys().cloned());
        }
        for key in to_place {
            let fragment = self.fragment(&key);
            self.wanted.set(&key, fragment);
        }
    }

    /// What the policies that select a pod of this node make of it.
    fn judge(&self, pod: &PodView) -> Local {
        let key = pod.key();
        let of_namespace = self.policies.range(Key::new(key.namespace(), "")..);
        let of_namespace = of_namespace.take_while(|it| it.0.namespace() == key.namespace()).map(|it| &**it.1);
        let selecting: Vec<&Policy> =
            of_namespace.filter(|it| matches(&it.pods, pod.metadata.labels.as_ref())).collect();
        let mut local = Local::default();
        let families: BTreeSet<Family> = pod.addresses.iter().map(|it| Family::of(*it)).collect();
        for family in families {
            for direction in Direction::ALL {
                let Some(Judge { name, chain, selections }) = chain::of(direction, family, &selecting) else {
                    continue;
                };
                let place = match direction {
                    Direction::Ingress => Place::Ingress,
                    Direction::Egress => Place::Egress,
                };
                for it in pod.addresses.iter().filter(|it| Family::of(**it) == family) {
                    let elements = &mut local.fragment.elements;
                    // A chain that lets a packet through returns, and the packet's other end may have one, too.
                    elements.insert((family, place.clone(), it.to_string()), format!("jump {name}"));
                    elements.insert((family, Place::Selves, format!("{it} . {it}")), String::new());
                }
                local.fragment.chains.insert((family, name), chain);
                for it in selections {
                    local.fragment.sets.insert((family, it.name()), it.set(family));
                    local.named.insert((family, it.name().into()), it);
                }
            }
        }
        local
    }

    fn fragment(&self, key: &Key) -> Fragment<Place> {
        let Some(pod) = self.pods.get(key) else { return Fragment::default() };
        let mut fragment = self.local.get(key).map(|it| it.fragment.clone()).unwrap_or_default();
        let namespace = self.namespaces.get(key.namespace());
        let seen = Seen { pod, namespace, is_here: self.local.contains_key(key) };
        for ((family, name), selection) in &self.named {
            for (_, element) in selection.elements(&seen).into_iter().filter(|it| it.0 == *family) {
                fragment.elements.insert((*family, Place::Selection(Arc::clone(name)), element), String::new());
            }
        }
        fragment
    }
}

/// The DNS of this node stands for the pods that serve it elsewhere. No pod can have this name.
fn dns_key() -> Key {
    Key::new("kube-system", ":dns")
}

/// What policies see of the DNS: the labels and ports that its pods have in other clusters.
fn dns_pod(dns: &Dns) -> PodView {
    let mut pod = PodView { addresses: vec![dns.address, dns.server], ..PodView::default() };
    pod.metadata.namespace = Some("kube-system".to_owned());
    pod.metadata.name = Some(":dns".to_owned());
    pod.metadata.labels = Some([("k8s-app".to_owned(), "kube-dns".to_owned())].into());
    let port = |name: &str, protocol| NamedPort { name: name.to_owned(), protocol, port: 53 };
    pod.ports = vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)];
    pod
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(it) => drop(map.insert(key, it)),
        None => drop(map.remove(&key)),
    }
}
