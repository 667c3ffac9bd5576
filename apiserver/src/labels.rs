//! Labels as things one can list: the objects of `labels.orlop.dev`, computed from the cache's indexes.
//!
//! In: the indexes, which writes keep anyway. Out: a table of the cache like any other, so that lists, selectors, tables and watches are those
//! of every kind. It is made when somebody asks, brought up to date with every request, and while somebody watches once a second;
//! when nobody has asked for a while it is forgotten. To whom nobody asks, it costs nothing.
//!
//! Each look is at a revision that is complete before the look begins, and no two looks are at the same one. So whoever has seen the table at a
//! revision is told everything that he has not seen at a later one, though the indexes may be a little ahead of the revision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orlop_api::computed::COMPUTED;
use orlop_api::computed::label::{self, Count};
use orlop_api::head;
use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};
use orlop_store::Key;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Object, Table};

/// How often watchers are told: changes in between are told as one. A look at 100,000 labels takes some 50 ms.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the table is kept when nobody asks.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The labels of all objects.
#[derive(Debug)]
pub struct Labels {
    cache: Arc<Cache>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The revision of the last look; none if there is no table.
    at: Option<u64>,
    /// When somebody asked last.
    asked: Option<Instant>,
    /// Whether a task follows.
    followed: bool,
}

fn kind() -> &'static Kind {
    COMPUTED.iter().find(|it| it.names.plural == "labels").expect("the kind is computed")
}

impl Labels {
    /// The labels of the objects in a cache.
    pub fn new(cache: Arc<Cache>) -> Arc<Self> {
        Arc::new(Labels { cache, state: Mutex::default() })
    }

    /// Brings the table up to date, and keeps it so while it is watched, until `shutdown`.
    ///
    /// # Errors
    /// When the look was broken off.
    pub async fn prepare(self: &Arc<Self>, shutdown: &CancellationToken) -> status::Result<()> {
        let labels = self.clone();
        // Not where requests are served: to count takes a while.
        let begin = tokio::task::spawn_blocking(move || {
            let mut state = labels.state.lock();
            labels.look(&mut state);
            state.asked = Some(Instant::now());
            !std::mem::replace(&mut state.followed, true)
        });
        if begin.await.map_err(Status::internal)? {
            tokio::spawn(self.clone().follow(shutdown.clone()));
        }
        Ok(())
    }

    /// Looks once a second while somebody watches; ends when nobody has asked for a while.
    async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let labels = self.clone();
            let goes_on = tokio::task::spawn_blocking(move || labels.look_or_forget());
            if !matches!(goes_on.await, Ok(true)) {
                return;
            }
        }
    }

    fn look_or_forget(&self) -> bool {
        let mut state = self.state.lock();
        let table = self.cache.table(kind());
        if table.is_watched() {
            state.asked = Some(Instant::now());
            self.look(&mut state);
        } else if state.asked.is_none_or(|it| it.elapsed() >= IDLE_MAX) {
            table.fill(Vec::new(), self.cache.revision());
            *state = State::default();
            return false;
        }
        true
    }

    /// Makes the table say what the indexes say.
    fn look(&self, state: &mut State) {
        let at = self.cache.revision();
        if state.at == Some(at) {
            return;
        }
        let table = self.cache.table(kind());
        let counted = count(&self.cache.tables());
        let before = table.snapshot();
        let mut listed: BTreeMap<Key, Arc<Object>> = BTreeMap::new();
        for ((label, value), counts) in counted {
            let name = label::name_of(&label, &value);
            let stored = label::object(&name, &label, &value, &counts);
            let key: Key = kind().key("", &name).as_str().into();
            let same = before
                .get(&key)
                .filter(|it| head::with_revision(&stored, it.revision).is_ok_and(|json| json == it.json));
            if let Some(same) = same {
                listed.insert(key, same.clone());
                continue;
            }
            match Object::stored(kind(), key.clone(), at, &stored) {
                Ok(object) => drop(listed.insert(key, Arc::new(object))),
                Err(error) => tracing::error!(%name, %error, "a label cannot be shown"),
            }
        }
        if state.at.is_none() {
            table.fill(listed.into_values().collect(), at);
        } else {
            let gone = before.iter().filter(|it| !listed.contains_key(&it.key));
            let mut changes: Vec<_> = gone.map(|it| (it.key.clone(), at, None)).collect();
            let new = listed.into_iter().filter(|(_, it)| it.revision == at);
            changes.extend(new.map(|(key, object)| (key, at, Some(object))));
            table.apply(changes);
            table.computed_at(at);
            table.wake();
        }
        state.at = Some(at);
    }
}

/// Every label, and how many objects of each kind carry it.
fn count(tables: &[Arc<Table>]) -> BTreeMap<(Box<str>, Box<str>), Vec<Count>> {
    let mut out: BTreeMap<(Box<str>, Box<str>), Vec<Count>> = BTreeMap::new();
    for table in tables.iter().filter(|it| !it.kind().computed) {
        let of = table.kind();
        table.labels(|key, value, objects| {
            let count = Count { group: of.group, resource: of.names.plural, objects };
            out.entry((key.into(), value.into())).or_default().push(count);
        });
    }
    out
}
