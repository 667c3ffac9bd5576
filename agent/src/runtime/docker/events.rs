//! The Engine's events, as far as they concern this node's containers.
//!
//! A task of its own reads them, because an Engine drops events on a listener that does not keep up, without saying so; ours is told to
//! look again. The stream ends with the Engine's, and the task with its last listener.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::engine::{Engine, QUICK};
use crate::runtime::feed::Feed;
use crate::runtime::labels;
use crate::runtime::{RuntimeError, RuntimeEvent};
use orlop_client::clock;

/// Events kept for a slow listener: some for each container of a full node (110 pods) when all start at once.
const EVENTS: usize = 1024;

/// What happens to a container that a pod's state depends on. Our own `create` is not among them.
const ACTIONS: [&str; 4] = ["start", "die", "oom", "destroy"];

/// How far back to ask. The request travels after the caller was told that it is listening; the Engine replays what it has kept since.
/// A second covers the way; a repeated event costs one look.
const REPLAY: Duration = Duration::from_secs(1);

/// Changes from now on.
pub async fn listen(engine: &Engine) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
    engine.call("ping", QUICK, |docker| async move { docker.ping().await }).await?;
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![format!("{}={}", labels::NODE, engine.node())]),
        ("event".to_owned(), ACTIONS.map(str::to_owned).to_vec()),
    ]);
    let since = clock::now() - REPLAY;
    let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
    let docker = engine.client(QUICK).await?;
    let options = EventsOptions { since: Some(since), until: None, filters: Some(filters) };
    let feed = Feed::new(EVENTS);
    let events = feed.listen();
    tokio::spawn(async move {
        let mut messages = std::pin::pin!(docker.events(Some(options)));
        loop {
            let message = tokio::select! {
                () = feed.deserted() => return,
                message = messages.next() => message,
            };
            match message {
                Some(Ok(message)) => {
                    if let Some(uid) = pod_of(&message) {
                        feed.pod_changed(uid);
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "the Engine's events ended");
                    return;
                }
                None => return,
            }
        }
    });
    Ok(events)
}

fn pod_of(message: &EventMessage) -> Option<&str> {
    message.actor.as_ref()?.attributes.as_ref()?.get(labels::POD_UID).map(String::as_str)
}
