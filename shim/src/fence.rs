//! The fence that outlives the agent: a pod whose node has had no contact with the API server for too long ends, so that it may run elsewhere.
//!
//! The agent writes into a file in memory when it last had contact, and its shims hold that file: one write for all pods of a node. A shim reads it only when
//! the pod would have to end by what it read last. Times are since the boot of the machine, which nobody can set. Deciding is not done elsewhere; killing is.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The length of the file: a number of milliseconds with its zeros, and the end of the line.
pub const STAMP_BYTES: usize = 21;

/// What a container says whose pod was ended.
pub const MESSAGE: &str =
    "the node had no contact with the API server for too long, and its agent did not end the pod (--fence-after)";

/// A time as the file has it.
pub fn stamp(since_boot: Duration) -> [u8; STAMP_BYTES] {
    let millis = u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX);
    let mut bytes = [b'\n'; STAMP_BYTES];
    bytes[..STAMP_BYTES - 1].copy_from_slice(format!("{millis:020}").as_bytes());
    bytes
}

/// The time of a file; none where there is none in it.
fn read(bytes: &[u8; STAMP_BYTES]) -> Option<Duration> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    text.parse().ok().map(Duration::from_millis)
}

/// What one pod's shim knows of the contact.
#[derive(Debug)]
pub struct Fence {
    file: File,
    after: Duration,
    /// The last contact that is known.
    contact: Duration,
}

impl Fence {
    /// With the file of an agent, at `now`. `before` is what was known by the file of the agent before it: an agent that has yet to reach the API server
    /// does not set the time back to the beginning.
    pub fn new(file: OwnedFd, after: Duration, before: Option<&Fence>, now: Duration) -> Self {
        let mut fence = Self { file: File::from(file), after, contact: Duration::ZERO };
        fence.look();
        let known = before.map_or(now, |it| it.contact);
        if fence.contact.is_zero() || before.is_some() {
            fence.contact = fence.contact.max(known);
        }
        fence
    }

    /// How long the pod may go on, as far as is known at `now`; none where its time is over.
    pub fn left(&mut self, now: Duration) -> Option<Duration> {
        self.look();
        (self.contact + self.after).checked_sub(now).filter(|it| !it.is_zero())
    }

    fn look(&mut self) {
        let mut bytes = [0; STAMP_BYTES];
        if self.file.read_exact_at(&mut bytes, 0).is_ok()
            && let Some(it) = read(&bytes)
        {
            self.contact = self.contact.max(it);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn file() -> (File, impl Fn() -> OwnedFd) {
        let file = tempfile::tempfile().unwrap();
        let other = file.try_clone().unwrap();
        (file, move || other.try_clone().unwrap().into())
    }

    fn note(mut file: &File, seconds: u32) {
        file.write_all_at(&stamp(seconds * SECOND), 0).unwrap();
        file.flush().unwrap();
    }

    #[test]
    fn a_pod_goes_on_while_there_is_contact() {
        let (file, handed) = file();
        note(&file, 100);
        let mut fence = Fence::new(handed(), 6 * SECOND, None, 102 * SECOND);
        assert_eq!(fence.left(103 * SECOND), Some(3 * SECOND));
        note(&file, 104);
        assert_eq!(fence.left(106 * SECOND), Some(4 * SECOND));
        assert_eq!(fence.left(110 * SECOND), None);
        assert_eq!(fence.left(200 * SECOND), None);
    }

    #[test]
    fn an_agent_that_comes_back_without_contact_gains_no_time() {
        let (file_of_first, first) = file();
        note(&file_of_first, 100);
        let fence = Fence::new(first(), 6 * SECOND, None, 100 * SECOND);
        let (file_of_second, second) = file();
        note(&file_of_second, 0);
        let mut fence = Fence::new(second(), 6 * SECOND, Some(&fence), 105 * SECOND);
        assert_eq!(fence.left(105 * SECOND), Some(SECOND));
        note(&file_of_second, 106);
        assert_eq!(fence.left(106 * SECOND), Some(6 * SECOND));
        // Nothing was known before: it counts from now.
        let (_empty, third) = super::tests::file();
        assert_eq!(Fence::new(third(), 6 * SECOND, None, 50 * SECOND).left(51 * SECOND), Some(5 * SECOND));
    }
}
