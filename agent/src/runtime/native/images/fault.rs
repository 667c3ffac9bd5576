//! What goes wrong in the image store, before it is told in the runtime's words.
//!
//! Inside the store one cause matters: whether the disk is full, whether the content is bad (it will be as bad the next time), or whether the
//! registry refused. [`Fault::pulling`] and [`Fault::storing`] turn it into a [`RuntimeError`] at the store's boundary.

use std::io;

use crate::runtime::RuntimeError;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The kernel refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        #[source]
        source: io::Error,
    },
    /// The disk (or the quota) is full.
    #[error("no space left on device: {0}")]
    Full(String),
    /// An image, a manifest or an archive is not what it has to be.
    #[error("{0}")]
    Bad(String),
    /// The registry does not answer or does not give it out; in the words that users know from Docker.
    #[error("{0}")]
    Registry(String),
    /// The registry is away, or an answer broke off: worth another try.
    #[error("{0}")]
    Lost(String),
    /// It took longer than it may.
    #[error("{0}")]
    Slow(String),
    /// Whoever asked is gone.
    #[error("canceled")]
    Canceled,
}

impl Fault {
    /// Content that is refused.
    pub fn bad(what: impl Into<String>) -> Self {
        Fault::Bad(what.into())
    }

    /// An error of the kernel's while doing `what`. A reader of ours may have put a fault inside: it comes out again.
    pub fn io(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let source: io::Error = error.into();
        if source.get_ref().is_some_and(|it| it.is::<Fault>()) {
            return match source.downcast::<Fault>() {
                Ok(fault) => fault,
                Err(source) => Fault::Io { what: what.into(), source },
            };
        }
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full(what.into()),
            _ => Fault::Io { what: what.into(), source },
        }
    }

    /// As the failure of a pull.
    pub fn pulling(self) -> RuntimeError {
        match self {
            Fault::Slow(what) => RuntimeError::Timeout(what),
            other => RuntimeError::ImagePull(other.to_string()),
        }
    }

    /// As the failure of anything else.
    pub fn storing(self) -> RuntimeError {
        match self {
            Fault::Slow(what) => RuntimeError::Timeout(what),
            other => RuntimeError::Other(other.to_string()),
        }
    }
}

/// For readers of ours, which can fail with more than the kernel knows.
impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        io::Error::other(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_passes_through_a_reader() {
        let check = |error: io::Error, expected: &str| {
            assert_eq!(Fault::io("write layer", error).to_string(), expected);
        };
        check(Fault::bad("too much").into(), "too much");
        check(io::Error::from_raw_os_error(libc::ENOSPC), "no space left on device: write layer");
        check(io::Error::from_raw_os_error(libc::EDQUOT), "no space left on device: write layer");
        check(io::Error::from_raw_os_error(libc::EIO), "write layer: Input/output error (os error 5)");
    }
}
