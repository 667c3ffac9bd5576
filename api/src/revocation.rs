//! The nodes whose certificates are refused, and since when: the ConfigMap `kube-system/orlop-revoked-nodes`.
//!
//! Each entry of its `data` is a node's name and a time: what was issued to the node until then proves nothing any more, what was issued later
//! does, so that a node may join anew. Who writes an entry leaves the time empty, and the API server puts its own there. Only who may `revoke`
//! nodes may write the object at all. Kubernetes knows no revocation; it waits for certificates to run out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// Where the object is.
pub const NAMESPACE: &str = "kube-system";
/// What it is called.
pub const NAME: &str = "orlop-revoked-nodes";
/// The verb on `nodes` that allows to write it.
pub const VERB: &str = "revoke";

/// Since when which nodes' certificates are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked(BTreeMap<String, Timestamp>);

impl Revoked {
    /// Reads the object. A time that cannot be read refuses all certificates of its node: a slip of the pen must not let anybody in.
    pub fn read(json: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Slim {
            data: BTreeMap<String, String>,
        }
        let slim: Slim = serde_json::from_slice(json).unwrap_or_default();
        Revoked(slim.data.into_iter().map(|(node, at)| (node, at.parse().unwrap_or(Timestamp::MAX))).collect())
    }

    /// The time of a node's revocation, if what was issued at `issued` falls under it. Certificates tell whole seconds, so that one of the same
    /// second counts as the older.
    pub fn refuses(&self, node: &str, issued: Timestamp) -> Option<Timestamp> {
        self.0.get(node).copied().filter(|at| issued <= *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_issued_before_is_refused() {
        let revoked = Revoked::read(br#"{"data":{"n1":"2026-01-02T03:04:05Z","n2":"soon"}}"#);
        let check = |node: &str, issued: &str, refused: bool| {
            assert_eq!(revoked.refuses(node, issued.parse().unwrap()).is_some(), refused, "{node} {issued}");
        };
        check("n1", "2026-01-02T03:04:04Z", true);
        check("n1", "2026-01-02T03:04:05Z", true);
        check("n1", "2026-01-02T03:04:06Z", false);
        check("n2", "2100-01-01T00:00:00Z", true);
        check("n3", "2020-01-01T00:00:00Z", false);
        assert_eq!(Revoked::read(b"no object"), Revoked::default());
    }
}
