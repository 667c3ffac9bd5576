//! The runtime's events, as far as they concern this node's containers; where a runtime has none, changes that are seen by looking.
//!
//! containerd has events since 1.7. Older ones are looked at twice a second: two lists, which say of every sandbox and container whether it
//! runs. A task of its own does either; it ends with its last listener, and the stream with the runtime.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use k8s_cri::v1 as cri;
use orlop_client::random;
use tokio::time::Instant;
use tonic::{Code, Streaming};

use super::endpoint::{Calls, Endpoint, QUICK};
use super::{inventory, rotate};
use crate::runtime::feed::Feed;
use crate::runtime::labels::POD_UID;
use crate::runtime::{RuntimeError, RuntimeEvent};

/// Events kept for a slow listener: some for each container of a full node (110 pods) when all start at once.
const EVENTS: usize = 1024;
/// The pause between two looks, without jitter. The kubelet's own is a second.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// By id: the pod's uid, and the state.
type Seen = BTreeMap<String, (String, i32)>;

/// Changes from now on.
pub async fn listen(endpoint: &Arc<Endpoint>) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
    let feed = Feed::new(EVENTS);
    let events = feed.listen();
    let told = match endpoint.call("GetContainerEvents", QUICK, subscribe).await {
        Ok(it) => it,
        Err(RuntimeError::Unavailable(why)) => return Err(RuntimeError::Unavailable(why)),
        Err(error) => {
            tracing::debug!(%error, "the runtime has no events; it is looked at instead");
            None
        }
    };
    let first = look(endpoint).await?;
    let endpoint = Arc::clone(endpoint);
    tokio::spawn(async move {
        let work = async {
            match told {
                Some(told) => hear(&endpoint, &feed, told).await,
                None => watch(&endpoint, &feed, first).await,
            }
        };
        let ended = tokio::select! {
            () = feed.deserted() => return,
            ended = work => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "the runtime's events ended");
        }
    });
    Ok(events)
}

/// The runtime's stream of events; none if it has no such call.
async fn subscribe(
    mut calls: Calls,
) -> Result<tonic::Response<Option<Streaming<cri::ContainerEventResponse>>>, tonic::Status> {
    match calls.get_container_events(cri::GetEventsRequest {}).await {
        Ok(it) => Ok(it.map(Some)),
        Err(status) if status.code() == Code::Unimplemented => Ok(tonic::Response::new(None)),
        Err(status) => Err(status),
    }
}

async fn hear(
    endpoint: &Endpoint,
    feed: &Feed,
    mut told: Streaming<cri::ContainerEventResponse>,
) -> Result<(), RuntimeError> {
    let mut rotate_at = Instant::now() + rotate::EVERY;
    loop {
        let event = tokio::select! {
            event = told.message() => event.map_err(|it| RuntimeError::Unavailable(it.to_string()))?,
            () = tokio::time::sleep_until(rotate_at) => {
                rotate::all(endpoint).await;
                rotate_at = Instant::now() + rotate::EVERY;
                continue;
            }
        };
        let Some(event) = event else { return Ok(()) };
        let labels = event.pod_sandbox_status.map(|it| it.labels).unwrap_or_default();
        if endpoint.ours().iter().all(|(key, value)| labels.get(key) == Some(value)) {
            match labels.get(POD_UID) {
                Some(uid) => feed.pod_changed(uid),
                None => feed.publish(RuntimeEvent::Resync),
            }
        }
    }
}

async fn watch(endpoint: &Endpoint, feed: &Feed, mut before: Seen) -> Result<(), RuntimeError> {
    let mut rotate_at = Instant::now() + rotate::EVERY;
    loop {
        tokio::time::sleep(random::jitter(LOOK_EVERY, 0.5)).await;
        let now = look(endpoint).await?;
        for uid in changed(&before, &now) {
            feed.pod_changed(uid);
        }
        before = now;
        if Instant::now() >= rotate_at {
            rotate::all(endpoint).await;
            rotate_at = Instant::now() + rotate::EVERY;
        }
    }
}

async fn look(endpoint: &Endpoint) -> Result<Seen, RuntimeError> {
    let (sandboxes, containers) = tokio::try_join!(
        inventory::sandboxes(endpoint, endpoint.ours()),
        inventory::containers(endpoint, endpoint.ours())
    )?;
    let uid = |labels: &std::collections::HashMap<String, String>| labels.get(POD_UID).cloned().unwrap_or_default();
    let sandboxes = sandboxes.into_iter().map(|it| (it.id, (uid(&it.labels), it.state)));
    let containers = containers.into_iter().map(|it| (it.id, (uid(&it.labels), it.state)));
    Ok(sandboxes.chain(containers).collect())
}

/// The pods of which something has come, changed or gone.
fn changed<'a>(before: &'a Seen, now: &'a Seen) -> std::collections::BTreeSet<&'a str> {
    let gone = before.iter().filter(|(id, _)| !now.contains_key(*id));
    let other = now.iter().filter(|(id, it)| before.get(*id) != Some(it));
    gone.chain(other).map(|(_, (uid, _))| uid.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_changes_or_goes_is_seen() {
        let seen = |of: &[(&str, &str, i32)]| -> Seen {
            of.iter().map(|(id, uid, state)| ((*id).to_owned(), ((*uid).to_owned(), *state))).collect()
        };
        let before = seen(&[("1", "a", 0), ("2", "b", 0), ("3", "c", 0)]);
        let now = seen(&[("1", "a", 0), ("2", "b", 1), ("4", "d", 0)]);
        assert_eq!(changed(&before, &now).into_iter().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert!(changed(&now, &now).is_empty());
    }
}
