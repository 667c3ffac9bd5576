//! What somebody who is attached to a container hears: a copy of one of its outputs, from when the attachment began.
//!
//! A client that reads slowly holds the container up once [`WAITING_MAX_BYTES`] wait for it, as a terminal would; one that does not read at all is left
//! after [`PATIENCE`], so that it cannot stop the container for good. The log has everything whatever becomes of the copies.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::container::nonblocking;
use crate::log::Stream;

/// How much of an output may wait for a client before the container is held up, in bytes.
const WAITING_MAX_BYTES: usize = 64 << 10;

/// How long a client may take nothing of what waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A copy of one output for one client.
#[derive(Debug)]
pub struct Tap {
    /// Who is attached.
    pub session: u64,
    pub stream: Stream,
    /// The writing end of the client's pipe.
    pub file: File,
    waiting: Vec<u8>,
    /// Since when nothing of it was taken.
    since: Option<Instant>,
}

impl Tap {
    /// Copies into a pipe.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(session: u64, stream: Stream, pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self { session, stream, file: nonblocking(pipe)?, waiting: Vec::new(), since: None })
    }

    /// Takes in what the container has written.
    pub fn take(&mut self, bytes: &[u8], now: Instant) {
        self.waiting.extend_from_slice(bytes);
        // A client that is gone is noticed where its pipe is polled.
        let _ = self.send(now);
    }

    /// Sends what waits, as far as the client takes it.
    ///
    /// # Errors
    /// The client is gone.
    pub fn send(&mut self, now: Instant) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.file.write(&self.waiting) {
                Ok(count) => {
                    self.waiting.drain(..count);
                    self.since = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.since.get_or_insert(now);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.since = None;
        self.waiting = Vec::new();
        Ok(())
    }

    /// Whether something waits to be sent.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the container is to be held up.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX_BYTES
    }

    /// When the client is left, if it goes on taking nothing.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.and_then(|it| it.checked_add(PATIENCE))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use super::*;
    use crate::clock;

    #[test]
    fn a_slow_client_is_waited_for_and_one_that_is_gone_is_noticed() {
        let (reading, writing) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut tap = Tap::new(1, Stream::Stdout, writing).unwrap();
        let now = clock::monotonic();
        tap.take(b"first ", now);
        assert!(!tap.is_waiting() && tap.deadline().is_none());
        // More than a pipe holds and than may wait.
        let much = vec![b'x'; 3 * WAITING_MAX_BYTES];
        tap.take(&much, now);
        assert!(tap.is_full());
        assert_eq!(tap.deadline(), now.checked_add(PATIENCE));
        let mut reading = nonblocking(reading).unwrap();
        let mut heard = Vec::new();
        while tap.is_waiting() {
            let _ = reading.read_to_end(&mut heard);
            tap.send(now).unwrap();
        }
        let _ = reading.read_to_end(&mut heard);
        assert_eq!((heard.len(), &heard[..6]), (much.len() + 6, b"first ".as_slice()));
        assert_eq!(tap.deadline(), None);
        drop(reading);
        tap.take(b"nobody", now);
        assert!(tap.send(now).is_err());
    }
}
