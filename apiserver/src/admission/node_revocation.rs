//! `NodeRevocation`: only who may `revoke` nodes writes down whose certificates are refused, and the time is this server's.
//!
//! The ConfigMap of [`orlop_api::revocation`] lies in a namespace in which others may edit. Neither they nor a node must be able to lock nodes
//! out or to let a revoked one in: besides the right to write the object it takes the verb `revoke` on `nodes`, of the whole cluster, which
//! only administrators and the controllers have. Kubernetes has no such plugin; the pattern is that of `approve` on signers.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use orlop_api::draft::Draft;
use orlop_api::revocation::{NAME, NAMESPACE, VERB};
use orlop_api::status;
use orlop_client::clock;

use super::{forbidden, is};
use crate::authorize::Policy;
use crate::stage::{Admission, Attributes, Authorizer, Decision, Operation, Plugin, Subject};

/// See the file's header.
pub struct NodeRevocation {
    policy: Arc<Policy>,
}

impl NodeRevocation {
    /// Judges by these rules.
    pub fn new(policy: Arc<Policy>) -> Self {
        NodeRevocation { policy }
    }

    fn may(&self, write: &Admission<'_>) -> bool {
        let attributes = Attributes {
            identity: write.identity,
            verb: VERB,
            resource_request: true,
            group: "",
            version: "v1",
            resource: "nodes",
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            field_selector: "",
            label_selector: "",
        };
        self.policy.authorize(&attributes) == Decision::Allow
    }
}

fn is_ours(write: &Admission<'_>) -> bool {
    is(write.kind, "", "ConfigMap")
        && write.namespace == NAMESPACE
        && write.name == NAME
        && write.operation != Operation::Connect
}

#[async_trait]
impl Plugin for NodeRevocation {
    fn name(&self) -> &'static str {
        "NodeRevocation"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        is_ours(write) && write.operation != Operation::Delete
    }

    async fn admit(&self, write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        // Before the draft is touched: who may not do it learns nothing of what it would become.
        if !self.may(write) {
            return Ok(());
        }
        let Some(it) = draft.and_then(|it| it.get_mut::<ConfigMap>()) else { return Ok(()) };
        let now = orlop_api::meta::whole_seconds(clock::now()).to_string();
        for at in it.data.iter_mut().flat_map(|it| it.values_mut()).filter(|it| it.is_empty()) {
            at.clone_from(&now);
        }
        Ok(())
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        is_ours(write)
    }

    async fn validate(&self, write: &Admission<'_>, _subject: Subject<'_>) -> status::Result<()> {
        if self.may(write) {
            return Ok(());
        }
        Err(forbidden(write, &format!("user not permitted to {VERB} nodes")))
    }
}
