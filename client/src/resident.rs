//! The pages of the program's own file: those that were not touched for ten seconds are given back.
//!
//! The kernel maps a program page by page as it is touched, sixteen around each touch, and unmaps none until memory is short: a process is charged for good with the
//! code that read its arguments, made its certificates or started a hundred pods. [`keep_small`] lets all of it go every ten seconds. What is in use is mapped
//! again from the page cache, in one to two milliseconds all in all and without a disk; what is not stays away, and the kernel may drop it without asking anybody. What is resident is then the
//! working set (Denning, "The working set model for program behavior", CACM 1968) of that window. See docs/decisions/029-resident-pages.md.
//!
//! It knows nothing of the heap, which the allocator returns by itself.

use std::time::Duration;
use std::{fs, io};

/// The window: what is not touched so long is not in use.
const WINDOW: Duration = Duration::from_secs(10);

/// Gives back what is not in use, again and again. Ends where the kernel does not tell what is mapped.
pub async fn keep_small() {
    loop {
        tokio::time::sleep(WINDOW).await;
        if let Err(error) = let_go() {
            tracing::debug!(%error, "pages of the program stay mapped");
            return;
        }
    }
}

/// Unmaps the program's pages until they are touched again.
///
/// # Errors
/// The kernel does not tell what is mapped, or refuses.
pub fn let_go() -> io::Result<()> {
    for it in of_program(&fs::read_to_string("/proc/self/smaps")?, let_go as fn() -> io::Result<()> as usize) {
        unmap(it)?;
    }
    Ok(())
}

/// A mapping: its first address and its length, in bytes.
type Mapping = (usize, usize);

/// The mappings in `/proc/<pid>/smaps` of the file that has the code at the address `here`, where they show it as it is on the disk: private, not writable, and without a
/// page of this process's own, which a page that was written to is (addresses that the linker filled in, a debugger's breakpoint).
///
/// The file is known by the device and inode that are printed here alone: on btrfs and overlays, stat(2) tells another device.
fn of_program(smaps: &str, here: usize) -> Vec<Mapping> {
    let heads = || smaps.lines().filter_map(head);
    let Some(program) = heads().find(|it| it.has(here)).map(|it| it.file) else { return Vec::new() };
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(it) = head(line) {
            current = (it.file == program && matches!(it.rights, "r--p" | "r-xp")).then_some((it.at, it.bytes));
        } else if line.split_ascii_whitespace().take(2).eq(["Anonymous:", "0"]) {
            found.extend(current.take());
        }
    }
    found
}

/// The first line of a mapping in smaps: `55d0-55e0 r-xp 00001000 fe:00 123 /bin/it`.
struct Head<'a> {
    at: usize,
    bytes: usize,
    rights: &'a str,
    /// Device and inode, as printed.
    file: (&'a str, &'a str),
}

impl Head<'_> {
    fn has(&self, address: usize) -> bool {
        address.checked_sub(self.at).is_some_and(|it| it < self.bytes)
    }
}

fn head(line: &str) -> Option<Head<'_>> {
    let mut fields = line.split_ascii_whitespace();
    let (at, bytes) = mapping(fields.next()?)?;
    let rights = fields.next()?;
    Some(Head { at, bytes, rights, file: (fields.nth(1)?, fields.next()?) })
}

fn mapping(range: &str) -> Option<Mapping> {
    let (from, to) = range.split_once('-')?;
    let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    Some((from, to.checked_sub(from)?))
}

/// There is no safe way to tell the kernel about memory that Rust did not allocate.
#[allow(unsafe_code)]
fn unmap((at, bytes): Mapping) -> io::Result<()> {
    let start = std::ptr::without_provenance_mut(at);
    // SAFETY: the range is a private mapping of this program's file of which no page was written to, so that each page comes back with the same bytes when it is
    // touched next (madvise(2), MADV_DONTNEED). The file itself cannot change while it is executed (ETXTBSY); one that was replaced stays under its inode.
    unsafe { rustix::mm::madvise(start, bytes, rustix::mm::Advice::LinuxDontNeed) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is mapped of files, in pages: the third field of statm (proc(5)).
    fn mapped_pages() -> u64 {
        fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(2).unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_not_in_use_is_unmapped_and_the_program_goes_on() {
        let mappings =
            of_program(&fs::read_to_string("/proc/self/smaps").unwrap(), let_go as fn() -> io::Result<()> as usize);
        assert!(!mappings.is_empty());
        let before = mapped_pages();
        let_go().unwrap();
        let after = mapped_pages();
        assert!(after < before, "{after} pages of {before} stay");
    }

    #[test]
    fn only_what_is_as_on_the_disk_is_taken() {
        let check = |rights: &str, on: &str, own_kb: u32, expected: &[Mapping]| {
            let other = "9000-a000 r-xp 00000000 fe:00 7    /bin/it\nRss: 4 kB\nAnonymous:    8 kB\n";
            let text =
                format!("{other}1000-3000 {rights} 00000000 {on}    /bin/it\nRss: 4 kB\nAnonymous:    {own_kb} kB\n");
            assert_eq!(of_program(&text, 0x9ff0), expected, "{text}");
        };
        check("r-xp", "fe:00 7", 0, &[(0x1000, 0x2000)]);
        check("r--p", "fe:00 7", 0, &[(0x1000, 0x2000)]);
        // Relocated, or with a breakpoint.
        check("r-xp", "fe:00 7", 4, &[]);
        check("rw-p", "fe:00 7", 0, &[]);
        check("r--s", "fe:00 7", 0, &[]);
        check("r-xp", "00:00 0", 0, &[]);
        check("r-xp", "fe:01 7", 0, &[]);
        // Nothing that the address lies in.
        assert_eq!(of_program("9000-a000 r-xp 00000000 fe:00 7    /bin/it\nAnonymous: 0 kB\n", 0xa000), []);
    }
}
