//! `PodSecurity`: namespaces say by their labels how much their pods may ask of the node.
//!
//! In: pods, what makes pods, and namespaces. Out: a refusal where the namespace enforces a level, a warning where it warns. What a
//! level forbids is told in [`checks`]. Source: `k8s.io/pod-security-admission/admission`.

pub mod checks;

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod, PodTemplate, PodTemplateSpec, ReplicationController};
use orlop_api::draft::Draft;
use orlop_api::field::{Errors, Path};
use orlop_api::status::{self, Status};

use super::lister::Lister;
use super::{Sight, forbidden, is};
use crate::stage::{Admission, Operation, Plugin, Subject};
use checks::{Level, Policy};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How many pods of a namespace are looked at when it begins to enforce a level.
const PODS_MAX: usize = 3000;

/// The groups and kinds of what makes pods.
const MAKERS: &[(&str, &str)] = &[
    ("", "PodTemplate"),
    ("", "ReplicationController"),
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
];

/// See the file's header.
pub struct PodSecurity {
    sight: Sight,
    pods: Lister,
}

/// What a namespace wants of its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    enforce: Policy,
    audit: Policy,
    warn: Policy,
}

impl PodSecurity {
    /// Looks namespaces and pods up there.
    pub fn new(sight: &Sight) -> Self {
        PodSecurity { sight: sight.clone(), pods: Lister::new(sight, "", "Pod") }
    }

    async fn wanted(&self, namespace: &str) -> status::Result<Wanted> {
        let Some(found) = self.sight.find("Namespace", "", namespace).await? else { return Ok(Wanted::default()) };
        // Most namespaces say nothing, and their bytes show it.
        if !found.json.windows(PREFIX.len()).any(|it| it == PREFIX.as_bytes()) {
            return Ok(Wanted::default());
        }
        let namespace: Namespace = serde_json::from_slice(&found.json).map_err(Status::internal)?;
        Ok(read(&namespace.metadata.labels.unwrap_or_default(), &mut Errors::default()))
    }

    /// Warns of pods that a new level would not let in.
    fn warn_of_present(&self, write: &Admission<'_>, name: &str, policy: &Policy) {
        let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
        for object in self.pods.objects(name).into_iter().take(PODS_MAX) {
            let Ok(pod) = serde_json::from_slice::<Pod>(&object.json) else { continue };
            let Some(spec) = &pod.spec else { continue };
            let reasons: Vec<&str> = checks::check(policy, &pod.metadata, spec).iter().map(|it| it.reason).collect();
            if !reasons.is_empty() {
                let entry = found.entry(reasons.join(", ")).or_insert_with(|| (object.head.name.to_string(), 0));
                entry.1 += 1;
            }
        }
        if found.is_empty() {
            return;
        }
        write.notes.warn(format!(
            "existing pods in namespace {name:?} violate the new PodSecurity enforce level \"{policy}\""
        ));
        let mut lines: Vec<String> = found
            .into_iter()
            .map(|(reasons, (first, count))| match count {
                1 => format!("{first}: {reasons}"),
                2 => format!("{first} (and 1 other pod): {reasons}"),
                _ => format!("{first} (and {} other pods): {reasons}", count - 1),
            })
            .collect();
        lines.sort();
        lines.into_iter().for_each(|it| write.notes.warn(it));
    }

    fn judge_namespace(&self, write: &Admission<'_>, draft: &Draft<'_>) -> status::Result<()> {
        let mut errors = Errors::default();
        let of = |labels: Option<&BTreeMap<String, String>>, errors: &mut Errors| {
            labels.map(|it| read(it, errors)).unwrap_or_default()
        };
        let new = of(draft.metadata().labels.as_ref(), &mut errors);
        let Some(old) = draft.old_metadata() else {
            return if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "Namespace", write.name, &errors)) };
        };
        let mut before = Errors::default();
        let old = of(old.labels.as_ref(), &mut before);
        // What was wrong already does not keep the namespace from being changed.
        if !errors.is_empty() && before.is_empty() {
            return Err(Status::invalid("", "Namespace", write.name, &errors));
        }
        if new.enforce != old.enforce && new.enforce.level != Level::Privileged {
            self.warn_of_present(write, write.name, &new.enforce);
        }
        Ok(())
    }
}

/// Reads a namespace's labels. A level that cannot be read is the strictest.
fn read(labels: &BTreeMap<String, String>, errors: &mut Errors) -> Wanted {
    let mut policy = |mode: &str| {
        let key = format!("{PREFIX}{mode}");
        let mut policy = Policy::default();
        if let Some(text) = labels.get(&key) {
            policy.level = Level::parse(text).unwrap_or_else(|| {
                let at = Path::new("metadata").child("labels").key(&key);
                errors.invalid(at, text, "must be one of privileged, baseline, restricted");
                Level::Restricted
            });
        }
        let key = format!("{key}-version");
        if let Some(text) = labels.get(&key)
            && !policy.set_version(text)
        {
            errors.invalid(Path::new("metadata").child("labels").key(&key), text, "must be \"latest\" or \"v1.x\"");
        }
        policy
    };
    Wanted { enforce: policy("enforce"), audit: policy("audit"), warn: policy("warn") }
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        let kind = write.kind;
        let is_maker = || MAKERS.iter().any(|(group, name)| is(kind, group, name));
        write.operation != Operation::Delete
            && write.sub.is_none()
            && (is(kind, "", "Pod") || is(kind, "", "Namespace") || is_maker())
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let Some(draft) = subject.draft else { return Ok(()) };
        if is(write.kind, "", "Namespace") {
            return self.judge_namespace(write, draft);
        }
        let wanted = self.wanted(write.namespace).await?;
        if wanted == Wanted::default() {
            return Ok(());
        }
        if let Some(pod) = draft.get::<Pod>() {
            let Some(spec) = &pod.spec else { return Ok(()) };
            let before = draft.old::<Pod>().and_then(|it| it.spec.as_ref());
            if before.is_some_and(|it| it.ephemeral_containers == spec.ephemeral_containers) {
                // Nothing else that counts can be changed in a pod.
                return Ok(());
            }
            let found = checks::check(&wanted.enforce, &pod.metadata, spec);
            if !found.is_empty() {
                let why = format!("violates PodSecurity \"{}\": {}", wanted.enforce, checks::details(&found));
                return Err(forbidden(write, &why));
            }
            warn(write, &wanted, &pod.metadata, spec);
        } else if let Some((metadata, Some(spec))) =
            template(draft).map(|it| (it.metadata.unwrap_or_default(), it.spec))
        {
            warn(write, &wanted, &metadata, &spec);
        }
        Ok(())
    }
}

fn warn(
    write: &Admission<'_>,
    wanted: &Wanted,
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    spec: &k8s_openapi::api::core::v1::PodSpec,
) {
    let told = |policy: &Policy| {
        let found = checks::check(policy, metadata, spec);
        (!found.is_empty()).then(|| format!("would violate PodSecurity \"{policy}\": {}", checks::details(&found)))
    };
    if let Some(text) = told(&wanted.audit) {
        write.notes.annotate("pod-security.kubernetes.io/audit-violations", text);
    }
    if let Some(text) = told(&wanted.warn) {
        write.notes.warn(text);
    }
}

/// The pods that an object would make.
fn template(draft: &Draft<'_>) -> Option<PodTemplateSpec> {
    macro_rules! of {
        ($($kind:ty => $at:expr),* $(,)?) => {
            $(if let Some(it) = draft.get::<$kind>() {
                let at: fn(&$kind) -> Option<PodTemplateSpec> = $at;
                return at(it);
            })*
        };
    }
    of! {
        PodTemplate => |it| it.template.clone(),
        ReplicationController => |it| it.spec.as_ref()?.template.clone(),
        DaemonSet => |it| Some(it.spec.as_ref()?.template.clone()),
        Deployment => |it| Some(it.spec.as_ref()?.template.clone()),
        ReplicaSet => |it| it.spec.as_ref()?.template.clone(),
        StatefulSet => |it| Some(it.spec.as_ref()?.template.clone()),
        Job => |it| Some(it.spec.as_ref()?.template.clone()),
        CronJob => |it| it.spec.as_ref()?.job_template.spec.as_ref().map(|it| it.template.clone()),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(labels: Value, expected: (&str, &str), mistakes: &[&str]) {
        let mut errors = Errors::default();
        let wanted = read(&serde_json::from_value(labels).unwrap(), &mut errors);
        assert_eq!((wanted.enforce.to_string().as_str(), wanted.warn.to_string().as_str()), expected);
        let found: Vec<String> = errors.list().iter().map(ToString::to_string).collect();
        assert_eq!(found, mistakes);
    }

    #[test]
    fn namespaces_say_what_they_want() {
        check(json!({}), ("privileged:latest", "privileged:latest"), &[]);
        let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.24",
            "pod-security.kubernetes.io/warn": "restricted"});
        check(labels, ("baseline:v1.24", "restricted:latest"), &[]);
        check(
            json!({"pod-security.kubernetes.io/enforce": "some", "pod-security.kubernetes.io/warn-version": "1"}),
            ("restricted:latest", "privileged:latest"),
            &[
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"some\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1\": must be \"latest\" or \"v1.x\"",
            ],
        );
    }
}
