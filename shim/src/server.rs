//! The shim's one thread: waits with `poll` for requests, output, dead children and deadlines, and does what each asks for.
//!
//! Nothing here blocks but writes to log files. State that must survive is on the disk before anybody is told of it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::SockaddrLike;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::pipe2;

use crate::clock;
use crate::container::{Container, State, Stopping};
use crate::exec::{Exec, kill_group};
use crate::helper::{Helper, Report, shortened};
use crate::protocol::{FRAME_MAX_BYTES, Failure, Request, Response, SOCKET};
use crate::record::{self, CONTAINERS, EXIT, SHIM, STARTED};
use crate::session::Session;

/// Connections at once: the agent has one for events and one for each request under way.
const SESSIONS_MAX: usize = 128;
/// Commands at once: probes and hooks of all containers of a pod.
const EXECS_MAX: usize = 64;
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
    listener: UnixListener,
    signals: SignalFd,
    sessions: BTreeMap<u64, Session>,
    next_id: u64,
    containers: BTreeMap<String, Container>,
    execs: BTreeMap<u64, Exec>,
    helpers: HashMap<i32, (Helper, Purpose)>,
    unclaimed: HashMap<i32, WaitStatus>,
    /// The sandbox is being stopped: who is to be told, and when it ends at the latest.
    shutdown: Option<(Vec<u64>, Instant)>,
}

impl Shim {
    /// Listens in the pod's folder, which is the working directory. `helper` is the program of its helpers.
    ///
    /// # Errors
    /// The kernel's or the disk's.
    pub fn listen(helper: OwnedFd) -> io::Result<Self> {
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
            listener,
            signals,
            sessions: BTreeMap::new(),
            next_id: 0,
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            helpers: HashMap::new(),
            unclaimed: HashMap::new(),
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
            for (n, it) in container.pipes.iter().enumerate().rev() {
                add(it.file.as_fd(), input, Source::Output(at, n));
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
        let execs = self.execs.values().map(|it| it.deadline);
        let containers = self.containers.values().filter_map(Container::next_signal);
        execs.chain(containers).chain(self.shutdown.as_ref().map(|it| it.1)).min()
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
        self.execs.retain(|_, exec| {
            let stays = exec.session != id;
            if !stays {
                exec.kill();
            }
            stays
        });
    }

    fn request(&mut self, id: u64, request: Request) {
        match request {
            Request::Ping => {
                let pong = Response::Pong { pid: std::process::id().cast_signed(), addresses: addresses() };
                self.answer(id, &pong, None);
            }
            Request::Start { container } => self.start(id, container),
            Request::Stop { container, signal, grace_ms } => {
                self.stop(id, &container, signal, Duration::from_millis(grace_ms));
            }
            Request::Exec { container, command, timeout_ms, limit_bytes } => {
                self.exec(id, &container, &command, Duration::from_millis(timeout_ms), limit_bytes);
            }
            Request::Shutdown => self.shut_down(Some(id)),
            Request::Subscribe => {
                if let Some(it) = self.sessions.get_mut(&id) {
                    it.subscribed = true;
                }
                self.answer(id, &Response::Done, None);
            }
        }
    }

    fn answer(&mut self, id: u64, response: &Response, output: Option<&[u8]>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.answer(response, output).is_err() {
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

    fn start(&mut self, id: u64, name: String) {
        if let Some(container) = self.containers.get_mut(&name) {
            match &container.state {
                State::Starting => container.starters.push(id),
                State::Running { .. } => self.answer(id, &Response::Done, None),
                State::Unrecorded { .. } | State::Ended => self.fail(id, Failure::Start, "the container has ended"),
            }
            return;
        }
        let folder = Path::new(CONTAINERS).join(&name);
        if name.contains('/') || !folder.is_dir() {
            return self.fail(id, Failure::NotFound, format!("no container {name:?}"));
        }
        if folder.join(EXIT).exists() || self.shutdown.is_some() {
            return self.fail(id, Failure::Start, "the container has ended");
        }
        let made = record::read(&folder, SHIM)
            .and_then(|it| it.ok_or_else(|| io::Error::other("the container is not whole")))
            .and_then(|config| Container::start(&self.helper, &name, self.pod.join(&folder), config));
        match made {
            Ok((mut container, helper)) => {
                container.starters.push(id);
                self.containers.insert(name.clone(), container);
                self.helpers.insert(helper.pid, (helper, Purpose::Start(name)));
            }
            Err(error) => self.fail(id, Failure::Other, error.to_string()),
        }
    }

    fn stop(&mut self, id: u64, name: &str, signal: i32, grace: Duration) {
        let now = clock::monotonic();
        match self.containers.get_mut(name) {
            Some(container) if container.state != State::Ended => {
                let kill_at = now.checked_add(grace).unwrap_or(now);
                container.stoppers.push(id);
                match &mut container.stopping {
                    // A second wish can only make it sooner.
                    Some(it) => it.kill_at = it.kill_at.min(kill_at),
                    None => container.stopping = Some(Stopping { signal, kill_at, asked: false }),
                }
                container.signal(now);
            }
            _ => self.answer(id, &Response::Done, None),
        }
    }

    fn exec(&mut self, id: u64, name: &str, command: &[String], timeout: Duration, limit_bytes: usize) {
        let running = match self.containers.get(name).map(|it| &it.state) {
            Some(State::Running { pid, .. }) => *pid,
            _ => return self.fail(id, Failure::NotFound, format!("container {name:?} does not run")),
        };
        if self.execs.len() >= EXECS_MAX {
            return self.fail(id, Failure::Other, "too many commands run in this pod at once");
        }
        let init = running.to_string();
        let mut arguments = vec![OsStr::new(name), OsStr::new(&init)];
        arguments.extend(command.iter().map(OsStr::new));
        let started = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from).and_then(|(reading, writing)| {
            // Only our end is not to block: its writer expects a pipe like any other.
            nix::fcntl::fcntl(&reading, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            let helper = Helper::spawn(&self.helper, "exec", &arguments, writing.try_clone()?, writing)?;
            Ok((helper, File::from(reading)))
        });
        match started {
            Ok((helper, output)) => {
                self.next_id += 1;
                let now = clock::monotonic();
                let deadline = now.checked_add(timeout).unwrap_or(now);
                let exec = Exec::new(id, output, limit_bytes.min(FRAME_MAX_BYTES), deadline);
                self.execs.insert(self.next_id, exec);
                self.helpers.insert(helper.pid, (helper, Purpose::Exec(self.next_id)));
            }
            Err(error) => self.fail(id, Failure::Other, error.to_string()),
        }
    }

    fn shut_down(&mut self, id: Option<u64>) {
        let now = clock::monotonic();
        self.shutdown.get_or_insert_with(|| (Vec::new(), now + SHUTDOWN)).0.extend(id);
        for container in self.containers.values_mut() {
            container.stopping = Some(Stopping { signal: 0, kill_at: now, asked: true });
            container.signal(now);
        }
    }

    fn is_over(&self) -> bool {
        let Some((_, at_latest)) = &self.shutdown else { return false };
        let ended = self.helpers.is_empty() && self.containers.values().all(|it| it.state == State::Ended);
        ended || clock::monotonic() >= *at_latest
    }

    /// Takes in the ends of children: helpers, containers, commands, and what was orphaned in between.
    fn reap(&mut self) {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(it) => it,
            };
            let Some(pid) = status.pid().map(|it| it.as_raw()) else { continue };
            if let Some((helper, purpose)) = self.helpers.remove(&pid) {
                self.helped(purpose, helper.report());
            } else if !self.ended(pid, status) && self.unclaimed.len() < UNCLAIMED_MAX {
                self.unclaimed.insert(pid, status);
            }
        }
        if self.helpers.is_empty() {
            self.unclaimed.clear();
        }
    }

    /// A helper has done its work or failed at it.
    fn helped(&mut self, purpose: Purpose, report: Report) {
        match (purpose, report) {
            (Purpose::Start(name), Report::Ran(pid)) => self.runs(&name, pid),
            (Purpose::Start(name), Report::Failed(message)) => {
                let exit = exit(NOT_STARTED, None, None, message);
                self.container_ended(&name, exit);
            }
            (Purpose::Exec(id), Report::Ran(pid)) => match self.execs.get_mut(&id) {
                Some(it) => it.pid = Some(pid),
                // It was abandoned, or its time ended, before it began.
                None => kill_group(pid),
            },
            (Purpose::Exec(id), Report::Failed(message)) => {
                if let Some(it) = self.execs.remove(&id) {
                    self.fail(it.session, Failure::Other, message);
                }
            }
        }
        let early: Vec<i32> = self.unclaimed.keys().copied().filter(|it| self.is_known(*it)).collect();
        for pid in early {
            if let Some(it) = self.unclaimed.remove(&pid) {
                self.ended(pid, it);
            }
        }
    }

    fn is_known(&self, pid: i32) -> bool {
        let container = |it: &Container| matches!(it.state, State::Running { pid: its, .. } if its == pid);
        self.execs.values().any(|it| it.pid == Some(pid)) || self.containers.values().any(container)
    }

    fn runs(&mut self, name: &str, pid: i32) {
        let Some(container) = self.containers.get_mut(name) else { return };
        let started_ns = clock::now_ns();
        container.state = State::Running { pid, started_ns };
        let recorded = record::write(&container.folder, STARTED, &record::Started { pid, at_ns: started_ns });
        if let Err(error) = container.take_console().and(recorded) {
            // Nobody would know of it, or hear it: it is better not run.
            container.stopping = Some(Stopping { signal: 0, kill_at: clock::monotonic(), asked: true });
            eprintln!("container {name}: {error}");
        }
        let starters = std::mem::take(&mut container.starters);
        container.signal(clock::monotonic());
        self.changed(name);
        starters.into_iter().for_each(|it| self.answer(it, &Response::Done, None));
    }

    /// A process has ended; whether it was one of those known.
    fn ended(&mut self, pid: i32, status: WaitStatus) -> bool {
        let (code, signal) = match status {
            WaitStatus::Exited(_, code) => (code, None),
            WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, Some(signal as i32)),
            _ => return true,
        };
        if let Some(id) = self.execs.iter().find(|(_, it)| it.pid == Some(pid)).map(|it| *it.0) {
            if let Some(mut exec) = self.execs.remove(&id) {
                exec.read();
                self.answer(exec.session, &Response::Executed { exit_code: code }, Some(exec.kept()));
            }
            return true;
        }
        let found = self.containers.iter().find_map(|(name, it)| match it.state {
            State::Running { pid: its, started_ns } if its == pid => Some((name.clone(), started_ns)),
            _ => None,
        });
        let Some((name, started_ns)) = found else { return false };
        self.container_ended(&name, exit(code, signal, Some(started_ns), String::new()));
        true
    }

    /// Reads what a container still has to say, records its end, and tells of it.
    fn container_ended(&mut self, name: &str, mut exit: record::Exit) {
        let Some(container) = self.containers.get_mut(name) else { return };
        exit.oom_killed = container.clear_cgroup();
        container.drain();
        container.state = State::Unrecorded { exit, again: clock::monotonic() };
        self.record(name);
    }

    fn record(&mut self, name: &str) {
        let Some(container) = self.containers.get_mut(name) else { return };
        let State::Unrecorded { exit, again } = &mut container.state else { return };
        if let Err(error) = record::record_exit(&container.folder, exit) {
            eprintln!("container {name}: its end could not be recorded: {error}");
            *again = clock::monotonic() + RECORD_AGAIN;
            return;
        }
        let failed = exit.started_ns.is_none().then(|| exit.message.clone());
        container.state = State::Ended;
        let starters = std::mem::take(&mut container.starters);
        let stoppers = std::mem::take(&mut container.stoppers);
        self.changed(name);
        let message = failed.unwrap_or_default();
        starters.into_iter().for_each(|it| self.fail(it, Failure::Start, message.clone()));
        stoppers.into_iter().for_each(|it| self.answer(it, &Response::Done, None));
    }

    fn keep_deadlines(&mut self) {
        let now = clock::monotonic();
        let late: Vec<u64> = self.execs.iter().filter(|(_, it)| now >= it.deadline).map(|it| *it.0).collect();
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
        // What has ended and says nothing more is on the disk; a folder that is gone needs nobody.
        self.containers.retain(|_, it| it.state != State::Ended || !it.pipes.is_empty() && it.folder.exists());
        let idle: Vec<u64> = self.sessions.keys().copied().collect();
        idle.into_iter().for_each(|it| self.take_requests(it));
    }
}

fn exit(exit_code: i32, signal: Option<i32>, started_ns: Option<u64>, message: String) -> record::Exit {
    let message = shortened(message);
    record::Exit { exit_code, signal, oom_killed: false, started_ns, finished_ns: clock::now_ns(), message }
}

/// The addresses of the network namespace, the loopback's and those of the link alone left out.
fn addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let found = interfaces.filter_map(|it| {
        let address = it.address?;
        match address.family()? {
            nix::sys::socket::AddressFamily::Inet => address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip())),
            nix::sys::socket::AddressFamily::Inet6 => address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())),
            _ => None,
        }
    });
    let useful = |it: &IpAddr| match it {
        IpAddr::V4(it) => !it.is_loopback() && !it.is_link_local(),
        IpAddr::V6(it) => !it.is_loopback() && !it.is_unicast_link_local(),
    };
    found.filter(useful).collect()
}
