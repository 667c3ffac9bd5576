//! The revision log on disk: one redb table from revision to record, and a head that says what the table must hold.
//!
//! In: batches of changes, and revisions to forget. Out: durability, and at start the map and its history. The log holds
//! each live key's last record, however old, and every record after the head's `oldest` revision; nothing else. One batch is
//! one redb transaction in one-phase commit, so one sync; the price is that after a crash redb reads the whole file once,
//! which opening does anyway to build the map. Damage shows in redb's page checksums, in the records' own, in the head's
//! count and digest, or against the file of acknowledged revisions: whatever redb makes of a broken file, the log as a
//! whole must come out as written.

use std::fs::{File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::disk::Disk;
use super::record::{self, Head};
use crate::mvcc::{Change, FIRST, Mvcc};
use crate::{Entry, Event, Revision};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const HEAD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("head");

/// redb's own cache. The map holds every value already, and the log is only appended to, so the pages near its end suffice.
const CACHE_BYTES: usize = 4 << 20;

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// No room; the log can be opened again when there is some.
    #[error("no room on the disk: {0}")]
    Full(String),
    /// The disk does not work: what it holds is known only after a restart.
    #[error("the disk fails: {0}")]
    Failed(String),
    #[error("{0}")]
    Damaged(String),
}

impl From<redb::Error> for LogError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            // What redb says of a file that is none of its own, or of tables that are not the ones we made.
            redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. } => Self::Damaged(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, InvalidData, QuotaExceeded, StorageFull, UnexpectedEof};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full(error.to_string()),
            // The file ends before its header says, or is not redb's.
            UnexpectedEof | InvalidData => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// What a batch does to the log.
#[derive(Debug)]
pub(crate) struct Append<'a> {
    pub changes: &'a [Change],
    /// Records that no revision from `oldest` on can see.
    pub forget: &'a [Revision],
    pub oldest: Revision,
}

/// The open log.
#[derive(Debug)]
pub(crate) struct RevisionLog {
    /// None only once it is closed.
    database: Option<Database>,
    head: Head,
}

impl RevisionLog {
    /// Opens the log at `path`, making it if `create`. Only the head is read; see [`Self::load`].
    pub fn open(path: &Path, create: bool, quota_bytes: &Arc<AtomicU64>) -> Result<Self, LogError> {
        // A log is made under another name and moved into place when whole: a crash on the way leaves no half of one.
        let making = making_path(path);
        let file_path = if create { &making } else { path };
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(create).open(file_path)?;
        if !create && file.metadata()?.len() == 0 {
            // redb would take an empty file for a new database.
            return Err(LogError::Damaged("it is empty".to_owned()));
        }
        // Set by redb if it had to repair the file, and so has looked at all of it.
        let repaired = Arc::new(AtomicBool::new(create));
        let database = guarded(|| {
            let mut builder = Database::builder();
            let repaired = repaired.clone();
            builder.set_cache_size(CACHE_BYTES).set_repair_callback(move |_| repaired.store(true, Ordering::Relaxed));
            Ok(builder.create_with_backend(Disk::new(file, quota_bytes.clone())).map_err(redb::Error::from)?)
        })?;
        let mut log = Self { database: Some(database), head: Head::new() };
        if !repaired.load(Ordering::Relaxed) {
            log.check_pages()?;
        }
        if create {
            log.append(&Append { changes: &[], forget: &[], oldest: log.head.oldest })?;
            std::fs::rename(&making, path)?;
            if let Some(dir) = path.parent() {
                File::open(dir)?.sync_all()?;
            }
        } else {
            log.head = guarded(|| read_head(log.database()?))?;
        }
        Ok(log)
    }

    /// After a clean end redb takes the list of its free pages as it finds it. Were that list damaged, the next commits would
    /// write over records that are still needed; so it is made anew, and what is repaired by that is no harm.
    fn check_pages(&mut self) -> Result<(), LogError> {
        let Some(database) = &mut self.database else { return Ok(()) };
        if !guarded(|| Ok(database.check_integrity().map_err(redb::Error::from)?))? {
            tracing::warn!("the store's file was not as it was left, and was repaired; its records are checked next");
        }
        Ok(())
    }

    fn database(&self) -> Result<&Database, LogError> {
        self.database.as_ref().ok_or_else(|| LogError::Failed("the log is closed".to_owned()))
    }

    pub fn head(&self) -> Head {
        self.head
    }

    /// Reads the whole log into a map, and checks that it is whole.
    pub fn load(&self) -> Result<Mvcc, LogError> {
        guarded(|| self.load_unguarded())
    }

    fn load_unguarded(&self) -> Result<Mvcc, LogError> {
        let head = self.head;
        if head.current < head.oldest {
            return Err(LogError::Damaged("the head of the log contradicts itself".to_owned()));
        }
        let mut mvcc = Mvcc::starting_at(head.oldest, head.oldest.max(FIRST));
        let mut sum = Head { records: 0, digest: 0, ..head };
        let transaction = self.database()?.begin_read().map_err(redb::Error::from)?;
        let table = transaction.open_table(RECORDS).map_err(redb::Error::from)?;
        for item in table.iter().map_err(redb::Error::from)? {
            let (revision, bytes) = item.map_err(redb::Error::from)?;
            let (revision, bytes) = (Revision(revision.value()), bytes.value());
            let record = record::read(revision, bytes)
                .map_err(|broken| LogError::Damaged(format!("the record of revision {revision}: {}", broken.0)))?;
            sum.add(record::digest(revision, bytes));
            restore(&mut mvcc, head, revision, record)?;
        }
        if sum != head || mvcc.current() != head.current {
            return Err(LogError::Damaged(format!(
                "the log should hold {} records up to revision {}, and holds {} up to {}, or others than were written",
                head.records,
                head.current,
                sum.records,
                mvcc.current()
            )));
        }
        Ok(mvcc)
    }

    /// Makes a batch durable as a whole, or not at all.
    pub fn append(&mut self, append: &Append<'_>) -> Result<(), LogError> {
        let head = self.head;
        self.head = guarded(|| append_unguarded(self.database()?, head, append))?;
        Ok(())
    }
}

/// Closes the file, whatever state a failed disk or a damaged file left redb in. The database is never dropped where redb may
/// be unwinding already: a second panic would end the process.
impl Drop for RevisionLog {
    fn drop(&mut self) {
        let database = self.database.take();
        let closed = guarded(|| {
            drop(database);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "the store's log was not closed cleanly");
        }
    }
}

/// Where a log stands while it is made.
fn making_path(path: &Path) -> PathBuf {
    path.with_extension("making")
}

fn append_unguarded(database: &Database, mut head: Head, append: &Append<'_>) -> Result<Head, LogError> {
    let mut transaction = database.begin_write().map_err(redb::Error::from)?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    {
        let mut records = transaction.open_table(RECORDS).map_err(redb::Error::from)?;
        for change in append.changes {
            let revision = change.event.revision;
            let mut place = records.insert_reserve(revision.0, record::len(change)).map_err(redb::Error::from)?;
            record::write(change, place.as_mut());
            head.add(record::digest(revision, place.as_mut()));
            head.current = revision;
        }
        for revision in append.forget {
            let gone = records.remove(revision.0).map_err(redb::Error::from)?;
            let gone =
                gone.ok_or_else(|| LogError::Damaged(format!("the record of revision {revision} is missing")))?;
            head.remove(record::digest(*revision, gone.value()));
        }
        head.oldest = append.oldest;
        let mut heads = transaction.open_table(HEAD).map_err(redb::Error::from)?;
        heads.insert((), head.to_bytes().as_slice()).map_err(redb::Error::from)?;
    }
    transaction.commit().map_err(redb::Error::from)?;
    Ok(head)
}

fn read_head(database: &Database) -> Result<Head, LogError> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let table = transaction.open_table(HEAD).map_err(redb::Error::from)?;
    let bytes = table.get(()).map_err(redb::Error::from)?;
    let bytes = bytes.ok_or_else(|| LogError::Damaged("the log has no head".to_owned()))?;
    Head::from_bytes(bytes.value()).map_err(|broken| LogError::Damaged(format!("the head of the log: {}", broken.0)))
}

/// Puts one record into the map under construction, if it fits.
fn restore(mvcc: &mut Mvcc, head: Head, revision: Revision, record: record::Record) -> Result<(), LogError> {
    let damaged = |what: &str| Err(LogError::Damaged(format!("the record of revision {revision} {what}")));
    let before = mvcc.get(&record.key).cloned();
    if record.created > revision || revision <= FIRST {
        return damaged("contradicts itself");
    }
    if revision <= head.oldest {
        let Some(value) = record.value.filter(|_| before.is_none()) else {
            return damaged("should be forgotten");
        };
        mvcc.restore(Entry { key: record.key, value, created: record.created, modified: revision });
        return Ok(());
    }
    if revision != mvcc.next() {
        return damaged("does not follow the one before");
    }
    if before.as_ref().map_or(revision, |entry| entry.created) != record.created {
        return damaged("does not follow what its key held before");
    }
    let event = Event { key: record.key, revision, created: before.is_none(), value: record.value };
    mvcc.apply(Change { event, created: record.created, before });
    Ok(())
}

/// redb may panic on pages that are not what it wrote, where it had no reason to doubt them. That is damage too, and must
/// not bring the process down.
fn guarded<T>(act: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(LogError::Damaged(format!("its pages contradict each other: {what}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's numbers of errors.
    const EIO: i32 = 5;
    const EFBIG: i32 = 27;
    const ENOSPC: i32 = 28;
    const EROFS: i32 = 30;
    const EDQUOT: i32 = 122;

    #[test]
    fn only_a_want_of_room_is_waited_out() {
        let kind = |number| match LogError::from(io::Error::from_raw_os_error(number)) {
            LogError::Full(_) => "full",
            LogError::Failed(_) => "failed",
            LogError::Damaged(_) => "damaged",
        };
        assert_eq!([ENOSPC, EDQUOT, EFBIG].map(kind), ["full"; 3]);
        assert_eq!([EIO, EROFS].map(kind), ["failed"; 2]);
    }
}
