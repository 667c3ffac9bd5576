//! ConfigMaps and Secrets: those, and only those, that the pods of this node refer to.
//!
//! A pod's worker asks for a [`Snapshot`] of what its pod names; behind each name stands one watch of that single object (the node
//! authorizer permits no more), shared by all pods that name it and ended when the last of them is gone. When an object changes, the
//! workers of its pods are woken. It does not know what the objects are used for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, EnvFromSource, EnvVar, Pod, Secret, Volume};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::machine::world::{app_containers, ephemeral_containers, init_containers, spec};

/// How long a pod waits for the first answer about an object it names, before the step that needs it fails and is tried again.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Which kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    /// The word in Kubernetes' messages: `configmap "x" not found`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::ConfigMap => "configmap",
            Kind::Secret => "secret",
        }
    }

    /// The kind's name: `couldn't find key k in ConfigMap ns/name`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
        }
    }
}

/// The keys and values of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    pub entries: BTreeMap<String, Vec<u8>>,
    /// The type of a Secret.
    pub kind: Option<String>,
}

/// What was found under the names that a pod refers to: an absent object is there with none.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(pub BTreeMap<(Kind, String), Option<Arc<Data>>>);

impl Snapshot {
    /// The object's data, if it exists.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Arc<Data>> {
        self.0.get(&(kind, name.to_owned())).and_then(Option::as_ref)
    }
}

/// Why a snapshot could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error("failed to sync {word} cache: timed out waiting for {word} {name:?}")]
    Timeout { word: &'static str, name: String },
    #[error("{0}")]
    Refused(String),
}

/// The objects that a pod refers to by name.
pub fn named_by(pod: &Pod) -> BTreeSet<(Kind, String)> {
    let mut names = BTreeSet::new();
    let mut add = |kind, name: Option<&str>| {
        if let Some(name) = name.filter(|it| !it.is_empty()) {
            names.insert((kind, name.to_owned()));
        }
    };
    let own = app_containers(pod).iter().chain(init_containers(pod)).map(|it| (&it.env, &it.env_from));
    for (env, env_from) in own.chain(ephemeral_containers(pod).iter().map(|it| (&it.env, &it.env_from))) {
        for it in env.iter().flatten() {
            of_variable(it, &mut add);
        }
        for it in env_from.iter().flatten() {
            of_source(it, &mut add);
        }
    }
    let Some(spec) = spec(pod) else { return names };
    for it in spec.image_pull_secrets.iter().flatten() {
        add(Kind::Secret, Some(&it.name));
    }
    for it in spec.volumes.iter().flatten() {
        of_volume(it, &mut add);
    }
    names
}

fn of_variable(it: &EnvVar, add: &mut impl FnMut(Kind, Option<&str>)) {
    let Some(from) = &it.value_from else { return };
    add(Kind::ConfigMap, from.config_map_key_ref.as_ref().map(|it| it.name.as_str()));
    add(Kind::Secret, from.secret_key_ref.as_ref().map(|it| it.name.as_str()));
}

fn of_source(it: &EnvFromSource, add: &mut impl FnMut(Kind, Option<&str>)) {
    add(Kind::ConfigMap, it.config_map_ref.as_ref().map(|it| it.name.as_str()));
    add(Kind::Secret, it.secret_ref.as_ref().map(|it| it.name.as_str()));
}

fn of_volume(it: &Volume, add: &mut impl FnMut(Kind, Option<&str>)) {
    add(Kind::ConfigMap, it.config_map.as_ref().map(|it| it.name.as_str()));
    add(Kind::Secret, it.secret.as_ref().and_then(|it| it.secret_name.as_deref()));
    for source in it.projected.iter().flat_map(|it| it.sources.iter().flatten()) {
        add(Kind::ConfigMap, source.config_map.as_ref().map(|it| it.name.as_str()));
        add(Kind::Secret, source.secret.as_ref().map(|it| it.name.as_str()));
    }
}

/// Where an object is: kind, namespace, name.
type Place = (Kind, String, String);

/// What is known of one object: nothing yet, or that it is (not) there, or why it cannot be asked for.
#[derive(Clone, Debug)]
enum Answer {
    Pending,
    Known(Option<Arc<Data>>),
    Refused(String),
}

struct Watched {
    answer: watch::Receiver<Answer>,
    pods: Arc<Mutex<BTreeSet<String>>>,
    _ends_watch: DropGuard,
}

/// What is called with a pod's uid when something it refers to changed.
pub type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// The objects that are watched now.
pub struct References {
    client: Client,
    wake: Wake,
    watched: Mutex<BTreeMap<Place, Watched>>,
}

impl References {
    /// Nothing is watched until a pod asks.
    pub fn new(client: Client, wake: Wake) -> Self {
        References { client, wake, watched: Mutex::default() }
    }

    /// What is under the names that the pod refers to, now. The pod's worker is woken when that changes, until [`Self::forget`].
    ///
    /// # Errors
    /// The API server does not answer, or does not let this node read an object.
    pub async fn snapshot(&self, pod: &Pod) -> Result<Snapshot, ReferenceError> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let mut snapshot = Snapshot::default();
        for (kind, name) in named_by(pod) {
            let mut answer = self.watch((kind, namespace.clone(), name.clone()), &uid);
            let known = answer.wait_for(|it| !matches!(it, Answer::Pending));
            let known = match tokio::time::timeout(FIRST_ANSWER_WITHIN, known).await {
                Ok(Ok(it)) => it.clone(),
                _ => return Err(ReferenceError::Timeout { word: kind.word(), name }),
            };
            match known {
                Answer::Known(data) => drop(snapshot.0.insert((kind, name), data)),
                Answer::Refused(message) => return Err(ReferenceError::Refused(message)),
                Answer::Pending => return Err(ReferenceError::Timeout { word: kind.word(), name }),
            }
        }
        Ok(snapshot)
    }

    /// The pod no longer needs anything; what no other pod needs is no longer watched.
    pub fn forget(&self, uid: &str) {
        self.watched.lock().retain(|_, it| {
            let mut pods = it.pods.lock();
            pods.remove(uid);
            !pods.is_empty()
        });
    }

    fn watch(&self, place: Place, uid: &str) -> watch::Receiver<Answer> {
        let mut watched = self.watched.lock();
        let it = watched.entry(place.clone()).or_insert_with(|| {
            let (sender, answer) = watch::channel(Answer::Pending);
            let end = CancellationToken::new();
            let pods = Arc::default();
            let follow = Follow { sender, pods: Arc::clone(&pods), wake: Arc::clone(&self.wake) };
            let client = self.client.clone();
            let until = end.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = until.cancelled() => {}
                    () = follow.run(client, place) => {}
                }
            });
            Watched { answer, pods, _ends_watch: end.drop_guard() }
        });
        it.pods.lock().insert(uid.to_owned());
        it.answer.clone()
    }
}

/// One object's watch.
struct Follow {
    sender: watch::Sender<Answer>,
    pods: Arc<Mutex<BTreeSet<String>>>,
    wake: Wake,
}

impl Follow {
    async fn run(self, client: Client, (kind, namespace, name): Place) {
        match kind {
            Kind::ConfigMap => {
                let read = |it: ConfigMap| {
                    let text = it.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
                    let binary = it.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
                    Data { entries: text.chain(binary).collect(), kind: None }
                };
                self.follow(Api::<ConfigMap>::namespaced(client, &namespace), &name, read).await;
            }
            Kind::Secret => {
                let read = |it: Secret| Data {
                    entries: it.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect(),
                    kind: it.type_,
                };
                self.follow(Api::<Secret>::namespaced(client, &namespace), &name, read).await;
            }
        }
    }

    async fn follow<K>(&self, api: Api<K>, name: &str, read: impl Fn(K) -> Data)
    where
        K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
    {
        let mut objects = watcher::watch_object(api, name).default_backoff().boxed();
        while let Some(it) = objects.next().await {
            match it {
                Ok(object) => self.tell(object.map(|it| Arc::new(read(it)))),
                Err(error) => self.trouble(&error, name),
            }
        }
    }

    fn tell(&self, data: Option<Arc<Data>>) {
        let first = matches!(&*self.sender.borrow(), Answer::Pending);
        let same = matches!(&*self.sender.borrow(), Answer::Known(before) if *before == data);
        if same {
            return;
        }
        self.sender.send_replace(Answer::Known(data));
        if !first {
            let pods = self.pods.lock().clone();
            pods.iter().for_each(|it| (self.wake)(it));
        }
    }

    /// A watch that fails is tried again by itself; only a refusal is an answer, and only where there was none.
    fn trouble(&self, error: &watcher::Error, name: &str) {
        tracing::debug!(%error, name, "watching a referenced object failed");
        let refused = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(it)) if it.code == 403 => Some(it.message.clone()),
            _ => None,
        };
        if let Some(message) = refused
            && matches!(&*self.sender.borrow(), Answer::Pending)
        {
            self.sender.send_replace(Answer::Refused(message));
        }
    }
}
