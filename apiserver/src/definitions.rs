//! What becomes of a CustomResourceDefinition after it is written: its names are granted, it is established, and when it is deleted its objects
//! go first.
//!
//! In: the table of definitions. Out: writes to their status, in the way of every client, and the removal of objects. What is said is decided in
//! [`naming`], purely; that a definition is served is the registry's doing, which follows what is written here. Source:
//! `k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,finalizer,apiapproval}`.

pub(crate) mod naming;
mod removal;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use orlop_api::kind::Kind;
use orlop_api::kinds::custom_resource_definition::{CLEANUP_FINALIZER, set_condition};
use orlop_client::clock;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cache::{Interest, Object};
use crate::core::Core;
use crate::registry;

/// How long it takes to look again, while something does not get on: after a failed write, or while objects wait for their finalizers. It grows
/// from the first to the second.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(100);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(5);

/// What is to be expected of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    /// Nothing, until it changes.
    Until,
    /// Something, when another definition changes.
    UntilOthers,
    /// Something, after a while.
    Later,
}

/// Settles definitions until `shutdown`.
pub async fn run(core: Arc<Core>, client: kube::Client, shutdown: CancellationToken) {
    let (group, kind) = registry::DEFINITIONS;
    let Some(kind) = registry::named(group, kind) else { return };
    let work = Work { core, client, kind };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = work.run() => {}
    }
}

struct Work {
    core: Arc<Core>,
    client: kube::Client,
    kind: &'static Kind,
}

impl Work {
    async fn run(&self) {
        let table = self.core.cache.table(self.kind);
        let mut seat = table.join(Interest::Everything);
        // The revisions about which nothing is to be done.
        let mut settled: HashMap<Box<str>, u64> = HashMap::new();
        let mut pause = LOOK_AGAIN_MIN;
        loop {
            seat.mark();
            let snapshot = table.snapshot();
            settled.retain(|name, _| snapshot.iter().any(|it| it.head.name == *name));
            let mut later = false;
            for object in snapshot.iter() {
                if settled.get(&object.head.name) == Some(&object.revision) {
                    continue;
                }
                match self.settle(object).await {
                    Ok(Settled::Until) => {
                        settled.insert(object.head.name.clone(), object.revision);
                    }
                    Ok(Settled::UntilOthers) => {}
                    Ok(Settled::Later) => later = true,
                    Err(error) => {
                        tracing::warn!(definition = %object.head.name, %error, "a definition could not be settled; trying again");
                        later = true;
                    }
                }
            }
            if !later {
                pause = LOOK_AGAIN_MIN;
            }
            tokio::select! {
                more = seat.changed() => if !more { return },
                () = tokio::time::sleep(pause), if later => pause = (pause * 2).min(LOOK_AGAIN_MAX),
            }
        }
    }

    async fn settle(&self, object: &Arc<Object>) -> Result<Settled, kube::Error> {
        let mut definition = object.value();
        let finalizers = definition["metadata"]["finalizers"].as_array();
        let waits = finalizers.is_some_and(|it| it.iter().any(|it| it == CLEANUP_FINALIZER));
        if object.head.deleting {
            return if waits { self.finalize(definition).await } else { Ok(Settled::Until) };
        }
        let used = self
            .core
            .cache
            .registry()
            .used_names(definition["spec"]["group"].as_str().unwrap_or_default(), &object.head.name);
        let status = naming::status(&definition, &used, clock::now());
        let accepted = naming::is_accepted(&status);
        if definition["status"] != status {
            definition["status"] = status;
            self.write(&definition).await?;
        }
        Ok(if accepted { Settled::Until } else { Settled::UntilOthers })
    }

    /// Removes the objects of a definition, then lets it go.
    async fn finalize(&self, mut definition: Value) -> Result<Settled, kube::Error> {
        let established = naming::is_true(&definition["status"], "Established");
        let terminating = |status: &str, reason: &str, message: &str| json!({"type": "Terminating", "status": status, "reason": reason, "message": message});
        let name = definition["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let stored = self.core.cache.registry().stored(&name);
        let done = match stored.filter(|_| established) {
            None => terminating("False", "NeverEstablished", "resource was never established"),
            Some(kind) => {
                let begun = terminating("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
                let before = definition["status"].clone();
                set_condition(&mut definition["status"], begun, clock::now());
                if definition["status"] != before {
                    match self.write(&definition).await? {
                        Some(written) => definition = written,
                        None => return Ok(Settled::Later),
                    }
                }
                match removal::remove_all(&self.core, kind).await {
                    Ok(0) => terminating("False", "InstanceDeletionCompleted", "removed all instances"),
                    Ok(_) => return Ok(Settled::Later),
                    Err(error) => {
                        let why = format!("could not issue all deletes: {error}");
                        set_condition(
                            &mut definition["status"],
                            terminating("True", "InstanceDeletionFailed", &why),
                            clock::now(),
                        );
                        self.write(&definition).await?;
                        return Ok(Settled::Later);
                    }
                }
            }
        };
        set_condition(&mut definition["status"], done, clock::now());
        if let Some(finalizers) = definition["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|it| it != CLEANUP_FINALIZER);
        }
        let written = self.write(&definition).await?;
        Ok(if written.is_some() { Settled::Until } else { Settled::Later })
    }

    /// Writes a definition's status; none if it has changed in the meantime, so that it will be looked at again.
    async fn write(&self, definition: &Value) -> Result<Option<Value>, kube::Error> {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("/apis/{}/{}/{}/{name}/status", self.kind.group, self.kind.version, self.kind.names.plural);
        let request = http::Request::put(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(definition.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        match self.client.request::<Value>(request).await {
            Ok(written) => {
                // What the next decision rests on shows this one.
                if let Some(revision) = written["metadata"]["resourceVersion"].as_str().and_then(|it| it.parse().ok()) {
                    let _ = self.core.cache.wait_for(revision).await;
                }
                Ok(Some(written))
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
