//! What the agent asks, done or begun.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockaddrLike, sendmsg};
use nix::unistd::pipe2;

use super::{APART_MAX, EXECS_MAX, Purpose, SHUTDOWN, Shim};
use crate::clock;
use crate::container::{Container, State, Stopping};
use crate::enter::TERMINAL;
use crate::errand::Helper;
use crate::exec::Exec;
use crate::fence::Fence;
use crate::log::Stream;
use crate::protocol::{DESCRIPTORS_MAX, FRAME_MAX_BYTES, Failure, Request, Response};
use crate::record::{self, CONTAINERS, EXIT, SHIM};
use crate::session::Session;
use crate::tap::Tap;

impl Shim {
    pub(super) fn request(&mut self, id: u64, request: Request) {
        match request {
            Request::Ping => {
                let first_process = self.reaper.as_ref().map(|it| it.pid);
                let pid = std::process::id().cast_signed();
                let pong = Response::Pong { pid, addresses: addresses(), first_process };
                self.answer(id, &pong, None);
            }
            Request::Start { container } => self.start(id, container),
            Request::Stop { container, signal, grace_ms } => {
                self.stop(id, &container, signal, Duration::from_millis(grace_ms));
            }
            Request::Exec { container, command, timeout_ms, limit_bytes } => {
                self.exec(id, &container, &command, Duration::from_millis(timeout_ms), limit_bytes);
            }
            Request::Session { container, command, tty } => self.converse(id, &container, &command, tty),
            Request::Attach { container, stdin, stdout, stderr } => {
                self.attach(id, &container, stdin, (stdout, stderr));
            }
            Request::Fence { after_ms } => self.set_fence(id, after_ms.map(Duration::from_millis)),
            Request::Shutdown => self.shut_down(Some(id)),
            Request::Subscribe => {
                if let Some(it) = self.sessions.get_mut(&id) {
                    it.subscribed = true;
                }
                self.answer(id, &Response::Done, None);
            }
        }
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
        let Some(init) = self.enterable(id, name) else { return };
        let mut arguments = vec![OsStr::new(name), OsStr::new(&init), OsStr::new("/dev/null")];
        arguments.extend(command.iter().map(OsStr::new));
        let started = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from).and_then(|(reading, writing)| {
            // Only our end is not to block: its writer expects a pipe like any other.
            fcntl(&reading, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            let helper = Helper::spawn(&self.helper, "exec", &arguments, writing.try_clone()?, writing)?;
            Ok((helper, File::from(reading)))
        });
        match started {
            Ok((helper, output)) => {
                let now = clock::monotonic();
                let deadline = now.checked_add(timeout).unwrap_or(now);
                let exec = Exec::new(id, output, limit_bytes.min(FRAME_MAX_BYTES), deadline);
                self.run(exec, helper);
            }
            Err(error) => self.fail(id, Failure::Other, error.to_string()),
        }
    }

    /// Starts a command whose streams the agent has brought along.
    fn converse(&mut self, id: u64, name: &str, command: &[String], tty: bool) {
        let handed = self.sessions.get_mut(&id).map(Session::take_handed).unwrap_or_default();
        if self.is_crowded(id) {
            return;
        }
        let Some(init) = self.enterable(id, name) else { return };
        let streams = match <[OwnedFd; DESCRIPTORS_MAX]>::try_from(handed) {
            Ok([input, output, errors]) if !tty => Ok((Some(input), output, errors)),
            Err(mut it) if tty && it.len() == 1 => {
                let null = File::options().write(true).open("/dev/null").map(OwnedFd::from);
                null.map(|null| (None, it.remove(0), null))
            }
            _ => Err(io::Error::other("these are not the descriptors that a session needs")),
        };
        let started = streams.and_then(|(input, output, errors)| {
            let from = match &input {
                Some(it) => format!("/proc/{}/fd/{}", std::process::id(), it.as_raw_fd()),
                None => TERMINAL.to_owned(),
            };
            let mut arguments = vec![OsStr::new(name), OsStr::new(&init), OsStr::new(&from)];
            arguments.extend(command.iter().map(OsStr::new));
            let helper = Helper::spawn(&self.helper, "exec", &arguments, output, errors)?;
            Ok((Exec::apart(id, input), helper))
        });
        match started {
            Ok((exec, helper)) => self.run(exec, helper),
            Err(error) => self.fail(id, Failure::Other, error.to_string()),
        }
    }

    /// Lets the agent hear a container's outputs and write to it.
    fn attach(&mut self, id: u64, name: &str, stdin: bool, outputs: (bool, bool)) {
        let handed = self.sessions.get_mut(&id).map(Session::take_handed).unwrap_or_default();
        if self.is_crowded(id) {
            return;
        }
        let running = |it: &&mut Container| matches!(it.state, State::Running { .. });
        let Some(container) = self.containers.get_mut(name).filter(running) else {
            return self.fail(id, Failure::NotFound, format!("container {name:?} does not run"));
        };
        let mut handed = handed.into_iter();
        let mut next =
            || handed.next().ok_or_else(|| io::Error::other("a descriptor that an attachment needs is missing"));
        let mut joined = || {
            let socket = next()?;
            let mut taps = Vec::new();
            for (wanted, stream) in [(outputs.0, Stream::Stdout), (outputs.1, Stream::Stderr)] {
                if wanted {
                    taps.push(Tap::new(id, stream, next()?)?);
                }
            }
            if let Some(it) = container.input(stdin)? {
                let rights = [it.as_raw_fd()];
                let message = [ControlMessage::ScmRights(&rights)];
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
                sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"i")], &message, flags, None)?;
            }
            container.taps.extend(taps);
            container.attached.push(id);
            io::Result::Ok(())
        };
        match joined() {
            Ok(()) => self.tell(id, &Response::Done),
            Err(error) => self.fail(id, Failure::Other, error.to_string()),
        }
    }

    /// Takes the file of an agent, or no longer heeds one.
    fn set_fence(&mut self, id: u64, after: Option<Duration>) {
        let handed = self.sessions.get_mut(&id).map(Session::take_handed).unwrap_or_default();
        let Some(after) = after else {
            self.fence = None;
            return self.answer(id, &Response::Done, None);
        };
        let file = handed.into_iter().next().ok_or_else(|| io::Error::other("the file of the last contact is missing"));
        match file.and_then(|file| Ok((file, clock::since_boot()?))) {
            Ok((file, now)) => {
                let fence = Fence::new(file, after, self.fence.as_ref().map(|it| &it.0), now);
                self.fence = Some((fence, clock::monotonic()));
                self.answer(id, &Response::Done, None);
            }
            Err(error) => self.fail(id, Failure::Other, error.to_string()),
        }
    }

    /// Whether there is no place for a session that people hold; who asks is told.
    fn is_crowded(&mut self, id: u64) -> bool {
        let attached: usize = self.containers.values().map(|it| it.attached.len()).sum();
        let crowded = attached + self.execs.values().filter(|it| it.is_apart()).count() >= APART_MAX;
        if crowded {
            self.fail(id, Failure::Other, "too many sessions are held in this pod at once");
        }
        crowded
    }

    /// The first process of a container that a command may be run in, as a word; otherwise who asks is told.
    fn enterable(&mut self, id: u64, name: &str) -> Option<String> {
        let running = match self.containers.get(name).map(|it| &it.state) {
            Some(State::Running { pid, .. }) => *pid,
            _ => {
                self.fail(id, Failure::NotFound, format!("container {name:?} does not run"));
                return None;
            }
        };
        if self.execs.len() >= EXECS_MAX {
            self.fail(id, Failure::Other, "too many commands run in this pod at once");
            return None;
        }
        Some(running.to_string())
    }

    fn run(&mut self, exec: Exec, helper: Helper) {
        self.next_id += 1;
        self.execs.insert(self.next_id, exec);
        self.helpers.insert(helper.pid, (helper, Purpose::Exec(self.next_id)));
    }

    pub(super) fn shut_down(&mut self, id: Option<u64>) {
        let now = clock::monotonic();
        self.shutdown.get_or_insert_with(|| (Vec::new(), now + SHUTDOWN)).0.extend(id);
        for container in self.containers.values_mut() {
            container.stopping = Some(Stopping { signal: 0, kill_at: now, asked: true });
            container.signal(now);
        }
    }
}

/// The addresses of the network namespace, the loopback's and those of the link alone left out.
fn addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let found = interfaces.filter_map(|it| {
        let address = it.address?;
        match address.family()? {
            AddressFamily::Inet => address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip())),
            AddressFamily::Inet6 => address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())),
            _ => None,
        }
    });
    let useful = |it: &IpAddr| match it {
        IpAddr::V4(it) => !it.is_loopback() && !it.is_link_local(),
        IpAddr::V6(it) => !it.is_loopback() && !it.is_unicast_link_local(),
    };
    found.filter(useful).collect()
}
