//! `ServiceAccount`: a pod runs as a service account of its namespace, `default` if it names none, and that account must exist.
//!
//! It also hands the account's `imagePullSecrets` to pods that have none. It does not yet mount a token: the projected volume
//! `kube-api-access` comes with projected volumes. Source: `plugin/pkg/admission/serviceaccount`.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{LocalObjectReference, Pod};
use orlop_api::draft::Draft;
use orlop_api::status;

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

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        write.operation == Operation::Create && write.sub.is_none() && is(write.kind, "", "Pod")
    }

    async fn admit(&self, write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(pod) = draft.and_then(Draft::get_mut::<Pod>) else { return Ok(()) };
        if is_mirror(pod) {
            return Ok(());
        }
        let Some(spec) = pod.spec.as_mut() else { return Ok(()) };
        let given = [&spec.service_account_name, &spec.service_account];
        let given = given.into_iter().flatten().find(|it| !it.is_empty()).cloned();
        let name = given.unwrap_or_else(|| DEFAULT.to_owned());
        let Some(found) = self.account(write.namespace, &name).await? else {
            let missing = format!("serviceaccount \"{name}\" not found");
            let why = format!("error looking up service account {}/{name}: {missing}", write.namespace);
            return Err(forbidden(write, &why));
        };
        spec.service_account_name = Some(name);
        let has_secrets = spec.image_pull_secrets.as_ref().is_some_and(|it| !it.is_empty());
        if !has_secrets && let Ok(account) = serde_json::from_slice::<Account>(&found.json) {
            spec.image_pull_secrets = account.image_pull_secrets.filter(|it| !it.is_empty());
        }
        Ok(())
    }
}

/// What the plugin reads of an account.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    #[serde(default)]
    image_pull_secrets: Option<Vec<LocalObjectReference>>,
}

fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(MIRROR))
}
