//! An informer: lists a kind, then watches it, and keeps a [`Store`] that is always a little behind and never wrong.
//!
//! In: a client and what to watch. Out: the store, with indexes and changes. It resumes at the last resource version
//! after a lost connection, lists anew and tells the difference when that version is too old (410), and waits ever
//! longer between failures. It never gives up: a component without its server waits for it.
//!
//! One task runs one informer. What it does is the state machine [`State`], advanced by one `step` at a time.

mod source;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use kube::core::WatchEvent;
use kube::core::params::{ListParams, WatchParams};
use tokio_util::sync::CancellationToken;

pub use self::source::Source;
pub use self::store::{Change, Store, Subscription};
use crate::{queue, random, view::View};

/// Objects a page of a list: with 3 kB each, a page is 1.5 MB.
const PAGE: u32 = 500;
/// How long one page may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the server may take to begin a watch.
const WATCH_OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a watch runs before it is opened anew, in seconds; up to half is added at random, so that after a restart of
/// the server its clients do not return at one moment for ever after.
const WATCH_SECONDS: u64 = 240;
/// How long past its time a watch may stay open before its connection counts as dead.
const WATCH_GRACE: Duration = Duration::from_secs(10);
/// After this many failures the delay has reached its limit.
const FAILURES_MOST: u32 = 32;

/// What an informer has done since its start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Complete lists.
    pub lists: AtomicU64,
    /// Lists made because a version was too old.
    pub relists: AtomicU64,
    /// Watches opened.
    pub watches: AtomicU64,
    /// Changes taken.
    pub events: AtomicU64,
    /// Failed requests and broken streams.
    pub failures: AtomicU64,
    /// Objects that could not be decoded; each is logged as an error.
    pub undecodable: AtomicU64,
}

/// Lists and watches one kind into a [`Store`].
pub struct Informer<V: View> {
    client: kube::Client,
    source: Source,
    store: Store<V>,
    stats: Arc<Stats>,
}

type Events<V> = BoxStream<'static, kube::Result<WatchEvent<Held<V>>>>;

/// Where an informer stands.
enum State<V: View> {
    /// Nothing is known, or what is known cannot be continued. Next: ask for the first page.
    Empty,
    /// Some pages have arrived. Next: ask for the page that `token` names.
    Listing { objects: Vec<V>, token: String },
    /// The store shows the cluster as it was at `revision`. Next: open a watch from there.
    Listed { revision: String },
    /// A watch is open; `revision` is the last one heard of. Next: wait for an event.
    Watching { revision: String, events: Events<V>, until: tokio::time::Instant },
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The version or the token asked for is no longer kept.
    #[error("the version is too old")]
    Expired,
    #[error("{0}")]
    Request(#[source] kube::Error),
    #[error("the answer is no list: {0}")]
    Malformed(#[source] serde_json::Error),
    #[error("the server did not answer in time")]
    Late,
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 410 => Failure::Expired,
            _ => Failure::Request(error),
        }
    }
}

/// An object on its way from the stream. `kube` asks stream items to be `Clone`; views need not be.
struct Held<V>(Arc<parking_lot::Mutex<Option<V>>>);

impl<V> Clone for Held<V> {
    fn clone(&self) -> Self {
        Held(self.0.clone())
    }
}

impl<'de, V: serde::Deserialize<'de>> serde::Deserialize<'de> for Held<V> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        V::deserialize(deserializer).map(|it| Held(Arc::new(parking_lot::Mutex::new(Some(it)))))
    }
}

impl<V> Held<V> {
    fn take(self) -> Option<V> {
        self.0.lock().take()
    }
}

impl<V: View + kube::Resource<DynamicType = ()>> Informer<V> {
    /// An informer of all objects of the kind of `V`.
    pub fn new(client: kube::Client) -> Self {
        Informer::of(client, Source::all::<V>())
    }
}

impl<V: View> Informer<V> {
    /// An informer of what `source` names.
    pub fn of(client: kube::Client, source: Source) -> Self {
        Informer { client, source, store: Store::new(), stats: Arc::default() }
    }

    /// Only objects with these labels.
    pub fn labels(mut self, selector: &str) -> Self {
        self.source.labels = Some(selector.to_owned());
        self
    }

    /// Only objects with these fields.
    pub fn fields(mut self, selector: &str) -> Self {
        self.source.fields = Some(selector.to_owned());
        self
    }

    /// Adds an index: objects are found by each of the values that `of` gives for them. See [`Store::by_index`].
    pub fn index(self, name: &'static str, of: impl Fn(&V) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.store.add_index(name, of);
        self
    }

    /// Keeps the objects in `store` instead of in a new one.
    pub fn into_store(mut self, store: Store<V>) -> Self {
        self.store = store;
        self
    }

    /// Where the objects are kept; usable before the informer runs.
    pub fn store(&self) -> Store<V> {
        self.store.clone()
    }

    /// What the informer has done.
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// Runs in a task of its own until `shutdown`.
    pub fn start(self, shutdown: CancellationToken) -> Store<V> {
        let store = self.store();
        tokio::spawn(self.run(shutdown));
        store
    }

    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.run_for_ever()).await;
    }

    async fn run_for_ever(self) {
        let mut state = State::Empty;
        let mut failures: u32 = 0;
        loop {
            let watching = matches!(state, State::Watching { .. });
            let (next, result) = self.step(state).await;
            state = next;
            match result {
                Ok(()) => {
                    // An event proves that the server is well; a list or an opened watch does not yet.
                    if watching {
                        failures = 0;
                    }
                }
                Err(failure) => {
                    self.stats.failures.fetch_add(1, Relaxed);
                    failures = (failures + 1).min(FAILURES_MOST);
                    let delay = random::jitter(queue::backoff(failures + RETRY_HEAD_START).min(RETRY_MOST), 0.5);
                    tracing::warn!(path = %self.source.path, %failure, ?delay, "watching failed; trying again");
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    /// One step: one request, or one event. A failure leaves the state from which to try again.
    fn step(&self, state: State<V>) -> BoxFuture<'_, (State<V>, Result<(), Failure>)> {
        Box::pin(async move {
            match state {
                State::Empty => self.list(Vec::new(), None).await,
                State::Listing { objects, token } => self.list(objects, Some(token)).await,
                State::Listed { revision } => match self.open(&revision).await {
                    Ok((events, until)) => (State::Watching { revision, events, until }, Ok(())),
                    Err(Failure::Expired) => (self.relist(), Ok(())),
                    Err(failure) => (State::Listed { revision }, Err(failure)),
                },
                State::Watching { revision, mut events, until } => {
                    match tokio::time::timeout_at(until, events.next()).await {
                        // The server ends a watch when its time is over. Nothing is lost: it goes on at the revision.
                        Ok(None) => (State::Listed { revision }, Ok(())),
                        Ok(Some(event)) => match self.take(event) {
                            Ok(newer) => {
                                let revision = newer.unwrap_or(revision);
                                (State::Watching { revision, events, until }, Ok(()))
                            }
                            Err(Failure::Expired) => (self.relist(), Ok(())),
                            Err(failure @ Failure::Malformed(_)) => (State::Empty, Err(failure)),
                            Err(failure) => (State::Listed { revision }, Err(failure)),
                        },
                        Err(_) => (State::Listed { revision }, Err(Failure::Late)),
                    }
                }
            }
        })
    }

    fn relist(&self) -> State<V> {
        self.stats.relists.fetch_add(1, Relaxed);
        State::Empty
    }

    async fn list(&self, mut objects: Vec<V>, token: Option<String>) -> (State<V>, Result<(), Failure>) {
        let params = ListParams {
            label_selector: self.source.labels.clone(),
            field_selector: self.source.fields.clone(),
            limit: Some(PAGE),
            continue_token: token.clone(),
            ..ListParams::default()
        };
        let page = match self.page(&params).await {
            Ok(page) => page,
            // The token outlived the history: begin again, now.
            Err(Failure::Expired) => return (self.relist(), Ok(())),
            Err(failure) => {
                let state = token.map_or(State::Empty, |token| State::Listing { objects, token });
                return (state, Err(failure));
            }
        };
        objects.extend(page.objects);
        match page.token {
            Some(token) => (State::Listing { objects, token }, Ok(())),
            None => {
                self.stats.lists.fetch_add(1, Relaxed);
                self.store.replace(objects, &page.revision);
                (State::Listed { revision: page.revision }, Ok(()))
            }
        }
    }

    async fn page(&self, params: &ListParams) -> Result<source::Page<V>, Failure> {
        let request = self.source.list(params)?;
        let answer = tokio::time::timeout(LIST_TIMEOUT, self.client.request_text(request)).await;
        let text = answer.map_err(|_| Failure::Late)??;
        let mut page = source::Page::<V>::parse(&text, &self.stats.undecodable).map_err(Failure::Malformed)?;
        page.objects.iter_mut().for_each(View::slim);
        Ok(page)
    }

    async fn open(&self, revision: &str) -> Result<(Events<V>, tokio::time::Instant), Failure> {
        let seconds = WATCH_SECONDS + random::below(WATCH_SECONDS / 2);
        let params = WatchParams {
            label_selector: self.source.labels.clone(),
            field_selector: self.source.fields.clone(),
            timeout: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
            bookmarks: true,
            send_initial_events: false,
        };
        let request = self.source.watch(&params, revision)?;
        let opening = self.client.request_events::<Held<V>>(request);
        let events = tokio::time::timeout(WATCH_OPEN_TIMEOUT, opening).await.map_err(|_| Failure::Late)??;
        self.stats.watches.fetch_add(1, Relaxed);
        let until = tokio::time::Instant::now() + Duration::from_secs(seconds) + WATCH_GRACE;
        Ok((events.boxed(), until))
    }

    /// Puts an event into the store; gives the revision to go on at, where the event names one.
    fn take(&self, event: kube::Result<WatchEvent<Held<V>>>) -> Result<Option<String>, Failure> {
        let (held, gone) = match event {
            Ok(WatchEvent::Added(held) | WatchEvent::Modified(held)) => (held, false),
            Ok(WatchEvent::Deleted(held)) => (held, true),
            Ok(WatchEvent::Bookmark(bookmark)) => {
                self.store.note_revision(&bookmark.metadata.resource_version);
                return Ok(Some(bookmark.metadata.resource_version));
            }
            Ok(WatchEvent::Error(status)) => return Err(kube::Error::Api(status).into()),
            Err(kube::Error::SerdeError(error)) => {
                // The event cannot be skipped, as nobody would know which object is stale: list anew.
                self.stats.undecodable.fetch_add(1, Relaxed);
                tracing::error!(path = %self.source.path, %error, "an event cannot be decoded");
                return Err(Failure::Malformed(error));
            }
            Err(error) => return Err(error.into()),
        };
        let Some(mut object) = held.take() else { return Ok(None) };
        object.slim();
        self.stats.events.fetch_add(1, Relaxed);
        let revision = object.revision().to_owned();
        if gone {
            self.store.delete(object)
        } else {
            self.store.apply(object)
        };
        Ok(Some(revision))
    }
}

/// The longest delay between two attempts: for as long after an outage components act on what they knew before.
const RETRY_MOST: Duration = Duration::from_secs(2);
/// Requests are retried no earlier than queue::backoff's sixth delay, 160 ms: a server that restarts takes that long.
const RETRY_HEAD_START: u32 = 5;
