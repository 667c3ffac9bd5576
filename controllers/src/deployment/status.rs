//! What to report: the counts, and the conditions Available and Progressing with Kubernetes' reasons and messages.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DeploymentCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_client::clock;
use serde_json::{Value, json};

use super::{Rollout, Set, patch_status, revision};
use crate::plan::Plan;
use crate::view::*;

const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// The counts of a status.
#[derive(Clone, Copy, PartialEq)]
struct Counts {
    replicas: i32,
    updated: i32,
    ready: i32,
    available: i32,
    unavailable: i32,
}

impl Rollout<'_> {
    fn counts(&self) -> Counts {
        let available: i32 = self.sets.iter().map(Set::available).sum();
        Counts {
            replicas: self.sets.iter().map(Set::status_replicas).sum(),
            updated: self.new.map_or(0, |at| self.sets[at].status_replicas()),
            ready: self.sets.iter().map(Set::ready).sum(),
            available,
            unavailable: (self.total() + self.fresh - available).max(0),
        }
    }

    /// Whether all pods are of the new template and available.
    pub(super) fn is_complete(&self) -> bool {
        let (counts, want) = (self.counts(), self.want());
        counts.updated == want && counts.replicas == want && counts.available == want
    }

    fn progressing(&self) -> Option<&DeploymentCondition> {
        self.conditions.iter().find(|it| it.type_ == "Progressing")
    }

    fn has_deadline(&self) -> bool {
        self.deployment.spec.progress_deadline_seconds.is_some_and(|it| it != i32::MAX)
    }

    pub(super) fn note_found(&mut self, message: &str) {
        if self.has_deadline() && self.progressing().is_none() {
            self.set("Progressing", "True", "FoundNewReplicaSet", message);
        }
    }

    pub(super) fn note_created(&mut self, message: &str) {
        if self.has_deadline() {
            self.set("Progressing", "True", "NewReplicaSetCreated", message);
        }
    }

    pub(super) fn note_pause(&mut self) {
        let reason = self.progressing().and_then(|it| it.reason.clone()).unwrap_or_default();
        if !self.has_deadline() || reason == TIMED_OUT {
            return;
        }
        match (self.deployment.spec.paused, reason == PAUSED) {
            (true, false) => self.set("Progressing", "Unknown", PAUSED, "Deployment is paused"),
            (false, true) => self.set("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed"),
            _ => {}
        }
    }

    /// Sets a condition; what is true already, for the same reason, keeps its times.
    fn set(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let known = self.conditions.iter().position(|it| it.type_ == type_);
        let old = known.map(|at| &self.conditions[at]);
        if old.is_some_and(|it| it.status == status && it.reason.as_deref() == Some(reason)) {
            return;
        }
        let kept = old.filter(|it| it.status == status).and_then(|it| it.last_transition_time.clone());
        self.replace(type_, status, reason, message, kept);
    }

    fn replace(&mut self, type_: &str, status: &str, reason: &str, message: &str, kept: Option<Time>) {
        self.conditions.retain(|it| it.type_ != type_);
        self.conditions.push(DeploymentCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(Time(self.now)),
            last_transition_time: Some(kept.unwrap_or(Time(self.now))),
        });
    }

    fn judge_availability(&mut self) {
        if self.counts().available >= self.want() - self.margins().1 {
            let message = "Deployment has minimum availability.";
            self.set("Available", "True", "MinimumReplicasAvailable", message);
        } else {
            let message = "Deployment does not have minimum availability.";
            self.set("Available", "False", "MinimumReplicasUnavailable", message);
        }
    }

    /// Judges the progress, then reports. Availability comes first, as the order of the conditions is the order in which they changed.
    pub(super) fn report_progress(&mut self, plan: &mut Plan) {
        self.judge_availability();
        if !self.has_deadline() {
            self.conditions.retain(|it| it.type_ != "Progressing");
            return self.report(plan);
        }
        let counts = self.counts();
        let name = match self.new {
            Some(at) => format!("ReplicaSet \"{}\"", name_of(&self.sets[at].view.metadata)),
            None => format!("Deployment \"{}\"", name_of(&self.deployment.metadata)),
        };
        let finished = counts.replicas == counts.updated
            && self.progressing().is_some_and(|it| it.reason.as_deref() == Some(COMPLETE));
        if !finished {
            if self.is_complete() {
                self.set("Progressing", "True", COMPLETE, &format!("{name} has successfully progressed."));
            } else if self.has_progressed(counts) {
                let message = format!("{name} is progressing.");
                let kept = self.progressing().filter(|it| it.status == "True");
                let kept = kept.and_then(|it| it.last_transition_time.clone());
                self.replace("Progressing", "True", "ReplicaSetUpdated", &message, kept);
            } else if self.is_late() {
                self.set("Progressing", "False", TIMED_OUT, &format!("{name} has timed out progressing."));
            }
        }
        let failure = self.sets.iter().rev().find_map(|set| {
            let all = set.view.status.conditions.iter().flatten();
            all.into_iter().find(|it| it.type_ == "ReplicaFailure" && it.status == "True").cloned()
        });
        match (failure, self.failed.clone()) {
            (Some(it), _) => {
                let (reason, message) = (it.reason.unwrap_or_default(), it.message.unwrap_or_default());
                self.set("ReplicaFailure", "True", &reason, &message);
            }
            (None, Some(error)) if self.new.is_none() => {
                self.set("Progressing", "False", "ReplicaSetCreateError", &error);
            }
            (None, _) => self.conditions.retain(|it| it.type_ != "ReplicaFailure"),
        }
        if let Some(left) = self.time_left().filter(|_| !self.is_complete()) {
            plan.recheck_in(left + Duration::from_secs(1));
        }
        self.report(plan);
    }

    fn has_progressed(&self, counts: Counts) -> bool {
        let old = &self.deployment.status;
        let number = |it: Option<i32>| it.unwrap_or(0);
        counts.updated > number(old.updated_replicas)
            || counts.replicas - counts.updated < number(old.replicas) - number(old.updated_replicas)
            || counts.ready > number(old.ready_replicas)
            || counts.available > number(old.available_replicas)
    }

    fn is_late(&self) -> bool {
        match self.progressing().and_then(|it| it.reason.as_deref()) {
            Some(TIMED_OUT) => true,
            Some(COMPLETE) | None => false,
            Some(_) => self.time_left().is_some_and(|it| it.is_zero()),
        }
    }

    /// Until the deadline; none where none is running.
    fn time_left(&self) -> Option<Duration> {
        let condition = self.progressing()?;
        if matches!(condition.reason.as_deref(), Some(COMPLETE | TIMED_OUT | PAUSED)) {
            return None;
        }
        let deadline = u64::try_from(self.deployment.spec.progress_deadline_seconds?).ok()?;
        let since = clock::since(condition.last_update_time.as_ref()?.0, self.now);
        Some(Duration::from_secs(deadline).saturating_sub(since))
    }

    /// Writes the status, if it says something new.
    pub(super) fn report(&mut self, plan: &mut Plan) {
        self.judge_availability();
        let counts = self.counts();
        let old = &self.deployment.status;
        let number = |it: Option<i32>| it.unwrap_or(0);
        let shown = Counts {
            replicas: number(old.replicas),
            updated: number(old.updated_replicas),
            ready: number(old.ready_replicas),
            available: number(old.available_replicas),
            unavailable: number(old.unavailable_replicas),
        };
        let generation = self.deployment.metadata.generation;
        if shown == counts
            && old.observed_generation == generation
            && old.collision_count == self.collisions
            && old.conditions.as_deref().unwrap_or_default() == self.conditions
        {
            return;
        }
        // Zero is absent in Kubernetes' status: null takes the field away.
        let count = |it: i32| if it == 0 { Value::Null } else { it.into() };
        let status = revision::fields([
            ("observedGeneration", json!(generation)),
            ("replicas", count(counts.replicas)),
            ("updatedReplicas", count(counts.updated)),
            ("readyReplicas", count(counts.ready)),
            ("availableReplicas", count(counts.available)),
            ("unavailableReplicas", count(counts.unavailable)),
            ("collisionCount", json!(self.collisions)),
            ("conditions", json!(self.conditions)),
        ]);
        let mut action = patch_status(self.deployment, json!({ "status": status }));
        let renewed = plan.steps.iter().any(|it| it.action.resource() == Some(DEPLOYMENTS));
        if let (true, orlop_client::write::Action::Patch { revision, .. }) = (renewed, &mut action) {
            // The annotation written before has moved the version.
            *revision = None;
        }
        plan.act(action);
    }
}
