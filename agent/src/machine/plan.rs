//! A plan: what the machine wants done, as values that print as text.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use super::back_off::go_duration;
use crate::runtime::Id;

/// One thing to do. Actions of a plan are done in order; when one fails, the rest waits for the next plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the volumes and fill them. Takes long; shows as [`super::VolumeState::Mounting`].
    MountVolumes,
    /// Make the namespaces that the containers share.
    RunSandbox { attempt: u32 },
    /// Give the pod its address and connect the sandbox.
    AttachNetwork { sandbox: Id, pid: Option<u32> },
    /// Make sure the container's image is here, as its pull policy says. Takes long; shows as [`super::ImageState::Pulling`].
    PullImage { container: String, attempt: u32 },
    /// Create a container and start it. `back_off` is the delay that holds for the restart after this one.
    RunContainer { container: String, sandbox: Id, attempt: u32, back_off: Option<Duration> },
    /// Start a container that was created before the agent died.
    StartContainer { container: String, id: Id },
    /// Give a running container the resources that it asks for now.
    ResizeContainer { container: String, id: Id },
    /// Run the preStop hook, ask the container to stop, and kill it after `grace`. Takes long; shows in `Memory::stopping`.
    StopContainer { container: String, id: Id, grace: Duration, pre_stop: bool, message: String },
    /// Remove a container that is dead, and its log.
    RemoveContainer { id: Id },
    /// Stop a sandbox and all in it, at once.
    StopSandbox { id: Id },
    /// Remove a sandbox and what is left in it.
    RemoveSandbox { id: Id },
    /// Give the pod's address back.
    DetachNetwork,
    /// Unmount and remove the pod's volumes and its folder.
    RemoveVolumes,
    /// Delete the pod from the API with grace 0, provided that it still has this uid.
    DeletePod,
    /// Tell the user something, once per `key`.
    Announce { key: String, warning: bool, reason: &'static str, message: String, container: Option<String> },
}

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    /// The word the kubelet's events begin with.
    pub fn word(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }
}

/// A probe that should be running, of one container that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeWanted {
    pub id: Id,
    pub container: String,
    pub kind: ProbeKind,
    pub started: Timestamp,
}

/// What to do about a pod now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// What the API should say of the pod; none where it no longer has it.
    pub status: Option<PodStatus>,
    pub probes: Vec<ProbeWanted>,
    /// When to decide again though nothing happened.
    pub recheck: Option<Timestamp>,
}

impl Plan {
    /// A plan that so far only reports.
    pub fn reporting(status: PodStatus) -> Self {
        Plan { status: Some(status), ..Plan::default() }
    }

    /// Looks again at `at`, or earlier where that was already planned.
    pub fn recheck_at(&mut self, at: Timestamp) {
        self.recheck = Some(self.recheck.map_or(at, |it| it.min(at)));
    }

    /// Adds an action.
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::MountVolumes => write!(f, "mount volumes"),
            Action::RunSandbox { attempt } => write!(f, "run sandbox, attempt {attempt}"),
            Action::AttachNetwork { sandbox, .. } => write!(f, "attach {sandbox} to the network"),
            Action::PullImage { container, attempt } => write!(f, "get the image of {container}, attempt {attempt}"),
            Action::RunContainer { container, sandbox, attempt, back_off } => {
                write!(f, "run container {container} in {sandbox}, attempt {attempt}")?;
                back_off.map_or(Ok(()), |it| write!(f, ", next back-off {}", go_duration(it)))
            }
            Action::StartContainer { container, id } => write!(f, "start container {container} ({id})"),
            Action::ResizeContainer { container, id } => write!(f, "change the resources of {container} ({id})"),
            Action::StopContainer { container, id, grace, pre_stop, message } => {
                let hook = if *pre_stop { " after its hook" } else { "" };
                write!(f, "stop container {container} ({id}) within {}{hook}: {message}", go_duration(*grace))
            }
            Action::RemoveContainer { id } => write!(f, "remove container {id}"),
            Action::StopSandbox { id } => write!(f, "stop sandbox {id}"),
            Action::RemoveSandbox { id } => write!(f, "remove sandbox {id}"),
            Action::DetachNetwork => write!(f, "detach from the network"),
            Action::RemoveVolumes => write!(f, "remove volumes"),
            Action::DeletePod => write!(f, "delete the pod"),
            Action::Announce { reason, message, .. } => write!(f, "announce {reason}: {message}"),
        }
    }
}

/// One line an action, then the state of the pod as it would be reported.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for action in &self.actions {
            writeln!(f, "- {action}")?;
        }
        for probe in &self.probes {
            writeln!(f, "~ {} probe of {} ({})", probe.kind.word(), probe.container, probe.id)?;
        }
        if let Some(status) = &self.status {
            writeln!(f, "= {}", super::status::brief(status))?;
        }
        if let Some(at) = self.recheck {
            writeln!(f, "@ {at}")?;
        }
        Ok(())
    }
}
