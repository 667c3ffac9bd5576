//! `Priority`: a pod's priority is its class's, and one class at most is everybody's.
//!
//! Source: `plugin/pkg/admission/priority`.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use orlop_api::draft::Draft;
use orlop_api::status;

use super::lister::Lister;
use super::{Sight, forbidden, is};
use crate::stage::{Admission, Operation, Plugin, Subject};

/// The classes that Kubernetes has from the start. They are known here, so that the cluster's own pods do not wait for them.
const SYSTEM_CLASSES: &[(&str, i32)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// The priority of pods where no class is the default.
const NO_CLASS: i32 = 0;
const PREEMPTS: &str = "PreemptLowerPriority";

/// See the file's header.
pub struct Priority {
    classes: Lister,
}

/// What a class gives a pod.
struct Given {
    class: String,
    priority: i32,
    policy: String,
}

impl Priority {
    /// Looks classes up there.
    pub fn new(sight: &Sight) -> Self {
        Priority { classes: Lister::new(sight, "scheduling.k8s.io", "PriorityClass") }
    }

    /// The default class; of several, which a race may leave, the one with the least priority.
    fn default_class(&self) -> Option<PriorityClass> {
        if self.classes.is_empty() {
            return None;
        }
        let all = self.classes.all::<PriorityClass>("");
        all.into_iter().filter(|it| it.global_default == Some(true)).min_by_key(|it| it.value)
    }

    async fn given(&self, name: &str) -> status::Result<Option<Given>> {
        let system = SYSTEM_CLASSES.iter().find(|(it, _)| *it == name);
        if let Some((class, priority)) = system {
            return Ok(Some(Given { class: (*class).to_owned(), priority: *priority, policy: PREEMPTS.to_owned() }));
        }
        Ok(self.classes.get::<PriorityClass>("", name).await?.map(|it| of_class(name, it)))
    }
}

fn of_class(name: &str, it: PriorityClass) -> Given {
    let policy = it.preemption_policy.unwrap_or_else(|| PREEMPTS.to_owned());
    Given { class: name.to_owned(), priority: it.value, policy }
}

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        is(write.kind, "", "Pod") && write.sub.is_none() && write.operation != Operation::Delete
    }

    async fn admit(&self, write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(draft) = draft else { return Ok(()) };
        if write.operation == Operation::Update {
            // What was computed at the pod's creation stays, also if an update leaves it out.
            let old = draft.old::<Pod>().and_then(|it| it.spec.as_ref());
            let (priority, policy) = old.map(|it| (it.priority, it.preemption_policy.clone())).unwrap_or_default();
            if let Some(spec) = draft.get_mut::<Pod>().and_then(|it| it.spec.as_mut()) {
                spec.priority = spec.priority.or(priority);
                spec.preemption_policy = spec.preemption_policy.take().or(policy);
            }
            return Ok(());
        }
        let Some(spec) = draft.get_mut::<Pod>().and_then(|it| it.spec.as_mut()) else { return Ok(()) };
        let class = spec.priority_class_name.clone().filter(|it| !it.is_empty());
        let given = match &class {
            Some(name) => self
                .given(name)
                .await?
                .ok_or_else(|| forbidden(write, &format!("no PriorityClass with name {name} was found")))?,
            None => match self.default_class() {
                Some(it) => of_class(&it.metadata.name.clone().unwrap_or_default(), it),
                None => Given { class: String::new(), priority: NO_CLASS, policy: PREEMPTS.to_owned() },
            },
        };
        let computed = "priority admission controller computed";
        let of = "from the given PriorityClass name";
        if let Some(asked) = spec.priority.filter(|it| *it != given.priority) {
            let why = format!(
                "the integer value of priority ({asked}) must not be provided in pod spec; {computed} {} {of}",
                given.priority
            );
            return Err(forbidden(write, &why));
        }
        if let Some(asked) = spec.preemption_policy.as_deref().filter(|it| *it != given.policy) {
            let why = format!(
                "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; {computed} {} {of}",
                given.policy
            );
            return Err(forbidden(write, &why));
        }
        if class.is_none() && !given.class.is_empty() {
            spec.priority_class_name = Some(given.class);
        }
        spec.priority = Some(given.priority);
        spec.preemption_policy = Some(given.policy);
        Ok(())
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        is(write.kind, "scheduling.k8s.io", "PriorityClass") && write.operation != Operation::Delete
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let Some(class) = subject.draft.and_then(Draft::get::<PriorityClass>) else { return Ok(()) };
        if class.global_default != Some(true) {
            return Ok(());
        }
        let Some(default) = self.default_class() else { return Ok(()) };
        let name = default.metadata.name.unwrap_or_default();
        if write.operation == Operation::Create || class.metadata.name.as_deref() != Some(&name) {
            let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
            return Err(forbidden(write, &why));
        }
        Ok(())
    }
}
