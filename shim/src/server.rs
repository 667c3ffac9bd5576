//! The shim's one thread: waits with `poll` for requests, output, dead children and deadlines, and does what each asks for.
//!
//! Nothing here blocks but writes to log files. State that must survive is on the disk before anybody is told of it.

mod ends;
mod requests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitStatus;

use crate::clock;
use crate::container::{Container, State};
use crate::errand::Helper;
use crate::exec::Exec;
use crate::fence::{self, Fence};
use crate::protocol::{Failure, Response, SOCKET};
use crate::reaper::Reaper;
use crate::session::Session;

/// Connections at once: the agent has one for events and one for each request under way.
const SESSIONS_MAX: usize = 128;
/// Commands at once: probes and hooks of all containers of a pod.
const EXECS_MAX: usize = 64;
/// Those among them that people hold sessions with: half, so that there is always room for probes.
const APART_MAX: usize = EXECS_MAX / 2;
/// Ends of processes whose helper has not told yet that they are its; one or two a helper.
const UNCLAIMED_MAX: usize = 1024;
/// How long between two attempts to record an end on a disk that does not take it.
const RECORD_AGAIN: Duration = Duration::from_secs(1);
/// How long the containers' ends are waited for when the sandbox is stopped. A process that the kernel cannot kill holds nobody up longer.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// What the exit code of a container that could not be started is, as containerd's.
const NOT_STARTED: i32 = 128;

/// What `poll` has found.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Listener,
    Session(u64),
    /// A container, by its place among them, and one of its outputs.
    Output(usize, usize),
    Exec(u64),
    /// A container, by its place among them, and one of the copies of its outputs.
    Tap(usize, usize),
}

/// What a helper is at work for.
#[derive(Debug)]
enum Purpose {
    Start(String),
    Exec(u64),
}

/// A pod's shim.
#[derive(Debug)]
pub struct Shim {
    pod: PathBuf,
    /// The program of its helpers.
    helper: OwnedFd,
    /// The first process of the containers' PID namespace, where they share one.
    reaper: Option<Reaper>,
    listener: UnixListener,
    signals: SignalFd,
    sessions: BTreeMap<u64, Session>,
    next_id: u64,
    containers: BTreeMap<String, Container>,
    execs: BTreeMap<u64, Exec>,
    helpers: HashMap<i32, (Helper, Purpose)>,
    unclaimed: HashMap<i32, WaitStatus>,
    /// What ends the pod when the node has lost the API server, and when that is looked at next.
    fence: Option<(Fence, Instant)>,
    /// It has.
    fenced: bool,
    /// The sandbox is being stopped: who is to be told, and when it ends at the latest.
    shutdown: Option<(Vec<u64>, Instant)>,
}

impl Shim {
    /// Listens in the pod's folder, which is the working directory. `helper` is the program of its helpers, `reaper` takes in what its containers
    /// leave behind where these see one another.
    ///
    /// # Errors
    /// The kernel's or the disk's.
    pub fn listen(helper: OwnedFd, reaper: Option<Reaper>) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for it in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(it);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let _ = std::fs::remove_file(SOCKET);
        // By its name alone: a path in full may be longer than an address.
        let listener = UnixListener::bind(SOCKET)?;
        std::fs::set_permissions(SOCKET, PermissionsExt::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            pod: std::env::current_dir()?,
            helper,
            reaper,
            listener,
            signals,
            sessions: BTreeMap::new(),
            next_id: 0,
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            helpers: HashMap::new(),
            unclaimed: HashMap::new(),
            fence: None,
            fenced: false,
            shutdown: None,
        })
    }

    /// Serves until the sandbox is stopped.
    ///
    /// # Errors
    /// `poll` fails, which it does not.
    pub fn serve(mut self) -> io::Result<()> {
        loop {
            for source in self.wait()? {
                self.attend(source);
            }
            self.keep_deadlines();
            if self.is_over() {
                let _ = std::fs::remove_file(SOCKET);
                for it in self.shutdown.take().into_iter().flat_map(|it| it.0) {
                    self.answer(it, &Response::Done, None);
                }
                return Ok(());
            }
        }
    }

    /// Waits until something is to be done, and tells what.
    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        let mut sources = Vec::new();
        let mut add = |fd, flags, source| {
            fds.push(PollFd::new(fd, flags));
            sources.push(source);
        };
        let input = PollFlags::POLLIN;
        for (at, container) in self.containers.values().enumerate() {
            for (n, it) in container.pipes.iter().enumerate().rev().filter(|(_, it)| !container.is_held(it)) {
                add(it.file.as_fd(), input, Source::Output(at, n));
            }
            // A client that is gone is told of without being asked for.
            for (n, it) in container.taps.iter().enumerate().rev() {
                let flags = if it.is_waiting() { PollFlags::POLLOUT } else { PollFlags::empty() };
                add(it.file.as_fd(), flags, Source::Tap(at, n));
            }
        }
        for (id, exec) in &self.execs {
            if let Some(it) = &exec.output {
                add(it.as_fd(), input, Source::Exec(*id));
            }
        }
        for (id, it) in &self.sessions {
            let flags = if it.is_sending() { input | PollFlags::POLLOUT } else { input };
            add(it.stream.as_fd(), flags, Source::Session(*id));
        }
        add(self.signals.as_fd(), input, Source::Signals);
        let listener: BorrowedFd<'_> = self.listener.as_fd();
        if self.sessions.len() < SESSIONS_MAX {
            add(listener, input, Source::Listener);
        }
        let timeout = match self.next_deadline() {
            // A millisecond more than whole, so that it is past when it is looked at.
            Some(it) => {
                PollTimeout::try_from(it.saturating_duration_since(clock::monotonic()) + Duration::from_millis(1))
                    .unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = fds.iter().zip(&sources).filter(|(it, _)| it.any() == Some(true));
        Ok(ready.map(|(_, source)| *source).collect())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let execs = self.execs.values().filter_map(|it| it.deadline);
        let containers = self.containers.values().filter_map(Container::next_signal);
        let left = self.containers.values().filter_map(Container::next_left);
        let fence = self.fence.as_ref().map(|it| it.1);
        execs.chain(containers).chain(left).chain(fence).chain(self.shutdown.as_ref().map(|it| it.1)).min()
    }

    fn attend(&mut self, source: Source) {
        match source {
            Source::Output(at, n) => {
                if let Some(it) = self.containers.values_mut().nth(at) {
                    it.read_turn(n);
                }
            }
            Source::Exec(id) => {
                if let Some(it) = self.execs.get_mut(&id) {
                    it.read();
                }
            }
            Source::Tap(at, n) => {
                if let Some(it) = self.containers.values_mut().nth(at) {
                    it.send(n, clock::monotonic());
                }
            }
            Source::Session(id) => self.hear(id),
            Source::Listener => self.accept(),
            Source::Signals => {
                while let Ok(Some(it)) = self.signals.read_signal() {
                    if it.ssi_signo != Signal::SIGCHLD as u32 {
                        self.shut_down(None);
                    }
                }
                self.reap();
            }
        }
    }

    fn accept(&mut self) {
        // One a turn; whoever waits is met at the next.
        if let Ok((stream, _)) = self.listener.accept()
            && let Ok(session) = Session::new(stream)
        {
            self.next_id += 1;
            self.sessions.insert(self.next_id, session);
        }
    }

    fn hear(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.receive().and_then(|()| session.send()).is_err() {
            return self.leave(id);
        }
        self.take_requests(id);
    }

    /// Does what a session asks for, in its turn.
    fn take_requests(&mut self, id: u64) {
        loop {
            match self.sessions.get_mut(&id).map(Session::next) {
                Some(Ok(Some(request))) => self.request(id, request),
                Some(Err(_)) => return self.leave(id),
                Some(Ok(None)) | None => return,
            }
        }
    }

    /// A session is over; what it asked for and nobody else wants ends with it.
    fn leave(&mut self, id: u64) {
        self.sessions.remove(&id);
        self.containers.values_mut().for_each(|it| it.detach(id));
        self.execs.retain(|_, exec| {
            let stays = exec.session != id;
            if !stays {
                exec.kill();
            }
            stays
        });
    }

    fn answer(&mut self, id: u64, response: &Response, output: Option<&[u8]>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.answer(response, output).is_err() {
            self.leave(id);
        }
    }

    /// Tells a session something while its request goes on.
    fn tell(&mut self, id: u64, response: &Response) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.tell(response).is_err() {
            self.leave(id);
        }
    }

    fn fail(&mut self, id: u64, why: Failure, message: impl Into<String>) {
        self.answer(id, &Response::Failed { why, message: message.into() }, None);
    }

    /// Tells the subscribers that something has become of a container.
    fn changed(&mut self, name: &str) {
        let event = Response::Changed { container: name.to_owned() };
        let told = self.sessions.iter_mut().filter(|(_, it)| it.subscribed);
        let gone: Vec<u64> = told.filter_map(|(id, it)| it.tell(&event).is_err().then_some(*id)).collect();
        gone.into_iter().for_each(|it| self.leave(it));
    }

    fn is_over(&self) -> bool {
        let Some((_, at_latest)) = &self.shutdown else { return false };
        let ended = self.helpers.is_empty() && self.containers.values().all(|it| it.state == State::Ended);
        ended || clock::monotonic() >= *at_latest
    }

    /// Ends the pod where its time without contact is over; otherwise looks again when it would be.
    fn keep_fence(&mut self, now: Instant) {
        let Some((fence, look_at)) = self.fence.as_mut().filter(|it| now >= it.1) else { return };
        match clock::since_boot().map(|it| fence.left(it)) {
            Ok(Some(left)) => *look_at = now + left,
            Ok(None) => {
                eprintln!("{}", fence::MESSAGE);
                (self.fence, self.fenced) = (None, true);
                self.shut_down(None);
            }
            Err(error) => {
                eprintln!("the time since the boot: {error}");
                *look_at = now + RECORD_AGAIN;
            }
        }
    }

    fn keep_deadlines(&mut self) {
        let now = clock::monotonic();
        self.keep_fence(now);
        let late: Vec<u64> =
            self.execs.iter().filter(|(_, it)| it.deadline.is_some_and(|it| now >= it)).map(|it| *it.0).collect();
        for id in late {
            if let Some(exec) = self.execs.remove(&id) {
                exec.kill();
                self.fail(exec.session, Failure::Timeout, "the command took too long and was killed");
            }
        }
        let due = self.containers.iter_mut().filter(|(_, it)| it.next_signal().is_some_and(|it| now >= it));
        let mut unrecorded = Vec::new();
        for (name, container) in due {
            match container.state {
                State::Unrecorded { .. } => unrecorded.push(name.clone()),
                _ => {
                    container.signal(now);
                    // Once is enough for SIGKILL; the rest is the kernel's.
                    if let Some(it) = &mut container.stopping {
                        it.kill_at = now + SHUTDOWN;
                    }
                }
            }
        }
        unrecorded.iter().for_each(|it| self.record(it));
        for container in self.containers.values_mut() {
            container.taps.retain(|it| it.deadline().is_none_or(|it| now < it));
            if container.state == State::Ended {
                container.end_taps(now);
            }
        }
        // What has ended and says nothing more is on the disk; a folder that is gone needs nobody.
        self.containers.retain(|_, it| {
            let speaks = !it.pipes.is_empty() || !it.taps.is_empty();
            it.state != State::Ended || speaks && it.folder.exists()
        });
        let idle: Vec<u64> = self.sessions.keys().copied().collect();
        idle.into_iter().for_each(|it| self.take_requests(it));
    }
}
