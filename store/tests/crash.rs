//! Crashes of the embedded engine: no acknowledged write is lost, and no damage passes in silence.
//!
//! `killed_at_random_moments` runs this same test binary as a child that commits under load and prints what was
//! acknowledged; the parent kills it, opens the store and compares. The other tests damage the files of a store that was
//! left in various ways. All randomness comes from a seed that is printed; `ORLOP_CRASH_SEED` sets it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use orlop_store::embedded::Embedded;
use orlop_store::{Commit, Expect, Revision, Store, StoreError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How often the child is killed, and how long it lives. 200 lives of 85 ms on average, two stores at a time, with their
/// checks, take some 20 s.
const LIVES: usize = 200;
const LIFE_MS: std::ops::Range<u64> = 20..150;
/// After so many lives a store begins anew, so that the check of all its keys stays short.
const LIVES_PER_STORE: usize = 10;
const COMMITTERS: usize = 8;
const KEYS_PER_COMMITTER: u64 = 20;

/// Set for the child: the directory of its store.
const CHILD_DIR: &str = "ORLOP_CRASH_CHILD_DIR";

fn seed() -> u64 {
    let given = std::env::var("ORLOP_CRASH_SEED").ok().map(|text| text.parse().expect("the seed is a number"));
    let seed = given.unwrap_or_else(|| rand::rng().random());
    println!("ORLOP_CRASH_SEED={seed}");
    seed
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// What a key holds: the revision it was last written at and the value, none if it was deleted.
type Held = BTreeMap<String, (u64, Option<String>)>;

/// Commits until it is killed, and says `revision key value` of each commit once it is acknowledged.
async fn child(dir: &Path) {
    let store = Arc::new(Embedded::open(dir).expect("the store opens"));
    println!("open");
    // What each committer has printed. History is kept from the least of them on, so that whatever took effect without
    // being printed can be found there.
    let printed: Arc<[AtomicU64; COMMITTERS]> = Arc::default();
    let mut committers = tokio::task::JoinSet::new();
    for committer in 0..COMMITTERS {
        let (store, printed) = (store.clone(), printed.clone());
        committers.spawn(async move {
            let mut rng = StdRng::seed_from_u64(u64::from(std::process::id()) << 8 | committer as u64);
            loop {
                let key = format!("/crash/{committer}/{}", rng.random_range(0..KEYS_PER_COMMITTER));
                let (standing, _) = store.get(&key).await.expect("get");
                let deletes = standing.is_some() && rng.random_ratio(1, 5);
                let expect = standing.map_or(Expect::Absent, |entry| Expect::At(entry.modified));
                let value = (!deletes).then(|| {
                    let fill = "x".repeat(rng.random_range(0..3000));
                    format!("{}-{fill}", rng.random::<u32>())
                });
                let commit = Commit { key: key.as_str().into(), expect, value: value.clone().map(Bytes::from) };
                let revision = store.commit(commit).await.expect("the commit succeeds");
                let line = format!("{revision} {key} {}\n", value.as_deref().unwrap_or("gone"));
                // One write a line, so that lines of several threads do not mix.
                std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
                printed[committer].store(revision.0, Ordering::SeqCst);
                let least = printed.iter().map(|printed| printed.load(Ordering::SeqCst)).min().unwrap_or(0);
                if rng.random_ratio(1, 100) {
                    store.compact(Revision(least)).await.expect("compaction");
                }
            }
        });
    }
    committers.join_all().await;
}

/// Not a test of its own: what the child runs. Without its directory in the environment it has nothing to do.
#[test]
fn crash_child() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        runtime().block_on(child(&PathBuf::from(dir)));
    }
}

/// One life of a child: what it acknowledged before it was killed.
fn live_and_die(dir: &Path, life: Duration) -> Vec<(u64, String, Option<String>)> {
    let binary = std::env::current_exe().expect("this binary");
    let mut process = Command::new(binary)
        .args(["crash_child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let output = BufReader::new(process.stdout.take().expect("its output"));
    let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).collect::<Vec<_>>());
    std::thread::sleep(life);
    process.kill().expect("the child can be killed");
    process.wait().expect("the child has ended");
    let lines = reader.join().expect("its output was read");
    let acknowledged = lines.iter().filter_map(|line| {
        let (revision, rest) = line.split_once(' ')?;
        let (key, value) = rest.split_once(' ')?;
        let revision = revision.parse().ok()?;
        Some((revision, key.to_owned(), (value != "gone").then(|| value.to_owned())))
    });
    acknowledged.collect()
}

/// Everything acknowledged is there: each key holds what was last acknowledged of it, or something later. Says where the
/// store stands and what it holds, which from then on must be kept as well.
async fn check_held(dir: &Path, held: &Held, context: &str) -> Result<(u64, Held), StoreError> {
    let store = Embedded::open(dir)?;
    let page = store.range("/crash/", None, 0, None).await?;
    let found: BTreeMap<_, _> = page.entries.iter().map(|entry| (&*entry.key, entry)).collect();
    for (key, (revision, value)) in held {
        match (found.get(key.as_str()), value) {
            (Some(entry), Some(value)) if entry.modified.0 == *revision => {
                assert_eq!(entry.value, value.as_bytes(), "{context}: {key} holds another value");
            }
            (Some(entry), _) => {
                assert!(entry.modified.0 > *revision, "{context}: {key} is older than what was acknowledged");
            }
            (None, None) => {}
            // Deleted by a commit that took effect but was not acknowledged: then the history says so.
            (None, Some(_)) => assert!(
                deleted_after(&store, key, *revision).await,
                "{context}: {key}, acknowledged at revision {revision}, is gone"
            ),
        }
    }
    let last = held.values().map(|(revision, _)| *revision).max().unwrap_or(0);
    assert!(page.revision.0 >= last, "{context}: the store went back from {last} to {}", page.revision);
    let standing = page.entries.iter().map(|entry| {
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        (entry.key.to_string(), (entry.modified.0, Some(value)))
    });
    Ok((page.revision.0, standing.collect()))
}

async fn deleted_after(store: &Embedded, key: &str, revision: u64) -> bool {
    let current = store.revision().await.expect("the revision");
    let mut at = Revision(revision);
    let mut watch = match store.watch(key, at).await {
        // Only what all committers had printed is compacted; the unprinted came later.
        Err(StoreError::Compacted { oldest, .. }) => {
            at = oldest;
            store.watch(key, at).await.expect("a watch from the oldest revision")
        }
        other => other.expect("a watch"),
    };
    while at < current {
        let batch = watch.next().await.expect("the watch goes on").expect("the watch does not fail");
        if batch.events.iter().any(|event| event.value.is_none()) {
            return true;
        }
        at = batch.revision;
    }
    false
}

/// Lives `lives` lives over one store, checking after each.
fn lives(runtime: &tokio::runtime::Runtime, dir: &Path, rng: &mut StdRng, lives: usize) -> usize {
    let mut held = Held::new();
    let mut reached = 0;
    let mut count = 0;
    for life in 0..lives {
        for (revision, key, value) in live_and_die(dir, Duration::from_millis(rng.random_range(LIFE_MS))) {
            assert!(revision > reached, "revision {revision} was given again, after {reached}");
            count += 1;
            if held.get(&key).is_none_or(|(before, _)| *before < revision) {
                held.insert(key, (revision, value));
            }
        }
        let context = format!("after life {life}");
        (reached, held) =
            runtime.block_on(check_held(dir, &held, &context)).unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    count
}

#[test]
fn killed_at_random_moments() {
    let seed = seed();
    let count: usize = std::thread::scope(|scope| {
        let halves: Vec<_> = (0..2)
            .map(|half| {
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(half));
                    let runtime = runtime();
                    let stores = LIVES / LIVES_PER_STORE / 2;
                    (0..stores)
                        .map(|_| {
                            let dir = tempfile::tempdir().expect("a temporary directory");
                            lives(&runtime, dir.path(), &mut rng, LIVES_PER_STORE)
                        })
                        .sum::<usize>()
                })
            })
            .collect();
        halves.into_iter().map(|half| half.join().expect("no life lost a write")).sum()
    });
    println!("{LIVES} lives acknowledged {count} commits");
    assert!(count > LIVES, "the children hardly committed: {count}");
}

/// A store that was killed under load, and what it had acknowledged.
fn killed_store(runtime: &tokio::runtime::Runtime) -> (tempfile::TempDir, Held) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut held = Held::new();
    while held.is_empty() {
        for (revision, key, value) in live_and_die(dir.path(), Duration::from_millis(300)) {
            if held.get(&key).is_none_or(|(before, _)| *before < revision) {
                held.insert(key, (revision, value));
            }
        }
    }
    // The damage is done to a copy of what the kill left; this only makes sure that nothing was wrong before.
    let copy = copy_of(dir.path());
    runtime.block_on(check_held(copy.path(), &held, "before the damage")).expect("the store opens before the damage");
    (dir, held)
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for entry in std::fs::read_dir(dir).expect("the directory") {
        let entry = entry.expect("its entry");
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("a copy");
    }
    copy
}

/// Damages copies of a store in `rounds` ways; each either still holds everything, or is called damaged.
fn damage(rounds: usize, clean: bool, mut how: impl FnMut(&mut Vec<u8>, &mut StdRng) -> String) {
    let mut rng = StdRng::seed_from_u64(seed());
    let runtime = runtime();
    let (dir, held) = killed_store(&runtime);
    if clean {
        // A clean end makes redb trust its file at the next start; then the log's own checks stand alone.
        drop(Embedded::open(dir.path()).expect("the store opens"));
    }
    let mut named = 0;
    for round in 0..rounds {
        let copy = copy_of(dir.path());
        let file = copy.path().join("revisions.redb");
        let mut bytes = std::fs::read(&file).expect("the file");
        let context = format!("round {round}: {}", how(&mut bytes, &mut rng));
        std::fs::write(&file, bytes).expect("the damaged file");
        match runtime.block_on(check_held(copy.path(), &held, &context)) {
            Ok((_, held)) => runtime.block_on(write_on(copy.path(), held, &context)),
            Err(StoreError::Damaged(what)) => {
                assert!(what.contains("revisions.redb"), "{context}: the file is not named: {what}");
                named += 1;
            }
            Err(other) => panic!("{context}: {other}"),
        }
    }
    println!("{named} of {rounds} damages were named, the others did no harm");
    assert!(named > 0, "none of {rounds} damages did any harm: the test hits nothing");
}

/// A damaged store that opened must also bear being written to: nothing it holds may be written over.
async fn write_on(dir: &Path, mut held: Held, context: &str) {
    let store = Embedded::open(dir).expect("the store opens");
    for n in 0..50 {
        let (key, value) = (format!("/crash/on/{n}"), format!("{n}").repeat(500));
        let commit =
            Commit { key: key.as_str().into(), expect: Expect::Absent, value: Some(Bytes::from(value.clone())) };
        match store.commit(commit).await {
            Ok(revision) => drop(held.insert(key, (revision.0, Some(value)))),
            Err(StoreError::Unavailable { .. } | StoreError::Damaged(_)) => break,
            Err(error) => panic!("{context}: {error}"),
        }
    }
    drop(store);
    check_held(dir, &held, context).await.unwrap_or_else(|error| panic!("{context}: after more commits: {error}"));
}

fn cut_tail(bytes: &mut Vec<u8>, rng: &mut StdRng) -> String {
    let keep =
        if rng.random_ratio(1, 3) { bytes.len() - rng.random_range(1..4096) } else { rng.random_range(0..bytes.len()) };
    bytes.truncate(keep);
    format!("cut to {keep} bytes")
}

fn overwrite_tail(bytes: &mut [u8], rng: &mut StdRng) -> String {
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    // Half of the time a few pages, which may be free ones; else up to a half of the file.
    let most = if rng.random_bool(0.5) { 16_384 } else { used / 2 };
    let count = rng.random_range(1..most).min(used);
    rng.fill(&mut bytes[used - count..used]);
    format!("the last {count} used bytes, before {used}, overwritten")
}

fn overwrite_middle(bytes: &mut [u8], rng: &mut StdRng) -> String {
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let places = rng.random_range(1..8);
    let mut text = String::from("overwritten at");
    for _ in 0..places {
        let at = rng.random_range(0..used);
        let count = rng.random_range(1..64).min(used - at);
        rng.fill(&mut bytes[at..at + count]);
        text += &format!(" {at}+{count}");
    }
    text
}

#[test]
fn the_tail_is_cut_off() {
    damage(20, false, cut_tail);
}

#[test]
fn the_tail_is_cut_off_after_a_clean_end() {
    damage(20, true, cut_tail);
}

#[test]
fn the_tail_is_overwritten() {
    damage(20, false, |bytes, rng| overwrite_tail(bytes, rng));
}

#[test]
fn the_middle_is_overwritten() {
    damage(80, false, |bytes, rng| overwrite_middle(bytes, rng));
}

#[test]
fn the_middle_is_overwritten_after_a_clean_end() {
    damage(80, true, |bytes, rng| overwrite_middle(bytes, rng));
}

#[test]
fn a_file_is_gone_or_of_another_time() {
    let runtime = runtime();
    let (dir, held) = killed_store(&runtime);
    let damaged = |copy: &Path, context: &str| match runtime.block_on(check_held(copy, &held, context)) {
        Err(StoreError::Damaged(what)) => what,
        other => panic!("{context}: {other:?}"),
    };
    for name in ["revisions.redb", "acknowledged"] {
        let copy = copy_of(dir.path());
        std::fs::remove_file(copy.path().join(name)).expect("the file can be removed");
        assert!(damaged(copy.path(), "one file is gone").contains(name));
        let copy = copy_of(dir.path());
        std::fs::write(copy.path().join(name), b"").expect("the file can be emptied");
        assert!(damaged(copy.path(), "one file is empty").contains(name));
    }
    // An older state of the log alone, as a careless restore would leave it.
    let older = copy_of(dir.path());
    live_and_die(dir.path(), Duration::from_millis(300));
    std::fs::copy(dir.path().join("acknowledged"), older.path().join("acknowledged")).expect("a copy");
    assert!(damaged(older.path(), "an older log").contains("was acknowledged"));
}
