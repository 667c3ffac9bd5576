//! `ServiceAccount`: a pod runs as a service account of its namespace, `default` if it names none, and that account must exist.
//!
//! It also hands the account's `imagePullSecrets` to pods that have none. It does not yet mount a token: the projected volume
//! `kube-api-access` comes with projected volumes. Source: `plugin/pkg/admission/serviceaccount`.

use std::time::Duration;

use async_trait::async_trait;
use orlop_api::status::{self, Status};
use serde_json::Value;

use super::{Sight, forbidden, is};
use crate::authenticate::Found;
use crate::stage::{Admission, Operation, Plugin};

const DEFAULT: &str = "default";

/// Marks the mirror pods of static pods, which belong to their node.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// The account `default` is made by a controller right after its namespace: it is waited for, as in Kubernetes, ten times this long.
const DEFAULT_PAUSE: Duration = Duration::from_millis(100);
const DEFAULT_TRIES: usize = 10;

/// See the file's header.
pub struct ServiceAccount {
    sight: Sight,
}

impl ServiceAccount {
    /// Looks accounts up there.
    pub fn new(sight: Sight) -> Self {
        ServiceAccount { sight }
    }

    async fn account(&self, namespace: &str, name: &str) -> status::Result<Option<Found>> {
        let tries = if name == DEFAULT { DEFAULT_TRIES } else { 1 };
        for attempt in 0..tries {
            if attempt > 0 {
                tokio::time::sleep(DEFAULT_PAUSE).await;
            }
            if let Some(found) = self.sight.find("ServiceAccount", namespace, name).await? {
                return Ok(Some(found));
            }
            // Where there is no namespace there will be no account, and another plugin says so.
            if self.sight.find("Namespace", "", namespace).await?.is_none() {
                break;
            }
        }
        Ok(None)
    }
}

fn creates_pod(write: &Admission<'_>) -> bool {
    write.operation == Operation::Create && write.sub.is_none() && is(write.kind, "", "Pod")
}

fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][MIRROR].is_null()
}

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn mutates(&self, write: &Admission<'_>) -> bool {
        creates_pod(write)
    }

    async fn mutate(&self, write: &Admission<'_>, pod: &mut Value) -> status::Result<()> {
        if !pod["spec"].is_object() || is_mirror(pod) {
            return Ok(());
        }
        let spec = &mut pod["spec"];
        let given = ["serviceAccountName", "serviceAccount"]
            .iter()
            .find_map(|it| spec[*it].as_str().filter(|it| !it.is_empty()).map(str::to_owned));
        let name = given.unwrap_or_else(|| DEFAULT.to_owned());
        let Some(found) = self.account(write.namespace, &name).await? else {
            if self.sight.find("Namespace", "", write.namespace).await?.is_none() {
                return Err(Status::not_found("", "namespaces", write.namespace));
            }
            let missing = format!("serviceaccount \"{name}\" not found");
            let named = pod["metadata"]["name"].as_str().unwrap_or(write.name).to_owned();
            let write = Admission { name: &named, ..write.clone() };
            return Err(forbidden(
                &write,
                &format!("error looking up service account {}/{name}: {missing}", write.namespace),
            ));
        };
        spec["serviceAccountName"] = name.into();
        let has_secrets = spec["imagePullSecrets"].as_array().is_some_and(|it| !it.is_empty());
        if !has_secrets
            && let Ok(account) = serde_json::from_slice::<Value>(&found.json)
            && account["imagePullSecrets"].as_array().is_some_and(|it| !it.is_empty())
        {
            spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        Ok(())
    }
}
