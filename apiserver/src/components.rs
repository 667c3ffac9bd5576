//! How the parts of the control plane are: the objects of `componentstatuses`, looked up when somebody asks.
//!
//! In: the leases by which the scheduler and the controllers lead, from the cache; and that the store has just answered, since nobody is
//! served here before the cache has caught up with it. Out: the kind's table.

use std::sync::Arc;

use jiff::Timestamp;
use orlop_api::computed::COMPUTED;
use orlop_api::computed::component_status;
use orlop_api::kind::Kind;
use orlop_client::clock;
use orlop_store::Key;
use serde::Deserialize;

use crate::cache::{Cache, Object};
use crate::registry;

/// The parts that lead by a lease in `kube-system`, and the leases' names.
const LEADERS: [(&str, &str); 2] = [("scheduler", "kube-scheduler"), ("controller-manager", "orlop-controllers")];
/// What the store is called, as in a cluster with one etcd.
const STORE: &str = "etcd-0";

#[derive(Deserialize)]
struct Lease {
    spec: LeaseSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseSpec {
    renew_time: Option<Timestamp>,
    lease_duration_seconds: Option<i64>,
}

/// Whether this is the kind that is computed here.
pub fn computes(kind: &Kind) -> bool {
    kind.names.plural == "componentstatuses" && kind.group.is_empty()
}

/// Makes the table say how the parts are now.
pub fn look(cache: &Cache) {
    let Some(kind) = COMPUTED.iter().find(|it| computes(it)) else { return };
    let (now, at) = (clock::now(), cache.revision());
    let mut objects = Vec::with_capacity(LEADERS.len() + 1);
    let leaders = LEADERS.iter().map(|(part, lease)| (*part, leads(cache, lease, now)));
    for (name, health) in leaders.chain([(STORE, Ok(()))]) {
        let key: Key = kind.key("", name).as_str().into();
        match Object::stored(kind, key, at, &component_status::object(name, health)) {
            Ok(object) => objects.push(Arc::new(object)),
            Err(error) => tracing::error!(%name, %error, "a component's status cannot be shown"),
        }
    }
    cache.table(kind).fill(objects, at);
}

/// Whether somebody holds a lease in time.
fn leads(cache: &Cache, name: &str, now: Timestamp) -> Result<(), &'static str> {
    let kind = registry::named("coordination.k8s.io", "Lease").ok_or("leases are not served")?;
    let lease = cache.get(kind, "kube-system", name).ok_or("nobody leads")?;
    let lease: Lease = serde_json::from_slice(&lease.json).map_err(|_| "the lease cannot be read")?;
    let renewed = lease.spec.renew_time.ok_or("nobody leads")?;
    let seconds = lease.spec.lease_duration_seconds.unwrap_or(0);
    if now.as_second() - renewed.as_second() <= seconds {
        Ok(())
    } else {
        Err("the lease has not been renewed in time")
    }
}
