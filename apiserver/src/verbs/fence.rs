//! The fence: a write that its writer makes as the holder of a lease is refused once the lease is another's.
//!
//! The header `Orlop-Fence: <namespace>/<name>/<holder>/<leaseTransitions>` names the lease. It is read from the store, not the
//! cache, so that a leader who was paused cannot slip a write in behind its successor's takeover.

use http::HeaderMap;
use orlop_api::status::{self, Reason, Status};
use serde::Deserialize;

use crate::core::{Core, unavailable};
use crate::registry;

/// The header's name.
pub const HEADER: &str = "orlop-fence";

#[derive(Deserialize)]
struct Lease {
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    lease_transitions: Option<i64>,
}

/// Lets a write pass if it names no lease, or one that its writer holds.
///
/// # Errors
/// `Conflict` if the lease is another's, `BadRequest` if the header cannot be read.
pub async fn check(core: &Core, headers: &HeaderMap) -> status::Result<()> {
    let Some(header) = headers.get(HEADER) else { return Ok(()) };
    let text = header.to_str().unwrap_or_default();
    let (namespace, name, holder, transitions) =
        parse(text).ok_or_else(|| Status::bad_request(format!("the header Orlop-Fence cannot be read: {text:?}")))?;
    let Some(kind) = registry::named("coordination.k8s.io", "Lease") else { return Err(Status::no_such_path()) };
    let (entry, _) = core.store.get(&kind.key(namespace, name)).await.map_err(unavailable)?;
    let lease = entry.and_then(|it| serde_json::from_slice::<Lease>(&it.value).ok());
    let held = lease.is_some_and(|it| {
        it.spec.holder_identity.as_deref() == Some(holder) && it.spec.lease_transitions.unwrap_or(0) == transitions
    });
    if held {
        return Ok(());
    }
    let why = format!("the write is fenced: the lease is no longer held by {holder:?} with {transitions} transitions");
    let mut status = Status::conflict(kind.group, kind.names.plural, &format!("{namespace}/{name}"), &why);
    status.reason = Reason::Conflict;
    Err(status)
}

/// Namespace, name, holder and transitions; the holder may have slashes of its own.
fn parse(text: &str) -> Option<(&str, &str, &str, i64)> {
    let (namespace, rest) = text.split_once('/')?;
    let (name, rest) = rest.split_once('/')?;
    let (holder, transitions) = rest.rsplit_once('/')?;
    Some((namespace, name, holder, transitions.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_a_lease() {
        assert_eq!(parse("kube-system/controllers/host_a/b/7"), Some(("kube-system", "controllers", "host_a/b", 7)));
        assert_eq!(parse("kube-system/controllers/7"), None);
        assert_eq!(parse("a/b/c/many"), None);
    }
}
