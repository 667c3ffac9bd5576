//! GET with `watch`: the changes of a kind's objects, as they happen.
//!
//! A watcher is a place in its table's ring, and a seat among those who wait for the same sort of events. It is woken at most once a batch, and
//! only when it may be concerned, copies the bytes of what happened since into one piece of the body, and sleeps again; there is no task
//! and no queue for it. One whom the ring has overtaken is told `410 Expired` and
//! ends, and lists anew. Bookmarks tell an idle watcher how far the cache is, so that it need not.

pub mod lines;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};
use orlop_api::table::Include;
use orlop_client::random;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::get::revision;
use super::list;
use crate::cache::{Cache, Object, Seat, Snapshot, Table};
use crate::convert;
use crate::core::Core;
use crate::present::body::BodyError;
use crate::present::{self, Body, Response};
use crate::request::accept::Encoding;
use crate::request::list_options;
use crate::request::selection::Selection;
use crate::stage::Authorized;
use crate::websocket;
use lines::Lines;

/// How long a watch lives that does not say: between 30 and 60 minutes, so that watches begun together end apart
/// (kube-apiserver's `--min-request-timeout` of 1,800 s, and as much again at most).
const LIFE_MIN: Duration = Duration::from_secs(1800);

/// How often a bookmark is sent, and how long before the end the last one is.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
const LAST_BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// How many bytes one piece of the body has before it is sent: four TLS records, some 45 events of 1.4 kB.
const PIECE_BYTES: usize = 64 << 10;

/// What a line has beside its object.
const LINE_BYTES: usize = 32;

/// How many events a webhook is asked about at once: all that a ring may hold.
const EVENTS_READY: usize = 10_000;

/// How many events are taken from the ring in one look.
const LOOK_EVENTS: usize = 128;

/// Counts a watch while it is open.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens a watch.
///
/// # Errors
/// `BadRequest` and `Invalid` for options without meaning. A revision that is too old is told in the stream, as Kubernetes does.
pub async fn watch(core: &Arc<Core>, it: &Authorized, kind: &'static Kind) -> status::Result<Response> {
    let request = it.request();
    list_options::check(&request.options)?;
    let options = &request.options;
    let table = core.cache.table(kind);
    let include = Include::parse(&options.include_object)?;
    let prefix = list::prefix(kind, request.object_namespace());
    let selection = request.selection.clone();
    let asked = match options.resource_version.as_str() {
        "" => 0,
        given => revision(given)?,
    };
    let synthetic = options.send_initial_events.unwrap_or(false);
    let mut watcher = Watcher {
        converts: convert::is_asked(kind).then(|| core.clone()),
        cache: core.cache.clone(),
        seat: table.join(selection.interest(kind, &prefix, table.prefix())),
        place: 0,
        known: 0,
        told: 0,
        initial: Vec::new().into_iter(),
        announce: None,
        refused: None,
        ending: false,
        lines: Lines::new(kind, table.kind(), &request.accept, include),
        prefix,
        selection,
        kind,
        bookmarks: options.bookmarks,
        next_bookmark: Instant::now() + random::jitter(BOOKMARK_INTERVAL, 0.1),
        end: Instant::now() + options.timeout.unwrap_or_else(|| random::jitter(LIFE_MIN, 1.0)),
        alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
        shutdown: core.draining.clone(),
        table,
        _open: {
            let count = core.cache.watcher_count();
            count.fetch_add(1, Ordering::Relaxed);
            Open(count)
        },
    };
    // Once the options are understood, failures are told in the stream, as Kubernetes does.
    let ready = match options.resource_version.as_str() {
        "" => core.catch_up().await,
        _ if synthetic && asked > 0 => core.cache.wait_for(asked).await,
        _ => Ok(()),
    };
    match ready {
        Err(status) => watcher.refused = Some(status),
        Ok(()) if synthetic => {
            // What is told is what was converted: both are of this moment.
            let complete = watcher.table.complete(core.cache.revision());
            let (snapshot, place) = watcher.table.snapshot_and_place();
            match watcher.ready_state(core, &snapshot).await {
                Ok(()) => watcher.begin_with_state(&snapshot, place, complete, options.bookmarks),
                Err(status) => watcher.refused = Some(status),
            }
        }
        Ok(()) => watcher.begin_after(if asked == 0 { watcher.table.complete(core.cache.revision()) } else { asked }),
    }
    watcher.set_alarm();
    let pieces = futures::stream::unfold(watcher, |mut watcher| async {
        let piece = watcher.next().await?;
        Some((Ok(piece), watcher))
    });
    let protobuf = request.accept.encoding == Encoding::Protobuf;
    if websocket::is_asked(&request.headers) {
        let messages = pieces.flat_map(move |piece: Result<Bytes, BodyError>| {
            futures::stream::iter(piece.map_or_else(|_| Vec::new(), |it| lines::apart(&it, protobuf)))
        });
        return websocket::serve(request, messages, !protobuf);
    }
    let content_type = if protobuf { "application/vnd.kubernetes.protobuf;stream=watch" } else { "application/json" };
    let mut response = present::with_type(StatusCode::OK, content_type, Bytes::new());
    *response.body_mut() = Body::pieces(pieces);
    Ok(response)
}

/// One open watch.
struct Watcher {
    /// What a webhook is found by, where one makes the forms of the objects.
    converts: Option<Arc<Core>>,
    cache: Arc<Cache>,
    table: Arc<Table>,
    seat: Seat,
    /// The first event in the ring that has not been told.
    place: u64,
    /// Events up to this revision the client knows from where it began.
    known: u64,
    /// Everything up to this revision has been told.
    told: u64,
    /// The state that is told first, as `ADDED` events.
    initial: std::vec::IntoIter<Arc<Object>>,
    /// The revision of that state, if its end is to be told by a bookmark.
    announce: Option<u64>,
    /// Why the watch cannot begin.
    refused: Option<Status>,
    ending: bool,
    lines: Lines,
    prefix: String,
    selection: Selection,
    kind: &'static Kind,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    /// Goes off at the next bookmark or at the end.
    alarm: Pin<Box<Sleep>>,
    shutdown: CancellationToken,
    _open: Open,
}

impl Watcher {
    /// Begins with everything there is, and goes on from there.
    fn begin_with_state(&mut self, snapshot: &Snapshot, place: u64, complete: u64, announce: bool) {
        let kind = self.kind;
        let meant = snapshot.range(&self.prefix, None).map(|it| it.served_as(kind));
        let meant: Vec<Arc<Object>> = meant.filter(|it| self.selection.matches(kind, it)).collect();
        self.initial = meant.into_iter();
        self.place = place;
        self.known = complete.max(snapshot.revision);
        self.told = self.known;
        self.announce = announce.then_some(self.known);
    }

    /// Begins with what happened after a revision.
    fn begin_after(&mut self, revision: u64) {
        self.known = revision;
        self.told = revision;
        match self.table.place_after(revision) {
            Ok(place) => self.place = place,
            Err(oldest) => self.refused = Some(Status::too_old(revision, oldest)),
        }
    }

    fn set_alarm(&mut self) {
        let last = self.end.checked_sub(LAST_BOOKMARK_BEFORE_END).unwrap_or(self.end);
        let mut at = self.end;
        if self.bookmarks {
            at = at.min(self.next_bookmark);
            if Instant::now() < last {
                at = at.min(last);
            }
        }
        self.alarm.as_mut().reset(at);
    }

    /// The next piece of the body; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ending {
            return None;
        }
        let mut out = Vec::new();
        if let Some(status) = self.refused.take() {
            self.ending = true;
            self.lines.error(&mut out, &status);
            return Some(out.into());
        }
        if self.tell_state(&mut out) {
            return Some(out.into());
        }
        loop {
            // Marked as seen before the look, so that what comes after it wakes us again.
            self.seat.mark();
            let complete = self.table.complete(self.cache.revision());
            let until = match self.ready_events().await {
                Ok(until) => until,
                Err(status) => {
                    self.ending = true;
                    self.lines.error(&mut out, &status);
                    return Some(out.into());
                }
            };
            match self.tell_events(&mut out, until.place) {
                Told::All if !until.is_end => {
                    if out.is_empty() {
                        continue;
                    }
                }
                Told::All => self.told = self.told.max(complete),
                Told::Some => {}
                Told::Overtaken => {
                    self.ending = true;
                    let oldest = self.table.place_after(0).err().unwrap_or_default();
                    self.lines.error(&mut out, &Status::too_old(self.told, oldest));
                }
            }
            if !out.is_empty() {
                return Some(out.into());
            }
            if self.table.is_closed() {
                return None;
            }
            tokio::select! {
                more = self.seat.changed() => if !more { return None },
                () = self.shutdown.cancelled() => return None,
                () = self.alarm.as_mut() => {
                    let now = Instant::now();
                    if now >= self.end {
                        return None;
                    }
                    self.next_bookmark = now + BOOKMARK_INTERVAL;
                    self.set_alarm();
                    if self.bookmarks {
                        self.lines.bookmark(&mut out, self.told, false);
                        return Some(out.into());
                    }
                }
            }
        }
    }

    /// Has the forms made of what is there at the beginning, where a webhook has to make them.
    async fn ready_state(&self, core: &Core, snapshot: &Snapshot) -> status::Result<()> {
        // A state without what cannot be read would not be the state.
        let mut unreadable = self.table.unreadable(&self.prefix, None, None);
        while let Some(key) = unreadable {
            list::readable(core, self.kind, &key).await?;
            unreadable = self.table.unreadable(&self.prefix, Some(&key), None);
        }
        let Some(core) = &self.converts else { return Ok(()) };
        let objects: Vec<Arc<Object>> = snapshot.range(&self.prefix, None).cloned().collect();
        convert::ready(core, self.kind, objects.iter()).await
    }

    /// The same, of what is told next: gives up to where that is.
    async fn ready_events(&self) -> status::Result<Until> {
        let Some(core) = &self.converts else { return Ok(Until { place: u64::MAX, is_end: true }) };
        let Some(look) = self.table.look(&self.seat, self.place, EVENTS_READY) else {
            return Ok(Until { place: self.place, is_end: true });
        };
        let until = Until { place: look.next, is_end: look.events.len() < EVENTS_READY };
        let both = look.events.iter().flat_map(|(_, it)| it.old.iter().chain(&it.new));
        let objects: Vec<Arc<Object>> = both.cloned().collect();
        convert::ready(core, self.kind, objects.iter()).await?;
        Ok(until)
    }

    /// Tells of the objects that were there at the beginning; false once they all are told.
    fn tell_state(&mut self, out: &mut Vec<u8>) -> bool {
        while out.len() < PIECE_BYTES {
            match self.initial.next() {
                Some(object) => self.lines.added(out, &object),
                None => {
                    if let Some(revision) = self.announce.take() {
                        self.lines.bookmark(out, revision, true);
                    }
                    break;
                }
            }
        }
        !out.is_empty()
    }

    /// Tells of events up to a place, until a piece is full or nothing is left.
    fn tell_events(&mut self, out: &mut Vec<u8>, until: u64) -> Told {
        loop {
            let Some(look) = self.table.look(&self.seat, self.place, LOOK_EVENTS) else { return Told::Overtaken };
            if look.events.is_empty() {
                self.place = look.next;
                return Told::All;
            }
            let seen = look.events.len();
            for (place, event) in look.events {
                if place >= until {
                    return Told::All;
                }
                if out.len() >= PIECE_BYTES {
                    return Told::Some;
                }
                self.place = place + 1;
                if event.revision <= self.known {
                    continue;
                }
                self.told = self.told.max(event.revision.saturating_sub(1));
                let Some(object) = event.new.as_ref().or(event.old.as_ref()) else { continue };
                if object.key.starts_with(&self.prefix) {
                    if out.is_empty() {
                        // As if all had its size: a piece that grows as it is written is copied several times.
                        out.reserve((seen * (object.json.len() + LINE_BYTES)).min(PIECE_BYTES));
                    }
                    self.lines.event(out, &event, &self.selection);
                }
            }
            self.place = look.next;
        }
    }
}

/// Up to which place of the ring everything is ready to be told.
struct Until {
    place: u64,
    /// Whether that was all there was.
    is_end: bool,
}

/// How far a look at the ring came.
enum Told {
    All,
    Some,
    /// The ring has forgotten what comes next.
    Overtaken,
}
