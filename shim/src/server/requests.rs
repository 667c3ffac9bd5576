//! What the agent asks, done or begun.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockaddrLike};
use nix::unistd::pipe2;

use super::{EXECS_MAX, Purpose, SHUTDOWN, Shim};
use crate::clock;
use crate::container::{Container, State, Stopping};
use crate::errand::Helper;
use crate::exec::Exec;
use crate::protocol::{FRAME_MAX_BYTES, Failure, Request, Response};
use crate::record::{self, CONTAINERS, EXIT, SHIM};

impl Shim {
    pub(super) fn request(&mut self, id: u64, request: Request) {
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
            fcntl(&reading, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
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
