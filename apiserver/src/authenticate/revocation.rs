//! Which client certificates of nodes are refused although they have not run out.
//!
//! In: the ConfigMap of [`orlop_api::revocation`], of which the feed tells before readers see it. Out: whether the certificate of a connection
//! falls under it, for each request, and the moment in which it begins to, for the connection: a watch that was opened before would
//! otherwise go on. It knows no paths and no rules; who may write the object is for admission (`node_revocation`).

use std::sync::Arc;

use arc_swap::ArcSwap;
use orlop_api::kind::Kind;
use orlop_api::revocation::{NAME, NAMESPACE, Revoked};
use tokio::sync::watch;

use crate::authorize::node_name;
use crate::cache::{Object, Observer};
use crate::stage::Peer;

/// The revocations that hold now.
pub struct Revocations {
    /// Read with every request of a node, and changed hardly ever.
    revoked: ArcSwap<Revoked>,
    changes: watch::Sender<()>,
}

impl Default for Revocations {
    fn default() -> Self {
        Revocations { revoked: ArcSwap::default(), changes: watch::channel(()).0 }
    }
}

impl Revocations {
    /// Why the certificate of a connection proves nothing any more; none if it is good.
    pub fn refuses(&self, peer: &Peer) -> Option<String> {
        let node = node_name(peer.identity.as_deref()?)?;
        let at = self.revoked.load().refuses(node, peer.issued?)?;
        Some(format!("what was issued to node {node} until {at} is revoked"))
    }

    /// Waits until the certificate of a connection begins to be refused; for ever, if it is no node's, or refused already: that is answered
    /// request by request. Nothing is missed that happens after the call, however late the future is first asked.
    pub fn until_refused(&self, peer: &Peer) -> impl Future<Output = ()> + Send + use<'_> {
        let mut changes = self.changes.subscribe();
        let of_node = peer.issued.is_some() && peer.identity.as_deref().and_then(node_name).is_some();
        let watched = Some(peer.clone()).filter(|it| of_node && self.refuses(it).is_none());
        async move {
            let Some(peer) = watched else { return std::future::pending().await };
            while changes.changed().await.is_ok() {
                if self.refuses(&peer).is_some() {
                    return;
                }
            }
            std::future::pending().await
        }
    }

    fn become_known(&self, revoked: Revoked) {
        self.revoked.store(Arc::new(revoked));
        self.changes.send_replace(());
    }
}

fn is_ours(kind: &Kind, object: &Object) -> bool {
    kind.group.is_empty()
        && kind.kind == "ConfigMap"
        && &*object.head.namespace == NAMESPACE
        && &*object.head.name == NAME
}

impl Observer for Revocations {
    fn put(&self, kind: &'static Kind, object: &Object) {
        if is_ours(kind, object) {
            self.become_known(Revoked::read(&object.json));
        }
    }

    fn removed(&self, kind: &'static Kind, object: &Object) {
        if is_ours(kind, object) {
            self.become_known(Revoked::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Identity;

    fn peer(user: &str, group: &str, issued: &str) -> Peer {
        let identity = Some(Arc::new(Identity::new(user, &[group])));
        Peer { identity, issued: issued.parse().ok(), ..Peer::default() }
    }

    #[tokio::test]
    async fn nodes_are_refused_and_nobody_else() {
        let it = Revocations::default();
        let old = peer("system:node:n1", "system:nodes", "2026-01-01T00:00:00Z");
        assert_eq!(it.refuses(&old), None);
        let cut = it.until_refused(&old);
        tokio::pin!(cut);
        assert!(futures::poll!(cut.as_mut()).is_pending());
        it.become_known(Revoked::read(br#"{"data":{"n1":"2026-01-02T00:00:00Z","ann":"2026-01-02T00:00:00Z"}}"#));
        cut.await;
        let again = it.until_refused(&old);
        tokio::pin!(again);
        assert!(futures::poll!(again.as_mut()).is_pending(), "what is refused from its beginning is told so");
        assert!(it.refuses(&old).is_some_and(|why| why.contains("node n1 until 2026-01-02")));
        for other in [
            peer("system:node:n1", "system:nodes", "2026-01-03T00:00:00Z"),
            peer("system:node:n2", "system:nodes", "2026-01-01T00:00:00Z"),
            peer("system:node:n1", "dev", "2026-01-01T00:00:00Z"),
            peer("ann", "system:nodes", "2026-01-01T00:00:00Z"),
            Peer { issued: None, ..old.clone() },
        ] {
            assert_eq!(it.refuses(&other), None, "{other:?}");
        }
    }
}
