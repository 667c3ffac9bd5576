//! `TaintNodesByCondition`: a new node takes no pods until the node controller has seen it ready.
//!
//! Source: `plugin/pkg/admission/nodetaint`.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Taint};
use orlop_api::draft::Draft;
use orlop_api::status;

use super::is;
use crate::stage::{Admission, Operation, Plugin};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const NO_SCHEDULE: &str = "NoSchedule";

/// See the file's header.
pub struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        is(write.kind, "", "Node") && write.sub.is_none() && write.operation == Operation::Create
    }

    async fn admit(&self, _write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(node) = draft.and_then(Draft::get_mut::<Node>) else { return Ok(()) };
        let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
        if !taints.iter().any(|it| it.key == NOT_READY && it.effect == NO_SCHEDULE) {
            let (key, effect) = (NOT_READY.to_owned(), NO_SCHEDULE.to_owned());
            taints.push(Taint { key, effect, ..Taint::default() });
        }
        Ok(())
    }
}
