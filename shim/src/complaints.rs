//! What libcontainer complains of while it makes a container, also in the processes it forks, whose errors reach their parent as mere stages
//! (`failed to prepare rootfs`). They are written into a file in memory that all of them share, its place included.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::record::MESSAGE_MAX_BYTES;

/// How much of the complaints is read, in bytes.
const READ_MAX_BYTES: usize = 4 * MESSAGE_MAX_BYTES;

/// The complaints of this process and those that it forks.
#[derive(Debug)]
pub struct Complaints {
    file: File,
}

impl Complaints {
    /// From now on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hear() -> io::Result<Self> {
        let file = File::from(rustix::fs::memfd_create("complaints", MemfdFlags::CLOEXEC)?);
        let listener = Listener { file: file.try_clone()? };
        tracing::subscriber::set_global_default(listener).map_err(io::Error::other)?;
        Ok(Self { file })
    }

    /// The first of them, which is nearest to the cause.
    pub fn first(&self) -> Option<String> {
        let mut bytes = vec![0; READ_MAX_BYTES];
        let count = self.file.read_at(&mut bytes, 0).ok()?;
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        text.lines().next().map(str::to_owned).filter(|it| !it.is_empty())
    }
}

/// Hears errors alone.
struct Listener {
    file: File,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.is_event()
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let text = line.0.replace('\n', " ");
        let _ = (&self.file).write_all(format!("{text}\n").as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        // No span is enabled; this one is never entered.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A message and its fields as one line.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let comma = if self.0.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{comma}{value:?}"),
            name => write!(self.0, "{comma}{name}: {value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_kept_with_its_fields() {
        let complaints = Complaints::hear().unwrap();
        tracing::warn!("no matter");
        assert_eq!(complaints.first(), None);
        tracing::error!(path = "/x", "cannot {}", "mount");
        tracing::error!("so it failed");
        assert_eq!(complaints.first().as_deref(), Some("cannot mount, path: \"/x\""));
    }
}
