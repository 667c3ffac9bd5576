//! `NamespaceLifecycle`: nothing is created in a namespace that is not there or is going, and three namespaces stay for ever.
//!
//! Source: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use async_trait::async_trait;
use orlop_api::draft::Draft;
use orlop_api::status::{self, Cause, Status};
use serde::Deserialize;

use super::{Sight, forbidden, is};
use crate::authenticate::Found;
use crate::stage::{Admission, Operation, Plugin};

/// The namespaces that nobody may delete.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// See the file's header.
pub struct NamespaceLifecycle {
    sight: Sight,
}

impl NamespaceLifecycle {
    /// Looks namespaces up there.
    pub fn new(sight: Sight) -> Self {
        NamespaceLifecycle { sight }
    }
}

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        match write.operation {
            Operation::Delete => is(write.kind, "", "Namespace"),
            _ => !write.namespace.is_empty(),
        }
    }

    async fn admit(&self, write: &Admission<'_>, _draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        if is(write.kind, "", "Namespace") {
            if write.operation == Operation::Delete && write.sub.is_none() && IMMORTAL.contains(&write.name) {
                return Err(forbidden(write, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        if write.namespace.is_empty() || write.operation == Operation::Delete {
            return Ok(());
        }
        let Some(found) = self.sight.find("Namespace", "", write.namespace).await? else {
            return Err(Status::not_found("", "namespaces", write.namespace));
        };
        if write.operation != Operation::Create || !terminating(&found) {
            return Ok(());
        }
        let namespace = write.namespace;
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut refusal = forbidden(write, &why);
        if let Some(details) = refusal.details.as_mut() {
            details.causes.push(Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".to_owned(),
            });
        }
        Err(refusal)
    }
}

fn terminating(found: &Found) -> bool {
    #[derive(Deserialize)]
    struct Slim {
        #[serde(default)]
        status: Phase,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Phase {
        phase: String,
    }
    found.deleting || serde_json::from_slice::<Slim>(&found.json).is_ok_and(|it| it.status.phase == "Terminating")
}
