//! The file that redb keeps its pages in, with a bound on its size.
//!
//! In: pages to read and write. Out: bytes, or the error of the file system. The bound is the store's quota: what would pass
//! it is refused just as a full disk refuses it. Locking is not done here; the data directory has a lock of its own that
//! outlives a reopening of the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;

/// How large the store's file may become: etcd's advised maximum for its own (`--quota-backend-bytes`). Beyond it the map
/// would not fit into the memory of the machines this is for anyway.
pub(crate) const STORE_BYTES_MAX: u64 = 8 << 30;

/// A file of at most `quota_bytes`.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    quota_bytes: Arc<AtomicU64>,
}

impl Disk {
    pub fn new(file: File, quota_bytes: Arc<AtomicU64>) -> Self {
        Self { file, quota_bytes }
    }

    fn check_quota(&self, end: u64) -> io::Result<()> {
        let quota_bytes = self.quota_bytes.load(Ordering::Relaxed);
        if end > quota_bytes {
            let reason = format!("the store may not grow beyond {quota_bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::StorageFull, reason));
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_quota(len)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Final whatever its reason, no room among them (a thin disk says so only here): the pages that were not written are
        // taken for clean from then on, so that reading them back would not tell.
        self.file.sync_data().map_err(|error| io::Error::other(format!("its sync failed: {error}")))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_quota(offset.saturating_add(data.len() as u64))?;
        self.file.write_all_at(data, offset)
    }
}
