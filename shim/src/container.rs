//! A container as the shim has it: where it is in its life, the pipes it writes into, who waits for it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::cgroup::Cgroup;
use crate::clock;
use crate::errand::Helper;
use crate::log::{Lines, Log, Stream};
use crate::record;
use crate::run::CONSOLE;
use crate::tap::Tap;

/// One read of a container's output, in bytes.
const READ_BYTES: usize = 16 << 10;

/// The most that is read at a turn, in bytes, so that one that writes without end leaves the others their turns.
const TURN_MAX_BYTES: usize = 256 << 10;

/// The most that is read when the program has ended, in bytes: what a pipe holds, at the most it can be told to.
const DRAIN_MAX_BYTES: usize = 1 << 20;

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A helper makes it.
    Starting,
    Running {
        pid: i32,
        started_ns: u64,
    },
    /// Its end is known and could not be recorded; that is tried again at this time.
    Unrecorded {
        exit: record::Exit,
        again: Instant,
    },
    Ended,
}

/// Who wants it to end, and how.
#[derive(Debug)]
pub struct Stopping {
    /// The signal that is sent once it runs.
    pub signal: i32,
    /// When it is killed.
    pub kill_at: Instant,
    /// The one signal has been sent.
    pub asked: bool,
}

/// One of a container's outputs.
#[derive(Debug)]
pub struct Pipe {
    pub file: File,
    stream: Stream,
    lines: Lines,
}

impl Pipe {
    fn new(file: File, stream: Stream) -> Self {
        Self { file, stream, lines: Lines::new(stream) }
    }
}

/// A standard input that stays open.
#[derive(Debug)]
struct Input {
    /// Kept, since the helper opens it anew, and an input that nobody could read would kill who writes.
    _reading: OwnedFd,
    /// None once the one client that it was given for has it: its end then is the end of the input.
    writing: Option<OwnedFd>,
}

/// A container.
#[derive(Debug)]
pub struct Container {
    pub folder: PathBuf,
    pub config: record::Container,
    pub state: State,
    pub pipes: Vec<Pipe>,
    log: Log,
    /// Where its terminal will come from, until it has come.
    console: Option<UnixListener>,
    stdin: Option<Input>,
    /// Copies of its outputs for those who are attached.
    pub taps: Vec<Tap>,
    /// Sessions that are attached, and told of its end.
    pub attached: Vec<u64>,
    /// Sessions that wait for its start, and for its end.
    pub starters: Vec<u64>,
    pub stoppers: Vec<u64>,
    pub stopping: Option<Stopping>,
}

impl Container {
    /// Has a helper, of `program`, start the container of a folder.
    ///
    /// # Errors
    /// The kernel's or the disk's.
    pub fn start(
        program: &OwnedFd,
        name: &str,
        folder: PathBuf,
        config: record::Container,
    ) -> io::Result<(Self, Helper)> {
        record::reserve_exit(&folder)?;
        let log = Log::new(&folder, config.log_max_bytes, config.log_max_files);
        let (mut pipes, mut console, mut stdin) = (Vec::new(), None, None);
        let mut input = "/dev/null".to_owned();
        let (out, err) = if config.tty {
            // From the pod's folder, which is the working directory: a path in full may be longer than an address.
            let path = Path::new(record::CONTAINERS).join(name).join(CONSOLE);
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            console = Some(listener);
            let null = || File::options().write(true).open("/dev/null").map(OwnedFd::from);
            (null()?, null()?)
        } else {
            if config.stdin {
                let (reading, writing) = pipe2(OFlag::O_CLOEXEC)?;
                input = format!("/proc/{}/fd/{}", std::process::id(), reading.as_raw_fd());
                stdin = Some(Input { _reading: reading, writing: Some(writing) });
            }
            let mut open = |stream| -> io::Result<OwnedFd> {
                let (reading, writing) = pipe2(OFlag::O_CLOEXEC)?;
                pipes.push(Pipe::new(nonblocking(reading)?, stream));
                Ok(writing)
            };
            (open(Stream::Stdout)?, open(Stream::Stderr)?)
        };
        let helper = Helper::spawn(program, "run", &[OsStr::new(name), OsStr::new(&input)], out, err)?;
        let container = Self {
            folder,
            config,
            state: State::Starting,
            pipes,
            log,
            console,
            stdin,
            taps: Vec::new(),
            attached: Vec::new(),
            starters: Vec::new(),
            stoppers: Vec::new(),
            stopping: None,
        };
        Ok((container, helper))
    }

    /// Takes the terminal that the helper has sent, as the one pipe there is.
    ///
    /// # Errors
    /// Nothing has come.
    pub fn take_console(&mut self) -> io::Result<()> {
        let Some(listener) = self.console.take() else { return Ok(()) };
        let _ = std::fs::remove_file(self.folder.join(CONSOLE));
        let (socket, _) = listener.accept()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 64];
        recvmsg(&socket, &mut [IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for it in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut terminals) = it
                && let Some(terminal) = terminals.next()
            {
                self.pipes.push(Pipe::new(nonblocking(terminal)?, Stream::Stdout));
                return Ok(());
            }
        }
        Err(io::Error::other("no terminal came"))
    }

    /// Reads one output into the log; closes it at its end.
    pub fn read(&mut self, at: usize, limit_bytes: usize) {
        let Some(pipe) = self.pipes.get_mut(at) else { return };
        let stream = pipe.stream;
        let mut buffer = [0; READ_BYTES];
        let mut total = 0;
        while total < limit_bytes {
            match pipe.file.read(&mut buffer) {
                Ok(count @ 1..) => {
                    pipe.lines.take(&buffer[..count], &mut self.log);
                    let hearing = self.taps.iter_mut().filter(|it| it.stream == stream);
                    hearing.for_each(|it| it.take(&buffer[..count], clock::monotonic()));
                    total += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A terminal without a process answers EIO.
                Ok(0) | Err(_) => {
                    pipe.lines.end(&mut self.log);
                    self.pipes.remove(at);
                    return;
                }
            }
        }
    }

    /// Whether an output is not to be read for now, because a client that hears it is slow.
    pub fn is_held(&self, pipe: &Pipe) -> bool {
        self.taps.iter().any(|it| it.stream == pipe.stream && it.is_full())
    }

    /// What an attached client writes into: the terminal, or the standard input if there is one and it was not given away.
    ///
    /// # Errors
    /// The kernel's.
    pub fn input(&mut self, wanted: bool) -> io::Result<Option<OwnedFd>> {
        if self.config.tty {
            // Its size is wanted, too.
            return self.pipes.first().map(|it| it.file.as_fd().try_clone_to_owned()).transpose();
        }
        match &mut self.stdin {
            Some(it) if wanted && self.config.stdin_once => Ok(it.writing.take()),
            Some(Input { writing: Some(it), .. }) if wanted => it.try_clone().map(Some),
            _ => Ok(None),
        }
    }

    /// A session is over: it hears nothing more.
    pub fn detach(&mut self, session: u64) {
        self.taps.retain(|it| it.session != session);
        self.attached.retain(|it| *it != session);
    }

    /// Sends one copy on; one whose client is gone is dropped.
    pub fn send(&mut self, at: usize, now: Instant) {
        if self.taps.get_mut(at).is_some_and(|it| it.send(now).is_err()) {
            self.taps.remove(at);
        }
    }

    /// The copies have heard everything: those for whom nothing waits end.
    pub fn end_taps(&mut self, now: Instant) {
        self.taps.retain_mut(|it| it.send(now).is_ok() && it.is_waiting());
    }

    /// Reads one output as far as one turn goes.
    pub fn read_turn(&mut self, at: usize) {
        self.read(at, TURN_MAX_BYTES);
    }

    /// Reads what all outputs hold.
    pub fn drain(&mut self) {
        for at in (0..self.pipes.len()).rev() {
            self.read(at, DRAIN_MAX_BYTES);
        }
    }

    /// Sends the signals that are due. A container that starts gets them when it runs.
    pub fn signal(&mut self, now: Instant) {
        let (State::Running { pid, .. }, Some(stopping)) = (&self.state, &mut self.stopping) else { return };
        let pid = Pid::from_raw(*pid);
        if now >= stopping.kill_at {
            let _ = kill(pid, Signal::SIGKILL);
        } else if !stopping.asked {
            // Numbers that the kernel does not know are the image's mistake; the time ends then, too.
            if let Ok(it) = Signal::try_from(stopping.signal) {
                let _ = kill(pid, it);
            }
        }
        stopping.asked = true;
    }

    /// When [`Self::signal`] has something to do again.
    pub fn next_signal(&self) -> Option<Instant> {
        match (&self.state, &self.stopping) {
            (State::Running { .. }, Some(it)) => Some(it.kill_at),
            (State::Unrecorded { again, .. }, _) => Some(*again),
            _ => None,
        }
    }

    /// When a client is left that takes nothing.
    pub fn next_left(&self) -> Option<Instant> {
        self.taps.iter().filter_map(Tap::deadline).min()
    }

    /// Kills what the first process has left in the container's cgroup, and tells whether the kernel has killed there for want of memory.
    pub fn clear_cgroup(&self) -> bool {
        let Ok(cgroup) = Cgroup::find(&self.config.cgroups_path) else { return false };
        if !cgroup.processes().is_empty() {
            cgroup.kill();
        }
        cgroup.oom_kills() > 0
    }
}

/// Makes a descriptor one that does not block.
///
/// # Errors
/// The kernel's.
pub fn nonblocking(file: OwnedFd) -> io::Result<File> {
    let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFL)?);
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(File::from(file))
}
