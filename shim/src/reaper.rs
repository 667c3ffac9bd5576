//! The first process of the PID namespace that a pod's containers share: it takes in orphans, and its end is the end of all of them.
//!
//! The shim cannot be that process itself, since whoever makes a PID namespace stays outside of it; and its containers' ids are to be the machine's. So a
//! short-lived child ([`start`]) makes the namespace and the one process in it ([`hold`]), which knows nothing of the machine: its root is an empty folder, so
//! that a container that may look into other processes finds nothing behind `/proc/1/root`. It lives for as long as the shim holds the other end of its input.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{chdir, dup2_stderr, dup2_stdout, pipe2, pivot_root};

/// What the shim's program is told for [`start`].
pub const START: &str = "reaper";
/// How the process in the namespace is called there, as Kubernetes' own is; by this name the program knows that it is to be it.
pub const NAME: &str = "/pause";

/// The most that is read of what the processes say of their start, in bytes.
const SAID_MAX_BYTES: u64 = 4096;

/// A folder that is on every machine, over which the empty root is mounted, in a mount namespace of its own.
const PLACE: &str = "/tmp";

/// The process, as the shim holds it.
#[derive(Debug)]
pub struct Reaper {
    /// Among the machine's processes.
    pub pid: i32,
    _alive: OwnedFd,
}

impl Reaper {
    /// In the shim: makes the namespace, and waits until its first process is in place.
    ///
    /// # Errors
    /// In words.
    pub fn spawn() -> Result<Self, String> {
        let failed = |it: io::Error| format!("a process namespace: {it}");
        let (ending, alive) = pipe2(OFlag::O_CLOEXEC).map_err(|it| failed(it.into()))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(START).stdin(Stdio::from(ending)).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let mut said = String::new();
        if let Some(it) = child.stdout.take() {
            it.take(SAID_MAX_BYTES).read_to_string(&mut said).map_err(failed)?;
        }
        child.wait().map_err(failed)?;
        let pid = said.trim_end().parse().map_err(|_| format!("a process namespace: {}", said.trim_end()))?;
        Ok(Self { pid, _alive: alive })
    }
}

/// In the child: makes the namespace and its first process, says which that is, and ends.
pub fn start() -> ExitCode {
    let begun = unshare(CloneFlags::CLONE_NEWPID).map_err(io::Error::from).and_then(|()| {
        // Its input and output are this one's.
        Command::new("/proc/self/exe").arg0(NAME).spawn()
    });
    match begun {
        Ok(it) => {
            println!("{}", it.id());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// In the namespace's first process: shuts out the machine and reaps, until nobody holds the other end of the input.
pub fn hold() -> ExitCode {
    match shut_out().and_then(|signals| reap(&signals)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Read where it happens before the output is closed, and nobody's business after that.
            let _ = writeln!(io::stdout(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Leaves nothing of the machine's in reach: an empty root in a mount namespace of its own, and no open file but the input.
fn shut_out() -> io::Result<SignalFd> {
    prctl::set_name(c"pause")?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("pause"), PLACE, Some("tmpfs"), flags, Some("size=4k"))?;
    chdir(PLACE)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    dup2_stderr(null.as_fd())?;
    // Whoever waits for it to be in place waits for this.
    dup2_stdout(null.as_fd())?;
    Ok(signals)
}

fn reap(signals: &SignalFd) -> io::Result<()> {
    let input = io::stdin();
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
        // Nothing is ever written there: it is ready when nobody could any more.
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[1].any() == Some(true) => return Ok(()),
            Ok(_) => while matches!(signals.read_signal(), Ok(Some(_))) {},
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
