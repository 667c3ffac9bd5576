//! The ends of children, and what follows from them: a helper's is a container's start or a failure, a container's is recorded.

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::{NOT_STARTED, Purpose, RECORD_AGAIN, Shim, UNCLAIMED_MAX};
use crate::clock;
use crate::container::{Container, State, Stopping};
use crate::errand::{Report, shortened};
use crate::exec::kill_group;
use crate::fence;
use crate::protocol::{Failure, Response};
use crate::record::{self, STARTED};

impl Shim {
    /// Takes in the ends of children: helpers, containers, commands, and what was orphaned in between.
    pub(super) fn reap(&mut self) {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(it) => it,
            };
            let Some(pid) = status.pid().map(|it| it.as_raw()) else { continue };
            if self.reaper.as_ref().is_some_and(|it| it.pid == pid) {
                // All that the containers were has gone with it, and nothing new can be born there.
                self.shut_down(None);
                continue;
            }
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
                Some(it) => {
                    it.pid = Some(pid);
                    it.input = None;
                    let (session, apart) = (it.session, it.is_apart());
                    if apart {
                        self.tell(session, &Response::Done);
                    }
                }
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
        let why = if self.fenced { fence::MESSAGE } else { "" };
        self.container_ended(&name, exit(code, signal, Some(started_ns), why.to_owned()));
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

    pub(super) fn record(&mut self, name: &str) {
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
        let attached = std::mem::take(&mut container.attached);
        self.changed(name);
        let message = failed.unwrap_or_default();
        starters.into_iter().for_each(|it| self.fail(it, Failure::Start, message.clone()));
        stoppers.into_iter().for_each(|it| self.answer(it, &Response::Done, None));
        // What waits for them is in their pipes, and sent on.
        attached.into_iter().for_each(|it| self.answer(it, &Response::Executed { exit_code: 0 }, Some(&[])));
    }
}

fn exit(exit_code: i32, signal: Option<i32>, started_ns: Option<u64>, message: String) -> record::Exit {
    let message = shortened(message);
    record::Exit { exit_code, signal, oom_killed: false, started_ns, finished_ns: clock::now_ns(), message }
}
