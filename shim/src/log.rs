//! A container's log in the CRI's format, `<RFC3339Nano> stdout|stderr F|P <text>`, in files that are moved aside when they are full.
//!
//! In: bytes as they come out of a pipe. Out: whole lines in a file. A disk that takes no more costs the log, never the container: what could
//! not be written is counted, and told in the log once there is room again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::record::LOG;

/// The longest text of a line, in bytes; a longer one is written in parts, all but the last marked `P`. As containerd has it.
const LINE_MAX_BYTES: usize = 16 << 10;

/// Which of a program's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn word(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// How much is gathered before it is written, in bytes: what one read brings, with the marks of its lines.
const PENDING_MAX_BYTES: usize = 64 << 10;

/// A container's log files.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    /// Length of the current file, in bytes.
    length: u64,
    max_bytes: u64,
    max_files: u32,
    /// Whole lines that are not written yet, and how many bytes of text are in them.
    pending: Vec<u8>,
    pending_text: u64,
    /// Bytes of text that could not be written, since the last line that could.
    lost_bytes: u64,
}

impl Log {
    /// The log in a container's folder, continued where it ends.
    pub fn new(container: &Path, max_bytes: u64, max_files: u32) -> Self {
        Self {
            path: container.join(LOG),
            file: None,
            length: 0,
            max_bytes: max_bytes.max(1),
            max_files: max_files.max(1),
            pending: Vec::new(),
            pending_text: 0,
            lost_bytes: 0,
        }
    }

    /// Takes in a line, or a part of one that is not its last; [`Self::flush`] writes it.
    fn line(&mut self, time: &str, stream: Stream, partial: bool, text: &[u8]) {
        let length = (time.len() + text.len() + 11) as u64;
        let written = self.length + self.pending.len() as u64;
        if written > 0 && written + length > self.max_bytes {
            self.flush();
            // Where it cannot be moved aside the file grows: better too long a log than none.
            let _ = self.rotate();
        }
        let mark = if partial { b" P " } else { b" F " };
        for part in [time.as_bytes(), b" ", stream.word().as_bytes(), mark, text, b"\n"] {
            self.pending.extend_from_slice(part);
        }
        self.pending_text += text.len() as u64;
        if self.pending.len() >= PENDING_MAX_BYTES {
            self.flush();
        }
    }

    /// Writes what was taken in, or counts it as lost.
    fn flush(&mut self) {
        let (pending, text) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.pending_text));
        if self.lost_bytes > 0 {
            let time = clock::rfc3339_nano(clock::now_ns());
            let lost = self.lost_bytes;
            let notice = format!("{time} stderr F [{lost} bytes of this log were lost: the disk took no more]\n");
            if self.append(notice.as_bytes()).is_ok() {
                self.lost_bytes = 0;
            }
        }
        if self.lost_bytes > 0 || self.append(&pending).is_err() {
            self.lost_bytes = self.lost_bytes.saturating_add(text);
        }
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
            self.length = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(lines) {
            // Half a line would garble the next one.
            if file.set_len(self.length).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let named = |n: u32| self.path.with_file_name(format!("{LOG}.{n}"));
        for n in (1..self.max_files).rev() {
            let from = if n == 1 { self.path.clone() } else { named(n - 1) };
            match fs::rename(from, named(n)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.max_files == 1 {
            fs::remove_file(&self.path)?;
        }
        self.file = None;
        self.length = 0;
        Ok(())
    }
}

/// Makes lines of what one stream brings.
#[derive(Debug)]
pub struct Lines {
    stream: Stream,
    begun: Vec<u8>,
}

impl Lines {
    /// Of a stream from its start.
    pub fn new(stream: Stream) -> Self {
        Self { stream, begun: Vec::new() }
    }

    /// Writes the lines that these bytes end, and keeps the rest.
    pub fn take(&mut self, mut bytes: &[u8], log: &mut Log) {
        let time = clock::rfc3339_nano(clock::now_ns());
        while !bytes.is_empty() {
            let room = LINE_MAX_BYTES - self.begun.len();
            let window = &bytes[..bytes.len().min(room)];
            let newline = memchr::memchr(b'\n', window);
            self.begun.extend_from_slice(&window[..newline.unwrap_or(window.len())]);
            bytes = &bytes[newline.map_or(window.len(), |it| it + 1)..];
            if newline.is_none() && self.begun.len() < LINE_MAX_BYTES {
                break;
            }
            // A line that is full and whose newline comes next is no part of anything.
            let ended = newline.is_some() || bytes.first() == Some(&b'\n');
            if newline.is_none() && ended {
                bytes = &bytes[1..];
            }
            log.line(&time, self.stream, !ended, &self.begun);
            self.begun.clear();
        }
        log.flush();
        if self.begun.is_empty() {
            // A long line is rare; its room is not kept in every shim for ever.
            self.begun = Vec::new();
        }
    }

    /// Writes what is left when the stream has ended: a line that never got its newline.
    pub fn end(&mut self, log: &mut Log) {
        if !self.begun.is_empty() {
            log.line(&clock::rfc3339_nano(clock::now_ns()), self.stream, true, &self.begun);
            log.flush();
            self.begun = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(folder: &Path, name: &str) -> Vec<String> {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.lines().map(|it| it.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn lines_are_told_from_parts() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new(folder.path(), 1 << 20, 5);
        let mut lines = Lines::new(Stream::Stdout);
        for piece in ["on", "e\ntwo\n\nthr"] {
            lines.take(piece.as_bytes(), &mut log);
        }
        lines.end(&mut log);
        Lines::new(Stream::Stderr).take(b"bad\n", &mut log);
        assert_eq!(
            texts(folder.path(), LOG),
            ["stdout F one", "stdout F two", "stdout F ", "stdout P thr", "stderr F bad"]
        );
    }

    #[test]
    fn a_long_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new(folder.path(), 1 << 20, 5);
        let mut lines = Lines::new(Stream::Stdout);
        let long = "a".repeat(LINE_MAX_BYTES);
        lines.take(format!("{long}\n{long}{long}b\n").as_bytes(), &mut log);
        let marks: Vec<_> = texts(folder.path(), LOG).iter().map(|it| (it[7..8].to_owned(), it.len() - 9)).collect();
        let part = ("P".to_owned(), LINE_MAX_BYTES);
        assert_eq!(marks, [("F".to_owned(), LINE_MAX_BYTES), part.clone(), part, ("F".to_owned(), 1)]);
    }

    #[test]
    fn full_files_are_moved_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new(folder.path(), 100, 3);
        let mut lines = Lines::new(Stream::Stdout);
        for n in 0..9 {
            lines.take(format!("line {n}\n").as_bytes(), &mut log);
        }
        let line = |it: usize| format!("stdout F line {it}");
        assert_eq!(texts(folder.path(), "log"), [line(8)]);
        assert_eq!(texts(folder.path(), "log.1"), [line(6), line(7)]);
        assert_eq!(texts(folder.path(), "log.2"), [line(4), line(5)]);
        assert!(!folder.path().join("log.3").exists());
    }

    #[test]
    fn what_a_full_disk_loses_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new(folder.path(), 1 << 20, 3);
        let mut lines = Lines::new(Stream::Stdout);
        for text in ["12345\n", "67\n8\n"] {
            // It cannot be cut to its length either, so the log opens its own file anew each time.
            log.file = Some(OpenOptions::new().append(true).open("/dev/full").unwrap());
            lines.take(text.as_bytes(), &mut log);
        }
        log.file = None;
        lines.take(b"back\n", &mut log);
        let notice = "stderr F [8 bytes of this log were lost: the disk took no more]";
        assert_eq!(texts(folder.path(), LOG), [notice, "stdout F back"]);
    }
}
