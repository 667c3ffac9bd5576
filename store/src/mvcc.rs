//! The revisioned map: what every key holds now, and enough history to say what it held before.
//!
//! In: commits to decide, changes to apply, revisions to forget. Out: entries, pages, events. Live entries stand in an
//! ordered map whose snapshots are free; the history is a ring of changes, each with what it replaced, so that the map at an
//! earlier revision is the map now with the later changes undone. A value is held once: the map, the ring and every reader
//! share its bytes. Revisions have no gaps: the ring's n-th change is revision `oldest + 1 + n`.
//!
//! Pure: it knows no clock, no lock, no disk and no watcher.

use std::collections::{BTreeMap, VecDeque};
use std::mem::size_of;
use std::ops::Bound;

use imbl::OrdMap;

use crate::{Commit, Entry, Event, Expect, Key, Page, Revision, StoreError};

/// The revision of an empty store. As in etcd it is 1: Kubernetes gives resourceVersion 0 a meaning of its own, so no list
/// may ever be taken there.
pub(crate) const FIRST: Revision = Revision(1);

/// One write, with what it replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub event: Event,
    /// When the key written came to be; the change's own revision if it did not stand before.
    pub created: Revision,
    pub before: Option<Entry>,
}

impl Change {
    /// What stands under the key after this change.
    pub fn entry(&self) -> Option<Entry> {
        let value = self.event.value.clone()?;
        Some(Entry { key: self.event.key.clone(), value, created: self.created, modified: self.event.revision })
    }

    /// What history pays for this change: its slot in the ring, its key and its value, though the value may be shared with
    /// the map. An upper bound that needs no look at the map.
    pub fn cost_bytes(&self) -> usize {
        size_of::<Self>() + self.event.key.len() + self.event.value.as_ref().map_or(0, |value| value.len())
    }
}

/// What a commit comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Write(Change),
    /// The deletion of what was expected to be absent, and is.
    Nothing,
}

/// Decides one commit against what stands under its key; `next` is the revision it would take.
pub(crate) fn decide(commit: Commit, standing: Option<&Entry>, next: Revision) -> Result<Decision, StoreError> {
    let as_expected = match (commit.expect, standing) {
        (Expect::Absent, None) => true,
        (Expect::At(revision), Some(entry)) => entry.modified == revision,
        (Expect::Absent, Some(_)) | (Expect::At(_), None) => false,
    };
    if !as_expected {
        return Err(StoreError::Mismatch { current: standing.cloned() });
    }
    if standing.is_none() && commit.value.is_none() {
        return Ok(Decision::Nothing);
    }
    let event = Event { key: commit.key, revision: next, created: standing.is_none(), value: commit.value };
    let created = standing.map_or(next, |entry| entry.created);
    Ok(Decision::Write(Change { event, created, before: standing.cloned() }))
}

/// The map and its history.
#[derive(Debug)]
pub(crate) struct Mvcc {
    live: OrdMap<Key, Entry>,
    history: VecDeque<Change>,
    history_bytes: usize,
    /// The oldest revision that can still be seen; `history` holds the changes after it.
    oldest: Revision,
    current: Revision,
}

impl Mvcc {
    pub fn new() -> Self {
        Self::starting_at(Revision(0), FIRST)
    }

    /// An empty map that stands at `current` and has forgotten what was before `oldest`.
    pub fn starting_at(oldest: Revision, current: Revision) -> Self {
        // Revisions up to FIRST carry no change, so the ring begins after it at the earliest.
        Self { live: OrdMap::new(), history: VecDeque::new(), history_bytes: 0, oldest, current }
    }

    pub fn current(&self) -> Revision {
        self.current
    }

    pub fn oldest(&self) -> Revision {
        self.oldest
    }

    pub fn next(&self) -> Revision {
        Revision(self.current.0 + 1)
    }

    #[cfg(test)]
    pub fn history_bytes(&self) -> usize {
        self.history_bytes
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.live.get(key)
    }

    /// Applies a change decided against this very state.
    pub fn apply(&mut self, change: Change) {
        debug_assert_eq!(change.event.revision, self.next(), "revisions have no gaps");
        self.current = change.event.revision;
        match change.entry() {
            Some(entry) => drop(self.live.insert(entry.key.clone(), entry)),
            None => drop(self.live.remove(&*change.event.key)),
        }
        self.history_bytes += change.cost_bytes();
        self.history.push_back(change);
    }

    /// Puts a live entry in place that was written before history begins. For building the map anew at start.
    pub fn restore(&mut self, entry: Entry) {
        self.live.insert(entry.key.clone(), entry);
    }

    /// Forgets the changes up to and including `before`; the ones forgotten come back, oldest first.
    pub fn compact(&mut self, before: Revision) -> Vec<Change> {
        let before = before.min(self.current);
        if before <= self.oldest {
            return Vec::new();
        }
        let count = self.position_after(before);
        let gone: Vec<_> = self.history.drain(..count).collect();
        self.history_bytes -= gone.iter().map(Change::cost_bytes).sum::<usize>();
        self.oldest = before;
        gone
    }

    /// The revision to compact to so that history, with `more_bytes` to come, takes at most `limit_bytes`; if it already
    /// does, none. It frees `slack_bytes` more than needed, so that forgetting comes in portions and not with every write.
    pub fn trim_point(&self, more_bytes: usize, limit_bytes: usize, slack_bytes: usize) -> Option<Revision> {
        if self.history_bytes + more_bytes <= limit_bytes {
            return None;
        }
        let excess = (self.history_bytes + more_bytes - limit_bytes).saturating_add(slack_bytes);
        let mut freed = 0;
        let mut trim_to = None;
        for change in &self.history {
            if freed >= excess {
                break;
            }
            freed += change.cost_bytes();
            trim_to = Some(change.event.revision);
        }
        trim_to
    }

    /// The changes after `oldest` up to and including `before`: those that [`Self::compact`] would forget.
    pub fn changes_to(&self, before: Revision) -> impl Iterator<Item = &Change> {
        self.history.iter().take(self.position_after(before.min(self.current)))
    }

    /// At most `scan` changes after `after`: the events among them under `prefix`, and the revision looked up to.
    pub fn events_after(
        &self,
        prefix: &str,
        after: Revision,
        scan: usize,
    ) -> Result<(Vec<Event>, Revision), StoreError> {
        self.check_seen(after)?;
        let start = self.position_after(after);
        let end = self.history.len().min(start + scan);
        let mut seen_to = after;
        let mut events = Vec::new();
        for change in self.history.range(start..end) {
            seen_to = change.event.revision;
            if change.event.key.starts_with(prefix) {
                events.push(change.event.clone());
            }
        }
        if end == self.history.len() {
            seen_to = self.current;
        }
        Ok((events, seen_to))
    }

    /// What a range at revision `at` (none: now) has to look at; taken quickly, read at leisure without the lock.
    pub fn view(&self, prefix: &str, at: Option<Revision>) -> Result<View, StoreError> {
        let revision = at.unwrap_or(self.current);
        self.check_seen(revision)?;
        let mut undone = BTreeMap::new();
        for change in self.history.range(self.position_after(revision)..) {
            if change.event.key.starts_with(prefix) {
                // The first change after the revision is the one that replaced what stood then.
                undone.entry(change.event.key.clone()).or_insert_with(|| change.before.clone());
            }
        }
        Ok(View { live: self.live.clone(), undone, revision })
    }

    fn check_seen(&self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.current {
            return Err(StoreError::Future { asked: revision, current: self.current });
        }
        if revision < self.oldest {
            return Err(StoreError::Compacted { asked: revision, oldest: self.oldest });
        }
        Ok(())
    }

    /// Where in the ring the changes after `revision` begin.
    fn position_after(&self, revision: Revision) -> usize {
        let first = self.history.front().map_or(self.next(), |change| change.event.revision);
        usize::try_from((revision.0 + 1).saturating_sub(first.0)).unwrap_or(usize::MAX).min(self.history.len())
    }
}

/// The keys under a prefix at one revision.
#[derive(Debug)]
pub(crate) struct View {
    live: OrdMap<Key, Entry>,
    /// What the keys changed since then held at that revision.
    undone: BTreeMap<Key, Option<Entry>>,
    revision: Revision,
}

impl View {
    /// At most `limit` entries (0: all) under `prefix` after the key `after`.
    pub fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Page {
        let from: Bound<&str> = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut live = self
            .live
            .range::<_, str>((from, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(|entry| entry.key.starts_with(prefix))
            .filter(|entry| self.undone.is_empty() || !self.undone.contains_key(&entry.key))
            .peekable();
        let mut undone =
            self.undone.range::<str, _>((from, Bound::Unbounded)).filter_map(|(_, entry)| entry.as_ref()).peekable();
        let mut page = Page { entries: Vec::new(), revision: self.revision, more: false };
        loop {
            let undone_first = match (live.peek(), undone.peek()) {
                (None, None) => return page,
                (Some(live), Some(undone)) => undone.key < live.key,
                (live, _) => live.is_none(),
            };
            if limit != 0 && page.entries.len() == limit {
                page.more = true;
                return page;
            }
            page.entries.extend(if undone_first { undone.next() } else { live.next() }.cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use std::sync::Arc;

    use super::*;

    /// `put a=1`, `del a`: written into a map one after another, from revision 2 on.
    fn map(script: &[&str]) -> Mvcc {
        let mut mvcc = Mvcc::new();
        for line in script {
            let (key, value) = line.split_once('=').map_or((*line, None), |(key, value)| (key, Some(value)));
            let expect = mvcc.get(key).map_or(Expect::Absent, |entry| Expect::At(entry.modified));
            let commit = Commit { key: Arc::from(key), expect, value: value.map(|v| Bytes::from(v.to_owned())) };
            match decide(commit, mvcc.get(key), mvcc.next()).unwrap() {
                Decision::Write(change) => mvcc.apply(change),
                Decision::Nothing => {}
            }
        }
        mvcc
    }

    fn text(page: &Page) -> String {
        let mut text: Vec<_> = page
            .entries
            .iter()
            .map(|e| format!("{}={}@{}/{}", e.key, String::from_utf8_lossy(&e.value), e.created, e.modified))
            .collect();
        text.extend(page.more.then(|| "…".to_owned()));
        text.join(" ")
    }

    #[track_caller]
    fn check(mvcc: &Mvcc, at: u64, after: Option<&str>, limit: usize, expected: &str) {
        let page = mvcc.view("/p/", Some(Revision(at))).map(|view| view.page("/p/", after, limit));
        match page {
            Ok(page) => assert_eq!(text(&page), expected),
            Err(error) => assert_eq!(error.to_string(), expected),
        }
    }

    #[test]
    fn ranges_show_the_map_as_it_was() {
        let mut mvcc = map(&["/p/a=1", "/p/c=1", "/q/x=1", "/p/b=1", "/p/a=2", "/p/c", "/p/c=3", "/p"]);
        check(&mvcc, 1, None, 0, "");
        check(&mvcc, 3, None, 0, "/p/a=1@2/2 /p/c=1@3/3");
        check(&mvcc, 5, None, 0, "/p/a=1@2/2 /p/b=1@5/5 /p/c=1@3/3");
        check(&mvcc, 5, None, 2, "/p/a=1@2/2 /p/b=1@5/5 …");
        check(&mvcc, 5, Some("/p/b"), 2, "/p/c=1@3/3");
        check(&mvcc, 7, Some("/a"), 0, "/p/a=2@2/6 /p/b=1@5/5");
        check(&mvcc, 8, None, 3, "/p/a=2@2/6 /p/b=1@5/5 /p/c=3@8/8");
        check(&mvcc, 9, None, 0, "revision 9 is in the future; the store is at 8");
        let gone = mvcc.compact(Revision(6));
        assert_eq!(gone.len(), 5);
        check(&mvcc, 5, None, 0, "revision 5 is compacted away; the oldest kept is 6");
        check(&mvcc, 6, None, 0, "/p/a=2@2/6 /p/b=1@5/5 /p/c=1@3/3");
        assert!(mvcc.compact(Revision(4)).is_empty());
    }

    #[test]
    fn events_come_in_portions_that_cover_every_revision() {
        let mvcc = map(&["/p/a=1", "/q/a=1", "/q/b=1", "/p/a"]);
        let (events, to) = mvcc.events_after("/p/", Revision(1), 2).unwrap();
        assert_eq!((events.len(), to), (1, Revision(3)));
        assert!(events[0].created);
        let (events, to) = mvcc.events_after("/p/", to, 2).unwrap();
        assert_eq!((events.len(), to), (1, Revision(5)));
        assert!(events[0].value.is_none() && !events[0].created);
        assert_eq!(mvcc.events_after("/p/", to, 2).unwrap(), (Vec::new(), Revision(5)));
    }

    #[test]
    fn trimming_frees_what_was_asked_and_counts_right() {
        let mut mvcc = map(&["/p/a=1", "/p/b=1", "/p/c=1", "/p/d=1"]);
        let each = mvcc.history_bytes() / 4;
        assert_eq!(mvcc.trim_point(each, each * 5, 0), None);
        assert_eq!(mvcc.trim_point(each, each * 4, 0), Some(Revision(2)));
        assert_eq!(mvcc.trim_point(each, each * 4, each), Some(Revision(3)));
        mvcc.compact(Revision(5));
        assert_eq!((mvcc.history_bytes(), mvcc.oldest()), (0, Revision(5)));
        assert_eq!(mvcc.view("/", None).unwrap().page("/", None, 0).entries.len(), 4);
    }
}
