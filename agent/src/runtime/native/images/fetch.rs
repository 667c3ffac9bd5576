//! One blob got from a registry: into a temporary file, counted and hashed on the way, put in its place when it is whole.
//!
//! A connection that breaks is made anew and goes on where the last ended, if the registry knows ranges.

use std::io::SeekFrom;
use std::time::Duration;

use futures::StreamExt;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::digest::Digest;
use super::fault::Fault;
use super::flight::{Flights, Piece};
use super::layout::Layout;
use super::manifest::Blob;
use super::progress::Progress;
use super::registry::Repository;

/// How often a blob is asked for before the pull gives up; the pod machine backs off and comes again.
const TRIES: u32 = 4;
/// The wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Written to the file at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Makes sure that a blob is here.
///
/// # Errors
/// When the registry does not give it or gives something else, or the disk is full. Nothing half-done is left.
pub async fn fetch(
    layout: &Layout,
    flights: &Flights,
    from: &Repository,
    blob: &Blob,
    progress: &Progress,
) -> Result<(), Fault> {
    let _turn = flights.turn(Piece::Blob, &blob.digest).await;
    let place = layout.blob(&blob.digest);
    match tokio::fs::metadata(&place).await {
        // What is under its name was verified before it came there.
        Ok(found) if found.len() == blob.size_bytes => return Ok(()),
        Ok(_) => {
            let text = format!("blob {} has not the {} bytes that the manifest says", blob.digest, blob.size_bytes);
            return Err(Fault::bad(text));
        }
        Err(_) => {}
    }
    let temporary = layout.temporary();
    let failed = |it| Fault::io(format!("write blob {}", blob.digest), it);
    // Not by tokio, which would make it on another thread, perhaps after a pull that is given up has cleaned up.
    let file = File::from_std(std::fs::File::create(temporary.path()).map_err(failed)?);
    let mut writing = Writing {
        file: BufWriter::with_capacity(BUFFER_BYTES, file),
        hash: Sha256::new(),
        bytes: 0,
        told: 0,
        blob,
        progress,
    };
    let mut wait = FIRST_WAIT;
    for attempt in 1.. {
        match writing.attempt(from).await {
            Ok(()) => break,
            Err(Fault::Lost(reason)) if attempt < TRIES => {
                tracing::debug!(blob = %blob.digest, bytes = writing.bytes, reason, "a blob is asked for again");
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            Err(fault) => return Err(fault),
        }
    }
    let Writing { mut file, hash, .. } = writing;
    file.flush().await.map_err(failed)?;
    let found = Digest::finish(hash);
    if found != blob.digest {
        return Err(Fault::bad(format!("the registry gave {found} for blob {}", blob.digest)));
    }
    file.get_ref().sync_all().await.map_err(failed)?;
    drop(file);
    tokio::task::spawn_blocking(move || temporary.rename(&place))
        .await
        .map_err(|it| Fault::bad(format!("writing a blob ended: {it}")))?
}

/// A blob on its way.
struct Writing<'a> {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    /// Bytes that were told as progress: a second beginning does not count twice.
    told: u64,
    blob: &'a Blob,
    progress: &'a Progress,
}

impl Writing<'_> {
    async fn attempt(&mut self, from: &Repository) -> Result<(), Fault> {
        let failed = |it| Fault::io(format!("write blob {}", self.blob.digest), it);
        if self.bytes == self.blob.size_bytes && self.bytes > 0 {
            return Ok(());
        }
        let (begins, mut stream) = from.blob(&self.blob.digest, self.bytes).await?;
        if begins != self.bytes {
            self.file.flush().await.map_err(failed)?;
            let file = self.file.get_mut();
            file.set_len(0).await.map_err(failed)?;
            file.seek(SeekFrom::Start(0)).await.map_err(failed)?;
            (self.hash, self.bytes) = (Sha256::new(), 0);
        }
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            self.bytes += chunk.len() as u64;
            if self.bytes > self.blob.size_bytes {
                let text = format!("blob {} has more than the {} bytes", self.blob.digest, self.blob.size_bytes);
                return Err(Fault::bad(format!("{text} that the manifest says")));
            }
            self.hash.update(&chunk);
            self.file.write_all(&chunk).await.map_err(failed)?;
            if self.bytes > self.told {
                self.progress.bytes(self.bytes - self.told);
                self.told = self.bytes;
            }
        }
        if self.bytes < self.blob.size_bytes {
            let text =
                format!("blob {} ended after {} of {} bytes", self.blob.digest, self.bytes, self.blob.size_bytes);
            return Err(Fault::Lost(text));
        }
        Ok(())
    }
}
