//! How a runtime tells several listeners of its events through a bounded queue.
//!
//! Events carry no state, so a listener that falls behind needs only one thing: to know that it did. It then gets
//! [`RuntimeEvent::Resync`] in place of what it missed. A publisher never waits for a listener.

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::RuntimeEvent;

/// The publishing end. Dropping it ends every listener's stream.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: broadcast::Sender<RuntimeEvent>,
}

impl Feed {
    /// A feed that keeps `capacity` events for its slowest listener.
    pub fn new(capacity: usize) -> Self {
        Self { sender: broadcast::Sender::new(capacity) }
    }

    /// Tells every listener. Nobody listening is no error.
    pub fn publish(&self, event: RuntimeEvent) {
        let _ = self.sender.send(event);
    }

    /// Tells every listener that something of this pod changed.
    pub fn pod_changed(&self, uid: &str) {
        if self.sender.receiver_count() > 0 {
            self.publish(RuntimeEvent::Pod { uid: uid.to_owned() });
        }
    }

    /// Events from now on.
    pub fn listen(&self) -> BoxStream<'static, RuntimeEvent> {
        BroadcastStream::new(self.sender.subscribe()).map(|it| it.unwrap_or(RuntimeEvent::Resync)).boxed()
    }

    /// Waits until nobody listens any more.
    pub async fn deserted(&self) {
        self.sender.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_listener_is_told_to_look_again() {
        let feed = Feed::new(2);
        let mut events = feed.listen();
        for uid in ["a", "b", "c", "d"] {
            feed.pod_changed(uid);
        }
        assert_eq!(events.next().await, Some(RuntimeEvent::Resync));
        assert_eq!(events.next().await, Some(RuntimeEvent::Pod { uid: "c".into() }));
        assert_eq!(events.next().await, Some(RuntimeEvent::Pod { uid: "d".into() }));
        drop(feed);
        assert_eq!(events.next().await, None);
    }

    #[tokio::test]
    async fn a_feed_knows_when_the_last_listener_left() {
        let feed = Feed::new(2);
        let events = feed.listen();
        drop(events);
        tokio::time::timeout(std::time::Duration::from_secs(1), feed.deserted()).await.expect("nobody listens");
    }
}
