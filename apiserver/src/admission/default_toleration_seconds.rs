//! `DefaultTolerationSeconds`: pods that do not say how long they stay on a node that is not ready or not reachable stay for a set time.
//!
//! Source: `plugin/pkg/admission/defaulttolerationseconds`. The time is the server's choice (`--default-not-ready-toleration-seconds`,
//! `--default-unreachable-toleration-seconds`); see docs/decisions/004 for why it is not Kubernetes' by default.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use orlop_api::draft::Draft;
use orlop_api::status;

use super::is;
use crate::stage::{Admission, Operation, Plugin};

/// How long pods stay on a node that is lost, in seconds, if they do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    pub not_ready_seconds: i64,
    pub unreachable_seconds: i64,
}

/// See the file's header.
pub struct DefaultTolerationSeconds(pub Patience);

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        is(write.kind, "", "Pod") && write.sub.is_none() && write.operation != Operation::Delete
    }

    async fn admit(&self, _write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(spec) = draft.and_then(Draft::get_mut::<Pod>).and_then(|it| it.spec.as_mut()) else { return Ok(()) };
        let taints = [
            ("node.kubernetes.io/not-ready", self.0.not_ready_seconds),
            ("node.kubernetes.io/unreachable", self.0.unreachable_seconds),
        ];
        let given = spec.tolerations.as_deref().unwrap_or_default();
        let missing: Vec<Toleration> = taints
            .into_iter()
            .filter(|(taint, _)| !given.iter().any(|it| tolerates(it, taint)))
            .map(|(taint, seconds)| Toleration {
                key: Some(taint.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(seconds),
                ..Toleration::default()
            })
            .collect();
        if !missing.is_empty() {
            spec.tolerations.get_or_insert_default().extend(missing);
        }
        Ok(())
    }
}

fn tolerates(it: &Toleration, taint: &str) -> bool {
    let none_or = |field: &Option<String>, value: &str| field.as_deref().is_none_or(|it| it.is_empty() || it == value);
    none_or(&it.key, taint) && none_or(&it.effect, "NoExecute")
}
