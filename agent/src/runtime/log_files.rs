//! A container's log as files in a folder, in the CRI's format: the newest is `log`, older ones are `log.1` and so on.
//!
//! They are read as they are written, through their being moved aside. Who follows is woken by the kernel when the folder changes. When a log has
//! ended only its runtime knows. Source: `k8s.io/cri-client/pkg/logs`.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::LogChunk;

/// The newest file.
pub const LOG: &str = "log";

/// One read, in bytes.
const READ_BYTES: usize = 64 << 10;

/// The longest line in a file, in bytes: 16 KiB of text and its marks, with room to spare. A longer one is not of the shim's making, and lost.
const LINE_MAX_BYTES: usize = 64 << 10;

/// One read of what has changed, in bytes: some hundred events.
const EVENTS_BYTES: usize = 4 << 10;

/// Files of one log that are looked for; more than any limit sets.
const FILES_MAX: u32 = 1000;

/// Reads away from the threads that must not wait for a disk.
pub async fn blocking<T: Send + 'static>(
    mut reader: Reader,
    work: impl FnOnce(&mut Reader) -> io::Result<T> + Send + 'static,
) -> io::Result<(Reader, T)> {
    let done = tokio::task::spawn_blocking(move || work(&mut reader).map(|it| (reader, it))).await;
    done.map_err(io::Error::other)?
}

/// What the kernel tells of a folder, as a file to read: it is no pipe, but behaves as one.
pub fn watch(folder: &Path) -> io::Result<Receiver> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let flags =
        AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVE | AddWatchFlags::IN_DELETE_SELF;
    inotify.add_watch(folder, flags)?;
    Receiver::from_owned_fd_unchecked(inotify.into())
}

/// Waits until something in the folder has changed; what it was, the files show.
pub async fn changed(watch: &mut Receiver) -> io::Result<()> {
    let mut events = [0; EVENTS_BYTES];
    watch.read(&mut events).await.map(drop)
}

/// The files of a log, read from the oldest to the newest.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    current: Option<(File, u64)>,
    /// A newer file is there, so that the current one grows no more.
    last_of_it: bool,
    /// What has been read and is no whole line yet.
    begun: Vec<u8>,
    /// Lines to pass over.
    skip: u64,
}

impl Reader {
    /// Of the files in a folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, current: None, last_of_it: false, begun: Vec::new(), skip: 0 }
    }

    /// The files that there are, opened, the newest first, with their inodes.
    fn files(&self) -> Vec<(File, u64)> {
        let mut found: Vec<(File, u64)> = Vec::new();
        let mut missing = 0;
        for n in 0..FILES_MAX {
            let name = if n == 0 { LOG.to_owned() } else { format!("{LOG}.{n}") };
            let opened = File::open(self.folder.join(name)).and_then(|it| Ok((it.metadata()?.ino(), it)));
            match opened {
                // One that was met under its old name and was moved on meanwhile.
                Ok((inode, _)) if found.last().is_some_and(|it| it.1 == inode) => {}
                Ok((inode, file)) => found.push((file, inode)),
                // While they are being moved aside, one name at a time is free.
                Err(_) if missing == 0 => missing += 1,
                Err(_) => break,
            }
        }
        found
    }

    /// Leaves all but the last lines out.
    pub fn skip_to(&mut self, tail: u64) -> io::Result<()> {
        let mut lines = 0;
        for (mut file, inode) in self.files() {
            lines += count_lines(&mut file)?;
            file.rewind()?;
            self.current = Some((file, inode));
            if lines >= tail {
                break;
            }
        }
        self.skip = lines.saturating_sub(tail);
        Ok(())
    }

    /// Some more lines; none if all is read that is there.
    pub fn next(&mut self) -> io::Result<Option<Vec<LogChunk>>> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let Some((file, inode)) = &mut self.current else {
                let Some(oldest) = self.files().pop() else { return Ok(None) };
                self.current = Some(oldest);
                continue;
            };
            let count = file.read(&mut buffer)?;
            if count > 0 {
                self.begun.extend_from_slice(&buffer[..count]);
                return Ok(Some(self.take_lines()));
            }
            let inode = *inode;
            let mut files = self.files();
            let newer = match files.iter().position(|it| it.1 == inode) {
                Some(0) => None,
                Some(at) => Some(files.swap_remove(at - 1)),
                // It was the oldest and is gone.
                None => files.pop(),
            };
            let Some(newer) = newer else { return Ok(None) };
            if self.last_of_it {
                self.current = Some(newer);
                self.begun.clear();
            }
            // Between the read that found nothing and the move something may have been written: one read more.
            self.last_of_it = !self.last_of_it;
        }
    }

    fn take_lines(&mut self) -> Vec<LogChunk> {
        let mut lines = Vec::new();
        let mut from = 0;
        while let Some(length) = self.begun[from..].iter().position(|it| *it == b'\n') {
            let line = &self.begun[from..from + length];
            from += length + 1;
            if self.skip > 0 {
                self.skip -= 1;
            } else {
                lines.extend(parse(line));
            }
        }
        self.begun.drain(..from);
        if self.begun.len() > LINE_MAX_BYTES {
            self.begun.clear();
        }
        lines
    }
}

fn count_lines(file: &mut File) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut lines = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(lines),
            count => lines += buffer[..count].iter().filter(|it| **it == b'\n').count() as u64,
        }
    }
}

/// A line of the CRI's format; none if it is not one. A part that does not end its line gets no newline.
fn parse(line: &[u8]) -> Option<LogChunk> {
    let mut fields = line.splitn(4, |it| *it == b' ');
    let time: Timestamp = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let stderr = fields.next()? == b"stderr";
    let partial = fields.next()?.starts_with(b"P");
    let mut text = fields.next()?.to_vec();
    if !partial {
        text.push(b'\n');
    }
    Some(LogChunk { time, stderr, bytes: Bytes::from(text) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn lines(of: std::ops::Range<u32>) -> String {
        of.map(|it| format!("2026-01-02T03:04:05.{it:09}Z stdout F line {it}\n")).collect()
    }

    fn all(reader: &mut Reader) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(it) = reader.next().unwrap() {
            found.extend(it.into_iter().map(|it| String::from_utf8_lossy(&it.bytes).trim_end().to_owned()));
        }
        found
    }

    #[test]
    fn lines_are_parsed() {
        let check = |line: &str, expected: Option<(bool, &str)>| {
            let parsed = parse(line.as_bytes()).map(|it| (it.stderr, String::from_utf8(it.bytes.to_vec()).unwrap()));
            assert_eq!(parsed, expected.map(|(stderr, text)| (stderr, text.to_owned())), "{line}");
        };
        check("2026-01-02T03:04:05.000000006Z stderr F a b  c", Some((true, "a b  c\n")));
        check("2026-01-02T03:04:05.000000006Z stdout P part", Some((false, "part")));
        check("2026-01-02T03:04:05.000000006Z stdout F ", Some((false, "\n")));
        check("nonsense", None);
        check("", None);
    }

    #[test]
    fn files_are_read_in_order_and_through_their_being_moved() {
        let folder = tempfile::tempdir().unwrap();
        let path = |it: &str| folder.path().join(it);
        fs::write(path("log.1"), lines(0..2)).unwrap();
        fs::write(path("log"), lines(2..4)).unwrap();
        let mut reader = Reader::new(folder.path().to_owned());
        assert_eq!(all(&mut reader), ["line 0", "line 1", "line 2", "line 3"]);
        // Written after it was read to its end, and then moved, twice.
        let mut old = File::options().append(true).open(path("log")).unwrap();
        io::Write::write_all(&mut old, lines(4..5).as_bytes()).unwrap();
        fs::rename(path("log.1"), path("log.2")).unwrap();
        fs::rename(path("log"), path("log.1")).unwrap();
        fs::write(path("log"), lines(5..6)).unwrap();
        fs::rename(path("log.2"), path("log.3")).unwrap();
        fs::rename(path("log.1"), path("log.2")).unwrap();
        fs::rename(path("log"), path("log.1")).unwrap();
        fs::write(path("log"), lines(6..7)).unwrap();
        assert_eq!(all(&mut reader), ["line 4", "line 5", "line 6"]);
    }

    #[test]
    fn tails_reach_into_older_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("log.1"), lines(0..5)).unwrap();
        fs::write(folder.path().join("log"), lines(5..7)).unwrap();
        let check = |tail: u64, first: u32| {
            let mut reader = Reader::new(folder.path().to_owned());
            reader.skip_to(tail).unwrap();
            assert_eq!(all(&mut reader).len(), (7 - first) as usize, "{tail}");
        };
        check(0, 7);
        check(1, 6);
        check(4, 3);
        check(100, 0);
    }
}
