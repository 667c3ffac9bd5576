//! Whether the model and the server agree on random operations of several clients, one after the other and at the same time.
//!
//! `ORLOP_MODEL_OPERATIONS` is how many (100,000 is the figure that counts; docs/conformance.md), `ORLOP_MODEL_SEED` which. A run
//! that disagrees is made shorter and printed with its seed. Operations of the same moment have to agree in one of their orders.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use orlop_client::random;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::answer::{self, Revisions};
use super::operation::{self, Act, CLIENTS, Kind, Op, Pins};
use super::watcher::Watcher;
use super::{Drawn, Key, Object, World, key_of};
use crate::support::{Answer, Cluster};

/// Operations of one server's life: as long a history as its watchers and pages may reach back.
const CASE_OPERATIONS: usize = 1_000;
const WATCHERS_MAX: usize = 6;
/// No answer may take longer, with other tests on both cores.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How many shorter runs are tried.
const SHORTER_MAX: usize = 120;

const ROOMS: [&str; 3] = ["one", "two", "three"];

/// Operations of the same moment.
type Moment = Vec<Op>;

/// What a client remembers of an object.
#[derive(Clone)]
struct Seen {
    revision: u64,
    version: String,
    uid: String,
}

/// The rest of a list that a client reads by pages.
struct Pages {
    kind: Kind,
    path: String,
    limit: usize,
    token: String,
    version: String,
    rest: Vec<std::sync::Arc<Object>>,
    counted: bool,
}

#[derive(Default)]
struct Client {
    seen: HashMap<Key, Seen>,
    /// The last version of anything, by which a watch begins.
    last: Option<(u64, String)>,
    pages: Option<Pages>,
}

struct Run {
    cluster: Option<Cluster>,
    world: World,
    revisions: Revisions,
    clients: Vec<Client>,
    watchers: Vec<Watcher>,
}

impl Run {
    async fn start(store: &str) -> Run {
        let mut run = Run {
            cluster: Some(Cluster::open(store).await),
            world: World::default(),
            revisions: Revisions::default(),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            watchers: Vec::new(),
        };
        for name in ROOMS {
            let room = serde_json::json!({ "metadata": { "name": name } });
            assert_eq!(run.cluster().post("/api/v1/namespaces", &room).await.code, 201);
        }
        let mut found = Vec::new();
        for kind in [Kind::Namespace, Kind::ConfigMap, Kind::ReplicaSet] {
            let all = (kind, String::new(), String::new());
            let list = run.cluster().get(&operation::path(&all)).await.json;
            found.extend(list["items"].as_array().unwrap().iter().map(|it| (kind, it.clone())));
        }
        found.sort_by_key(|(_, it)| answer::version(it).parse::<u64>().unwrap());
        for (kind, object) in found {
            let doc = answer::view(kind, &object);
            run.world.revision += 1;
            run.world.learn(key_of(kind, &doc), doc);
            run.revisions.meet(run.world.revision, &answer::version(&object)).unwrap();
        }
        run
    }

    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("it is there but in the middle of a restart")
    }

    /// What this operation refers to, as its client saw it last.
    fn seen(&self, op: &Op) -> Option<&Seen> {
        self.clients[op.client].seen.get(op.key()?)
    }

    async fn send(&self, op: &Op) -> Result<Answer, String> {
        let seen = self.seen(op);
        let version = seen.filter(|_| op.pin.0).map(|it| it.version.as_str());
        let uid = seen.filter(|_| op.pin.1).map(|it| it.uid.as_str());
        let (method, path, content_type, body) = operation::request(op, version, uid);
        let sent = self.cluster().raw(method.as_str(), &path, content_type, &body);
        tokio::time::timeout(ANSWER_LIMIT, sent).await.map_err(|_| format!("no answer to {method} {path}"))
    }

    /// Does one moment's operations and compares.
    async fn perform(&mut self, moment: &[Op]) -> Result<(), String> {
        if let [op] = moment
            && op.key().is_none()
        {
            return self.perform_other(op).await;
        }
        let answers = futures::future::join_all(moment.iter().map(|it| self.send(it))).await;
        let answers: Vec<Answer> = answers.into_iter().collect::<Result<_, _>>()?;
        let mut complaints = String::new();
        for order in orders(moment.len()) {
            let (mut world, mut revisions) = if moment.len() == 1 {
                (std::mem::take(&mut self.world), std::mem::take(&mut self.revisions))
            } else {
                (self.world.clone(), self.revisions.clone())
            };
            let mut shown = Vec::new();
            let mut outcome = Ok(());
            for at in &order {
                let (op, answer) = (&moment[*at], &answers[*at]);
                let expected = self.expected(&mut world, op, answer);
                let kind = op.key().map_or(Kind::ConfigMap, |it| it.0);
                outcome = answer::check(kind, answer, &expected, op.dry, &mut revisions);
                if let Err(error) = &outcome {
                    let _ = writeln!(complaints, "  {op:?}\n  {error}");
                    break;
                }
                let versioned = expected.object.filter(|it| !op.dry && it.revision != super::GONE);
                shown.extend(versioned.map(|it| (op.client, kind, it, answer::version(&answer.json))));
            }
            if outcome.is_ok() {
                (self.world, self.revisions) = (world, revisions);
                for (client, kind, object, version) in shown {
                    self.remember(client, kind, &object, version);
                }
                return Ok(());
            }
        }
        Err(complaints)
    }

    fn expected(&self, world: &mut World, op: &Op, answer: &Answer) -> super::Expected {
        let seen = self.seen(op);
        let pins = Pins {
            revision: seen.filter(|_| op.pin.0).map(|it| it.revision),
            uid: seen.filter(|_| op.pin.1).map(|it| it.uid.clone()),
        };
        let text = |it: &str| answer.json["metadata"][it].as_str().unwrap_or_default().to_owned();
        world.step(op, &pins, &Drawn { uid: text("uid"), name: text("name") })
    }

    fn remember(&mut self, client: usize, kind: Kind, object: &Object, version: String) {
        let uid = object.doc["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let seen = Seen { revision: object.revision, version: version.clone(), uid };
        let client = &mut self.clients[client];
        if client.last.as_ref().is_none_or(|it| it.0 < object.revision) {
            client.last = Some((object.revision, version));
        }
        client.seen.insert(key_of(kind, &object.doc), seen);
    }

    async fn perform_other(&mut self, op: &Op) -> Result<(), String> {
        match &op.act {
            Act::List { kind, namespace, select, limit } => {
                let all = (*kind, namespace.clone(), String::new());
                let path = format!("{}?limit={limit}{}", operation::path(&all), select.query());
                let rest = self.world.list(*kind, namespace, select);
                let counted = *select == operation::Select::All;
                let pages = Pages {
                    kind: *kind,
                    path,
                    limit: if *limit == 0 { usize::MAX } else { *limit },
                    token: String::new(),
                    version: String::new(),
                    rest,
                    counted,
                };
                self.page(op.client, pages).await
            }
            Act::More => match self.clients[op.client].pages.take() {
                Some(pages) => self.page(op.client, pages).await,
                None => Ok(()),
            },
            Act::DeleteMany { .. } | Act::Finalize { .. } => {
                if let Act::Finalize { namespace } = &op.act
                    && !self.world.is_over(namespace)
                {
                    return Ok(());
                }
                let answer = self.send(op).await?;
                let mut world = std::mem::take(&mut self.world);
                let expected = self.expected(&mut world, op, &answer);
                self.world = world;
                answer::check(Kind::Namespace, &answer, &expected, op.dry, &mut self.revisions)
            }
            Act::Watch { kind, namespace, select, after } => {
                if self.watchers.len() == WATCHERS_MAX {
                    self.watchers.remove(0);
                }
                let after = self.clients[op.client].last.clone().filter(|_| *after);
                let of = (*kind, namespace.as_str(), select);
                let cluster = self.cluster.as_ref().expect("it is there");
                let opened = Watcher::open(cluster, &self.world, &mut self.revisions, of, after).await?;
                self.watchers.push(opened);
                Ok(())
            }
            Act::Drain => {
                for watcher in &mut self.watchers {
                    watcher.drain(&self.world, &mut self.revisions).await?;
                }
                Ok(())
            }
            Act::Restart => {
                let stopped = self.cluster.take().expect("it is there").restart();
                let cluster = tokio::time::timeout(ANSWER_LIMIT, stopped).await.map_err(|_| "no restart")?;
                let mut open = Vec::new();
                for mut watcher in std::mem::take(&mut self.watchers) {
                    if watcher.reopen(&cluster).await {
                        open.push(watcher);
                    }
                }
                self.watchers = open;
                self.cluster = Some(cluster);
                Ok(())
            }
            _ => unreachable!("single operations go another way"),
        }
    }

    /// Reads the next page of a list, and keeps the rest for the client.
    async fn page(&mut self, client: usize, mut pages: Pages) -> Result<(), String> {
        let path = match pages.token.as_str() {
            "" => pages.path.clone(),
            token => format!("{}&continue={token}", pages.path),
        };
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.cluster().get(&path)).await.map_err(|_| "no answer")?;
        let meta = &answer.json["metadata"];
        let version = meta["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let first = pages.token.is_empty();
        if !first && version != pages.version {
            return Err(format!("GET {path}: a page of {version}, not of {}: {}", pages.version, answer.text));
        }
        let items = answer.json["items"].as_array().cloned().unwrap_or_default();
        let rest = pages.rest.split_off(pages.rest.len().min(pages.limit));
        let page = std::mem::replace(&mut pages.rest, rest);
        if items.len() != page.len() || answer.code != 200 {
            return Err(format!("GET {path}: {} items, not {}: {}", items.len(), page.len(), answer.text));
        }
        for (item, object) in items.iter().zip(&page) {
            answer::same(pages.kind, item, object, true, &mut self.revisions)?;
            self.remember(client, pages.kind, object, answer::version(item));
        }
        let left = pages.rest.len();
        let remaining = meta["remainingItemCount"].as_u64();
        let wanted = (left > 0 && pages.counted).then_some(left as u64);
        pages.token = meta["continue"].as_str().unwrap_or_default().to_owned();
        if remaining != wanted || pages.token.is_empty() != (left == 0) {
            return Err(format!("GET {path}: {left} are left, but it says {meta}"));
        }
        if first {
            self.revisions.reached(&version)?;
            self.clients[client].last = Some((self.world.revision, version.clone()));
        }
        pages.version = version;
        self.clients[client].pages = (left > 0).then_some(pages);
        Ok(())
    }
}

/// The orders of so many operations.
fn orders(count: usize) -> Vec<Vec<usize>> {
    match count {
        0 => vec![Vec::new()],
        count => orders(count - 1)
            .into_iter()
            .flat_map(|it| {
                (0..count).map(move |at| {
                    let mut order = it.clone();
                    order.insert(at, count - 1);
                    order
                })
            })
            .collect(),
    }
}

/// Draws the moments of one case: mostly one operation, sometimes two or three of different clients.
fn draw(seed: u64, restarts: bool) -> Vec<Moment> {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut moments: Vec<Moment> = Vec::new();
    let mut count = 0;
    while count < CASE_OPERATIONS {
        let mut moment = vec![Op::draw(random, restarts)];
        if let Some(key) = moment[0].key().cloned()
            && moment[0].clone().about(&key).is_some()
            && random.random_ratio(1, 4)
        {
            let more = random.random_range(1..3);
            // All on one object: elsewhere it would not matter who was first, and nobody could tell.
            let mut beside = std::iter::repeat_with(|| Op::draw(random, restarts).about(&key)).flatten();
            moment.extend(beside.by_ref().take(more));
        }
        count += moment.len();
        moments.push(moment);
    }
    moments.push(vec![Op { client: 0, dry: false, pin: (false, false), act: Act::Drain }]);
    moments
}

/// Runs a case; the complaint is that of the first moment at which they disagree.
async fn run(store: &str, moments: &[Moment]) -> Result<(), (usize, String)> {
    let mut run = Run::start(store).await;
    for (at, moment) in moments.iter().enumerate() {
        run.perform(moment).await.map_err(|error| (at, error))?;
    }
    Ok(())
}

/// Leaves out what the disagreement does not need.
async fn shorter(store: &str, mut moments: Vec<Moment>, mut complaint: String) -> (Vec<Moment>, String) {
    let mut tries = 0;
    let mut size = moments.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < moments.len() && tries < SHORTER_MAX {
            tries += 1;
            let mut fewer = moments.clone();
            fewer.drain(at..(at + size).min(moments.len()));
            match run(store, &fewer).await {
                Err((end, error)) => {
                    fewer.truncate(end + 1);
                    (moments, complaint) = (fewer, error);
                }
                Ok(()) => at += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    (moments, complaint)
}

/// Runs cases until so many operations were done.
async fn agree(store: &str, operations: usize, restarts: bool) {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    let operations = number("ORLOP_MODEL_OPERATIONS").map_or(operations, |it| it as usize);
    let first = number("ORLOP_MODEL_SEED").unwrap_or_else(|| random::below(1 << 32));
    for case in 0..operations.div_ceil(CASE_OPERATIONS) as u64 {
        let seed = first + case;
        let mut moments = draw(seed, restarts);
        let Err((end, complaint)) = run(store, &moments).await else { continue };
        moments.truncate(end + 1);
        let (moments, complaint) = shorter(store, moments, complaint).await;
        let told: String = moments.iter().map(|it| format!("{it:?}\n")).collect();
        panic!("ORLOP_MODEL_SEED={seed} ({store}): they disagree after\n{told}\n{complaint}");
    }
}

#[tokio::test]
async fn the_server_does_what_the_model_does() {
    agree("memory", 12_000, false).await;
}

#[tokio::test]
async fn the_server_does_what_the_model_does_across_restarts() {
    agree("embedded", 2_000, true).await;
}
