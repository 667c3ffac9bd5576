//! `Pod`: containers that run together on one node.
//!
//! Its specification hardly changes once it exists; its status is its node's agent's; where it runs is decided once, by a binding.

mod columns;
mod extra;
mod label_keys;
mod status;
mod update;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodIP, PodStatus};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Selectable, Strategy, Sub};
use crate::kinds::pod_spec::defaults::{self, GRACE_PERIOD_SECONDS};
use crate::kinds::pod_spec::{annotations, resources, validation, warnings};
use crate::name;
use crate::table::{Column, Completed};

impl Strategy for Pod {
    const NAMES: Names = Names { plural: "pods", singular: "pod", short: &["po"], categories: &["all"] };
    const RETURNS_DELETED: bool = true;
    const SUBS: &'static [Sub] = &[
        Sub::Attach,
        Sub::Binding,
        Sub::EphemeralContainers,
        Sub::Eviction,
        Sub::Exec,
        Sub::Log,
        Sub::PortForward,
        Sub::Proxy,
        Sub::Resize,
        Sub::Status,
    ];
    const STATUS_RESETS: &'static [&'static [&'static str]] =
        &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]];
    const FIELDS: &'static [Selectable] = &[
        Selectable { path: "spec.nodeName", absent: "", from: &[] },
        Selectable { path: "spec.restartPolicy", absent: "", from: &[] },
        Selectable { path: "spec.schedulerName", absent: "", from: &[] },
        Selectable { path: "spec.serviceAccountName", absent: "", from: &[] },
        Selectable { path: "spec.hostNetwork", absent: "false", from: &[] },
        Selectable { path: "status.phase", absent: "", from: &[] },
        Selectable { path: "status.podIP", absent: "", from: &[] },
        Selectable { path: "status.podIPs", absent: "", from: &[] },
        Selectable { path: "status.nominatedNodeName", absent: "", from: &[] },
    ];
    const COLUMNS: &'static [Column] = columns::COLUMNS;
    const COMPLETED: Option<fn(&Value) -> Option<Completed>> = Some(columns::completed);

    fn grace_period_seconds(&self) -> Option<i64> {
        // Nothing runs of a pod that no node has, or that has finished: there is nothing to wait for.
        let bound = self.spec.as_ref().and_then(|it| it.node_name.as_deref()).is_some_and(|it| !it.is_empty());
        let phase = self.status.as_ref().and_then(|it| it.phase.as_deref());
        if !bound || matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let asked = self.spec.as_ref().and_then(|it| it.termination_grace_period_seconds);
        // A negative number means what one second means, and is kept for pods that were made with it.
        Some(asked.unwrap_or(GRACE_PERIOD_SECONDS)).map(|it| if it < 0 { 1 } else { it })
    }

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        defaults::default_spec(spec);
        defaults::default_pod_only(spec);
        if let Some(status) = &mut self.status {
            match (&status.pod_ip, &status.pod_ips) {
                (Some(ip), None) if !ip.is_empty() => status.pod_ips = Some(vec![PodIP { ip: ip.clone() }]),
                (None, Some(ips)) => status.pod_ip = ips.first().map(|it| it.ip.clone()),
                _ => {}
            }
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => {
                self.status = Some(first_status(self));
                label_keys::merge(self);
            }
            (Part::Main | Part::Finalize | Part::Approval, Some(old)) => self.status.clone_from(&old.status),
            (Part::Status, Some(old)) => {
                self.spec.clone_from(&old.spec);
                self.metadata.owner_references.clone_from(&old.metadata.owner_references);
                if let (Some(status), Some(before)) = (&mut self.status, &old.status) {
                    status.qos_class.clone_from(&before.qos_class);
                }
            }
            (Part::EphemeralContainers, Some(old)) => extra::keep_but_ephemeral(self, old),
            (Part::Resize, Some(old)) => extra::keep_but_resources(self, old),
            (Part::Binding, Some(old)) => bind(self, old),
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        // A binding fills in where the pod runs; what is to run stays the same.
        let bound = |it: &Self| it.spec.as_ref().is_some_and(|it| it.node_name.is_some());
        if bound(self) == bound(old) { Some(self.spec != old.spec) } else { Some(false) }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        let (Some(spec), before) = (&self.spec, old.and_then(|it| it.spec.as_ref())) else { return };
        let (name, own) = (self.metadata.name.as_deref(), self.metadata.annotations.as_ref());
        if let Some(own) = own.filter(|it| old.is_none_or(|old| old.metadata.annotations.as_ref() != Some(it))) {
            annotations::validate(own, spec, || Path::from("metadata.annotations"), errors);
        }
        if let Some(old) = old {
            annotations::validate_update(own, old.metadata.annotations.as_ref(), errors);
        }
        match (part, before) {
            (_, None) => {
                validation::validate_spec(spec, name, &Path::new("spec"), errors);
                if spec.ephemeral_containers.as_ref().is_some_and(|it| !it.is_empty()) {
                    errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
                }
                let gated = spec.scheduling_gates.as_ref().is_some_and(|it| !it.is_empty());
                if gated && spec.node_name.is_some() {
                    errors.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared");
                }
                own.into_iter().for_each(|it| annotations::validate_matching(it, spec, &Path::new("spec"), errors));
            }
            (Part::Main | Part::Finalize | Part::Approval, Some(before)) => {
                // What has not changed was checked when it was written.
                if spec != before {
                    validation::validate_spec(spec, name, &Path::new("spec"), errors);
                }
                update::validate(spec, before, errors);
            }
            (Part::Status, Some(before)) => {
                let was = old.and_then(|it| it.status.as_ref());
                if let Some(status) = self.status.as_ref().filter(|it| was != Some(it)) {
                    status::validate(status, was, before, errors);
                }
            }
            (Part::EphemeralContainers, Some(before)) => {
                validation::validate_spec(spec, name, &Path::new("spec"), errors);
                extra::validate_ephemeral(spec, before, own, errors);
            }
            (Part::Resize, Some(before)) => {
                validation::validate_spec(spec, name, &Path::new("spec"), errors);
                extra::validate_resize(self, old, before, errors);
            }
            (Part::Binding, Some(_)) => {}
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        // Programs update pods, and often; they are not told.
        let Some(spec) = self.spec.as_ref().filter(|_| old.is_none()) else { return Vec::new() };
        let complaints = name::dns1123_label(self.metadata.name.as_deref().unwrap_or_default());
        let mut warnings = Vec::new();
        if !complaints.is_empty() {
            let why = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended";
            warnings.push(format!("metadata.name: {why}: [{}]", complaints.join(" ")));
        }
        warnings.extend(warnings::of_pod(spec, Some(&self.metadata), None));
        warnings
    }
}

/// What a new pod's status says before anyone has looked at it.
fn first_status(pod: &Pod) -> PodStatus {
    let gated = pod.spec.as_ref().and_then(|it| it.scheduling_gates.as_ref()).is_some_and(|it| !it.is_empty());
    let conditions = gated.then(|| {
        vec![PodCondition {
            type_: "PodScheduled".into(),
            status: "False".into(),
            reason: Some("SchedulingGated".into()),
            message: Some("Scheduling is blocked due to non-empty scheduling gates".into()),
            ..PodCondition::default()
        }]
    });
    let quality = pod.spec.as_ref().map(|it| resources::quality_of_service(it).to_owned());
    PodStatus { phase: Some("Pending".into()), conditions, qos_class: quality, ..PodStatus::default() }
}

/// Takes only the node and the `PodScheduled` condition from the new object.
fn bind(new: &mut Pod, old: &Pod) {
    let node = new.spec.as_mut().and_then(|it| it.node_name.take());
    let scheduled = new
        .status
        .as_mut()
        .and_then(|it| it.conditions.take())
        .into_iter()
        .flatten()
        .find(|it| it.type_ == "PodScheduled");
    let mut annotations = new.metadata.annotations.take();
    *new = Pod { metadata: std::mem::take(&mut new.metadata), ..old.clone() };
    // A binding may bring annotations; they are added to the pod's.
    if let Some(before) = &old.metadata.annotations {
        let merged = annotations.get_or_insert_with(Default::default);
        for (key, value) in before {
            merged.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    new.metadata.annotations = annotations;
    if let Some(spec) = &mut new.spec {
        spec.node_name = node;
    }
    if let Some(scheduled) = scheduled {
        let conditions = new.status.get_or_insert_with(Default::default).conditions.get_or_insert_with(Vec::new);
        match conditions.iter_mut().find(|it| it.type_ == scheduled.type_) {
            Some(it) => *it = scheduled,
            None => conditions.push(scheduled),
        }
    }
}
