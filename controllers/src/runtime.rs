//! The runtime of all controllers: watches wake keys, a worker decides on a key, and the plan is carried out.
//!
//! In: the [`World`], a list of controllers, a client. Out: writes and Events. A [`Controller`] chooses and does not
//! act; this file acts and does not choose. A key is not decided on again until the writes of its last plan have come
//! back by watch, or [`ECHO_TIMEOUT`] has passed: otherwise a replica set would create its pods twice. After an error
//! the key comes back, ever later. Nothing carries input but the key, so that a restart, a missed event and a second
//! leader are the same path.

mod fact;
mod review;
mod token;
mod unused;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use orlop_client::events::Recorder;
use orlop_client::informer::{Change, Store};
use orlop_client::write::{Action, Done, Refused, Resource};
use orlop_client::{Key, Queue, View, clock};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::fact::Facts;
use crate::plan::{Plan, Step};
use crate::world::World;

/// How long to wait for one's own writes. A watch delivers in milliseconds; after a lost connection the informer is back
/// within seconds. Kubernetes waits five minutes, which a user would notice.
pub const ECHO_TIMEOUT: Duration = Duration::from_secs(10);
/// Keys of one controller that are worked on at the same time, as kube-controller-manager does for most of its own.
const WORKERS: usize = 5;
/// Writes of one plan that are under way at the same time.
const WRITES: usize = 16;

/// A controller: a name, what wakes it, and one pure decision.
pub trait Controller: Send + Sync + 'static {
    /// As Kubernetes' Events name it: `deployment-controller`.
    fn name(&self) -> &'static str;
    /// Says which changes wake which keys.
    fn wires(&self, world: &World, wires: &Wires);
    /// What to do about `key`. `failed` is what the plan before was refused, if it was: a line an error.
    fn decide(&self, key: &Key, world: &World, now: Timestamp, failed: Option<&str>) -> Plan;
}

/// Where a controller's keys go.
#[derive(Clone)]
pub struct Wires {
    queue: Queue<Key>,
    stop: CancellationToken,
}

impl Wires {
    /// Wakes the keys that `keys` gives for a change of `store`; the objects that are there count as new.
    pub fn on<V: View>(&self, store: &Store<V>, keys: impl Fn(&Change<V>) -> Vec<Key> + Send + 'static) {
        let wires = self.clone();
        store.listen(move |change| {
            if wires.stop.is_cancelled() {
                return false;
            }
            keys(change).into_iter().for_each(|key| wires.queue.add(key));
            true
        });
    }

    /// Wakes the changed object itself.
    pub fn on_itself<V: View>(&self, store: &Store<V>) {
        self.on(store, |change| vec![change.key.clone()]);
    }

    /// Wakes the keys that `keys` gives for what an object was and for what it is.
    pub fn on_either<V: View>(&self, store: &Store<V>, keys: impl Fn(&V) -> Vec<Key> + Send + 'static) {
        self.on(store, move |change| change.old.iter().chain(&change.new).flat_map(|it| keys(it)).collect());
    }

    /// Whether nobody is woken any more.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Wakes `key`.
    pub fn wake(&self, key: Key) {
        self.queue.add(key);
    }
}

/// Runs `controllers` on `world` until `stop`; writes go through `client`.
pub async fn run(controllers: Vec<Arc<dyn Controller>>, world: World, client: kube::Client, stop: CancellationToken) {
    world.synced().await;
    let mut workers = tokio::task::JoinSet::new();
    let mut queues = Vec::new();
    let facts = Arc::new(Facts::default());
    for controller in controllers {
        let queue = Queue::new();
        queues.push(queue.clone());
        controller.wires(&world, &Wires { queue: queue.clone(), stop: stop.clone() });
        let recorder = Recorder::start(client.clone(), controller.name(), "", stop.clone());
        let worker = Arc::new(Worker {
            controller,
            world: world.clone(),
            client: client.clone(),
            queue,
            recorder,
            memory: Mutex::default(),
            facts: facts.clone(),
        });
        for _ in 0..WORKERS {
            workers.spawn(worker.clone().run());
        }
    }
    stop.cancelled().await;
    queues.iter().for_each(Queue::close);
    // Each worker ends after the write that is under way; a write has a limit of its own.
    while workers.join_next().await.is_some() {}
}

struct Worker {
    controller: Arc<dyn Controller>,
    world: World,
    client: kube::Client,
    queue: Queue<Key>,
    recorder: Recorder,
    /// What is remembered of keys with something outstanding.
    memory: Mutex<HashMap<Key, Memory>>,
    facts: Arc<Facts>,
}

#[derive(Default)]
struct Memory {
    echoes: Vec<Echo>,
    until: Option<tokio::time::Instant>,
    failed: Option<String>,
}

/// A write that has to come back by watch.
struct Echo {
    resource: Resource,
    key: Key,
    done: Done,
}

impl Worker {
    async fn run(self: Arc<Self>) {
        while let Some(key) = self.queue.next().await {
            self.work(&key).await;
            self.queue.done(&key);
        }
    }

    async fn work(&self, key: &Key) {
        let failed = match self.recall(key) {
            Ok(failed) => failed,
            Err(wait) => return self.queue.add_after(key.clone(), wait),
        };
        let plan = self.controller.decide(key, &self.world, clock::now(), failed.as_deref());
        if !plan.steps.is_empty() {
            tracing::debug!(controller = self.controller.name(), %key, plan = %plan, "carrying out");
        }
        let recheck = plan.recheck;
        plan.notes.iter().for_each(|it| self.recorder.publish(it.clone()));
        let (echoes, errors) = self.carry_out(plan).await;
        let told: Vec<String> =
            errors.iter().filter(|it| !matches!(it, Refused::Conflict(_))).map(ToString::to_string).collect();
        self.remember(key, echoes, Some(told.join("\n")).filter(|it| !it.is_empty()));
        match errors.iter().map(retry_of).reduce(|all, it| all || it) {
            Some(true) => {
                let delay = self.queue.add_after_failure(key.clone());
                tracing::debug!(controller = self.controller.name(), %key, ?delay, "trying again");
            }
            Some(false) => {}
            None => self.queue.forget(key),
        }
        if let Some(recheck) = recheck {
            self.queue.add_after(key.clone(), recheck);
        }
    }

    /// The error of the last plan; or how long to wait, as its writes have not come back. When they do, they wake the
    /// key, so that the wait is only for what was missed.
    fn recall(&self, key: &Key) -> Result<Option<String>, Duration> {
        let mut memory = self.memory.lock();
        let Some(it) = memory.get_mut(key) else { return Ok(None) };
        it.echoes.retain(|echo| !self.world.has_seen(echo.resource, &echo.key, &echo.done));
        let left = it.until.map_or(Duration::ZERO, |it| it.saturating_duration_since(tokio::time::Instant::now()));
        if !it.echoes.is_empty() && !left.is_zero() {
            return Err(left);
        }
        Ok(memory.remove(key).and_then(|it| it.failed))
    }

    fn remember(&self, key: &Key, echoes: Vec<Echo>, failed: Option<String>) {
        if echoes.is_empty() && failed.is_none() {
            return;
        }
        let until = Some(tokio::time::Instant::now() + ECHO_TIMEOUT);
        if !echoes.is_empty() {
            // The echo may have come already, between the answer and now, and then nothing else would wake the key.
            self.queue.add_after(key.clone(), Duration::from_millis(1));
        }
        self.memory.lock().insert(key.clone(), Memory { echoes, until, failed });
    }

    /// Carries out the plan up to the first failure that it does not go on after.
    async fn carry_out(&self, plan: Plan) -> (Vec<Echo>, Vec<Refused>) {
        let (mut echoes, mut errors) = (Vec::new(), Vec::new());
        let mut rest = plan.steps.as_slice();
        while let Some(first) = rest.first() {
            let alike = rest.iter().take_while(|it| together(&first.action, &it.action)).count().max(1);
            let (batch, others) = rest.split_at(alike);
            rest = others;
            // Batches of 1, 2, 4, ...: if the first creation is refused, a thousand others are not tried.
            let (mut at, mut size) = (0, 1);
            while at < batch.len() {
                let end = (at + size).min(batch.len());
                let writes: Vec<BoxFuture<'_, _>> = batch[at..end].iter().map(|step| self.take(step).boxed()).collect();
                let results: Vec<_> = futures::stream::iter(writes).buffer_unordered(WRITES).collect().await;
                let before = errors.len();
                for result in results {
                    match result {
                        Ok(echo) => echoes.extend(echo),
                        Err(it) => errors.push(it),
                    }
                }
                if errors.len() > before && !batch[at..end].iter().all(|it| it.goes_on) {
                    return (echoes, errors);
                }
                (at, size) = (end, size * 2);
            }
        }
        (echoes, errors)
    }

    async fn take(&self, step: &Step) -> Result<Option<Echo>, Refused> {
        for fact in &step.facts {
            self.facts.confirm(fact, &self.client).await?;
        }
        for path in &step.empty {
            fact::confirm_empty(path, &self.client).await?;
        }
        if let Some(it) = &step.unused {
            unused::confirm(it, &self.client).await?;
        }
        let carrying = match (&step.token, &step.review) {
            (Some(wanted), _) => Some(token::put(wanted, step.action.clone(), &self.client).await?),
            (None, Some(wanted)) => Some(review::put(wanted, step.action.clone(), &self.client).await?),
            (None, None) => None,
        };
        let result = match carrying.as_ref().unwrap_or(&step.action).apply(&self.client).await {
            // Somebody was faster.
            Err(Refused::NotFound(_)) if matches!(step.action, Action::Delete { .. } | Action::DeleteAll { .. }) => {
                return Ok(None);
            }
            result => result,
        };
        match result {
            Ok(done) => {
                let name = name_of(&step.action).unwrap_or(&done.name).to_owned();
                if let Some(telling) = &step.telling {
                    self.recorder.publish(telling.succeeded(&name));
                }
                Ok(echo(&step.action, &name, done))
            }
            Err(error) => {
                if let Some(note) = step.telling.as_ref().and_then(|it| it.failed(&error.to_string()))
                    && !matches!(error, Refused::Terminating(_))
                {
                    self.recorder.publish(note);
                }
                if !is_usual(&error) {
                    let action = step.action.to_string().chars().take(200).collect::<String>();
                    tracing::warn!(controller = self.controller.name(), action, %error, "a write was refused");
                }
                Err(error)
            }
        }
    }
}

/// Whether a write may be refused so where nothing is wrong: somebody was faster, or the namespace goes away.
fn is_usual(error: &Refused) -> bool {
    matches!(error, Refused::Conflict(_) | Refused::Exists(_) | Refused::NotFound(_) | Refused::Terminating(_))
}

/// Whether to try again after `error`. In a namespace that goes away there is nothing to try for.
fn retry_of(error: &Refused) -> bool {
    !matches!(error, Refused::Terminating(_))
}

fn together(first: &Action, other: &Action) -> bool {
    matches!(
        (first, other),
        (Action::Create { .. }, Action::Create { .. }) | (Action::Delete { .. }, Action::Delete { .. })
    )
}

fn name_of(action: &Action) -> Option<&str> {
    match action {
        Action::Patch { key, .. } | Action::Sub { key, .. } | Action::Delete { key, .. } => Some(key.name()),
        Action::Create { .. } | Action::DeleteAll { .. } => None,
    }
}

fn echo(action: &Action, name: &str, done: Done) -> Option<Echo> {
    let (resource, key, done) = match action {
        Action::Create { resource, namespace, .. } => (*resource, Key::new(namespace, name), done),
        Action::Patch { resource, key, .. } => (*resource, key.clone(), done),
        Action::Delete { resource, key, uid, .. } => {
            // The answer to a deletion that is complete need not name the object.
            let revision = if done.lingers { done.revision } else { String::new() };
            (*resource, key.clone(), Done { uid: uid.clone(), revision, ..done })
        }
        Action::Sub { .. } | Action::DeleteAll { .. } => return None,
    };
    Some(Echo { resource, key, done })
}
