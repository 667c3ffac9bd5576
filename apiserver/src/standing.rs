//! Which API servers stand behind the `kubernetes` Service, where several share a store.
//!
//! In: this server's address, and the Leases of all. Out: the Service's Endpoints and EndpointSlice hold the addresses of those that live. Each server
//! renews a Lease of its own, `kube-system/apiserver-<hash>`, and looks at the others'. One that has not changed for [`EXPIRY`] while this server
//! looked is removed, and its address with it: clocks of different machines are never compared, as in [`orlop_client::lease`]. A server that stops in
//! good order removes its own. Kubernetes has keys that run out for it (`pkg/controlplane/reconcilers/lease.go`), which this store has not, and
//! Leases of the same names that only tell who there is.
//!
//! Assumed is that all servers listen on the same port and that their addresses are of one family, as Kubernetes assumes.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::ObjectMeta;
use orlop_client::clock;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::bootstrap::{self, Reach};

/// The namespace of the Leases.
const NAMESPACE: &str = "kube-system";
/// The label that tells a server's Lease from those of nodes and leaders, and its value, as Kubernetes has them.
const IDENTITY: &str = "apiserver.kubernetes.io/identity";
const KIND: &str = "kube-apiserver";
/// Where the server says on which machine it is, as Kubernetes does.
const HOST: &str = "kubernetes.io/hostname";
/// Where it says how it is reached.
const ADDRESS: &str = "orlop.dev/api-server-address";

/// How often a server renews its Lease and looks at the others'.
const PERIOD: Duration = Duration::from_secs(5);
/// After how long without a change a server counts as gone: three renewals may fail, as with kube-apiserver's keys, which last as long.
const EXPIRY: Duration = Duration::from_secs(15);
/// How long one request may take: to be given up before the next is due.
const REQUEST_LIMIT: Duration = Duration::from_secs(4);
/// How long a server that stops may spend on saying so.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// How much of the hash stands in a Lease's name: as many bytes as Kubernetes', in letters.
const HASH_BYTES: usize = 13;

/// What keeps this server behind the Service.
pub struct Standing {
    client: kube::Client,
    reach: Reach,
    own: Own,
    seen: Seen,
}

/// This server.
#[derive(Clone, Debug)]
struct Own {
    /// The Lease's name.
    name: String,
    host: String,
    address: IpAddr,
}

/// What of each Lease was seen last, and since when on the steady clock it is so.
type Seen = HashMap<String, (LeaseSpec, Timestamp)>;

/// What a look at the Leases gives.
#[derive(Debug, Default, PartialEq)]
struct View {
    /// The addresses of those that live, this server's own among them.
    standing: BTreeSet<IpAddr>,
    /// The Leases of those that are gone.
    gone: Vec<Lease>,
    /// This server's own, if it is there.
    own: Option<Lease>,
}

impl Standing {
    /// For a server that is reached as `reach` says; none if others cannot reach it.
    pub fn new(client: kube::Client, reach: Reach, host: Option<String>) -> Option<Self> {
        let (address, port) = reach.endpoint?;
        let host = host.unwrap_or_else(|| address.to_string());
        // Several servers of one machine differ by their ports.
        let digest = Sha256::digest(format!("{host}:{port}").as_bytes());
        let hash: String = digest[..HASH_BYTES].iter().map(|it| format!("{it:02x}")).collect();
        let own = Own { name: format!("apiserver-{hash}"), host, address };
        Some(Standing { client, reach, own, seen: Seen::new() })
    }

    /// Renews and looks until `shutdown`, and takes this server out then.
    pub async fn keep(mut self, shutdown: CancellationToken) {
        let mut told = String::new();
        loop {
            match self.round().await {
                Ok(()) => told.clear(),
                // Once for each reason: while the store is away every round fails.
                Err(error) if error != told => {
                    tracing::warn!(%error, "the servers behind the Service `kubernetes` cannot be looked after; trying again");
                    told = error;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
        match tokio::time::timeout(LEAVE_LIMIT, self.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "this server's Lease runs out by itself"),
            Err(_) => tracing::debug!("this server's Lease runs out by itself"),
        }
    }

    /// Looks once, and does what is to be done.
    ///
    /// # Errors
    /// What could not be done; another round does it.
    pub async fn round(&mut self) -> Result<(), String> {
        let leases = self.leases();
        let listed = within(leases.list(&selected())).await?.items;
        let view = look(&self.own, listed, &mut self.seen, clock::steady());
        let lease = self.own.lease(view.own, clock::now());
        match lease.metadata.resource_version {
            None => drop(within(leases.create(&PostParams::default(), &lease)).await?),
            Some(_) => drop(within(leases.replace(&self.own.name, &PostParams::default(), &lease)).await?),
        }
        for it in view.gone {
            let name = it.metadata.name.unwrap_or_default();
            tracing::info!(lease = %name, "an API server is gone");
            // Only as it was seen: one that has just come back stays.
            let as_seen = Preconditions { resource_version: it.metadata.resource_version, uid: it.metadata.uid };
            let params = DeleteParams { preconditions: Some(as_seen), ..DeleteParams::default() };
            match within(leases.delete(&name, &params)).await {
                Ok(_) => drop(self.seen.remove(&name)),
                // Another server was faster, or it is back.
                Err(error) => {
                    tracing::debug!(%error, lease = %name, "the Lease of a server that is gone stays for now")
                }
            }
        }
        self.write(&view.standing).await
    }

    /// Takes this server out.
    async fn leave(&mut self) -> Result<(), String> {
        let leases = self.leases();
        let listed = within(leases.list(&selected())).await?.items;
        let mut view = look(&self.own, listed, &mut self.seen, clock::steady());
        if view.own.is_some() {
            within(leases.delete(&self.own.name, &DeleteParams::default())).await?;
        }
        view.standing.remove(&self.own.address);
        // The last one leaves its address: nobody answers there, as nobody would without it.
        if view.standing.is_empty() { Ok(()) } else { self.write(&view.standing).await }
    }

    async fn write(&self, standing: &BTreeSet<IpAddr>) -> Result<(), String> {
        within(bootstrap::stand(&self.client, &self.reach, standing)).await
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

impl Own {
    /// This server's Lease, renewed `now`.
    fn lease(&self, old: Option<Lease>, now: Timestamp) -> Lease {
        let mut lease = old.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let labels = lease.metadata.labels.get_or_insert_default();
        labels.insert(IDENTITY.to_owned(), KIND.to_owned());
        labels.insert(HOST.to_owned(), self.host.clone());
        lease.metadata.annotations.get_or_insert_default().insert(ADDRESS.to_owned(), self.address.to_string());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.name.clone()),
            lease_duration_seconds: i32::try_from(EXPIRY.as_secs()).ok(),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        });
        lease
    }
}

/// Who lives and who is gone, at `steady` on the steady clock; `seen` is brought up to what is listed.
fn look(own: &Own, listed: Vec<Lease>, seen: &mut Seen, steady: Timestamp) -> View {
    let mut view = View { standing: BTreeSet::from([own.address]), ..View::default() };
    let mut now = Seen::new();
    for lease in listed {
        let name = lease.metadata.name.clone().unwrap_or_default();
        if name == own.name {
            view.own = Some(lease);
            continue;
        }
        let spec = lease.spec.clone().unwrap_or_default();
        let since = seen.remove(&name).filter(|(before, _)| *before == spec).map_or(steady, |it| it.1);
        now.insert(name, (spec, since));
        if clock::since(since, steady) >= EXPIRY {
            view.gone.push(lease);
            continue;
        }
        let address = lease.metadata.annotations.as_ref().and_then(|it| it.get(ADDRESS)?.parse::<IpAddr>().ok());
        view.standing.extend(address.filter(|it| it.is_ipv4() == own.address.is_ipv4()));
    }
    *seen = now;
    view
}

fn selected() -> ListParams {
    ListParams::default().labels(&format!("{IDENTITY}={KIND}"))
}

async fn within<T, E: std::fmt::Display>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(REQUEST_LIMIT, asked).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", REQUEST_LIMIT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Own {
        Own { name: "apiserver-a".into(), host: "a".into(), address: "192.0.2.1".parse().unwrap() }
    }

    /// The Lease of another, renewed at this second.
    fn other(name: &str, address: &str, renewed: i64) -> Lease {
        let it = Own { name: name.into(), host: name.into(), address: address.parse().unwrap() };
        it.lease(None, Timestamp::from_second(renewed).unwrap())
    }

    #[test]
    fn who_is_not_renewed_is_gone() {
        let mut seen = Seen::new();
        let mut check = |second: i64, listed: Vec<Lease>, standing: &[&str], gone: &[&str]| {
            let view = look(&own(), listed, &mut seen, Timestamp::from_second(second).unwrap());
            let addresses: Vec<String> = view.standing.iter().map(ToString::to_string).collect();
            let names: Vec<&str> = view.gone.iter().flat_map(|it| it.metadata.name.as_deref()).collect();
            assert_eq!(
                (addresses, names),
                (standing.iter().map(|it| (*it).to_owned()).collect(), gone.to_vec()),
                "at {second}"
            );
        };
        let (b, c) = ("192.0.2.2", "192.0.2.3");
        check(0, vec![], &["192.0.2.1"], &[]);
        // What its own clock says is of no concern.
        check(100, vec![other("b", b, 9_000), other("c", c, 1)], &["192.0.2.1", b, c], &[]);
        check(110, vec![other("b", b, 9_000), other("c", c, 11)], &["192.0.2.1", b, c], &[]);
        check(115, vec![other("b", b, 9_000), other("c", c, 11)], &["192.0.2.1", c], &["b"]);
        // Back before it was removed.
        check(116, vec![other("b", b, 9_016), other("c", c, 16)], &["192.0.2.1", b, c], &[]);
        check(131, vec![other("c", c, 31)], &["192.0.2.1", c], &[]);
        // Of another family, or of nobody.
        check(132, vec![other("b", "2001:db8::1", 1)], &["192.0.2.1"], &[]);
    }

    #[test]
    fn the_own_lease_is_renewed_as_it_stands() {
        let mut stands = own().lease(None, Timestamp::UNIX_EPOCH);
        stands.metadata.resource_version = Some("7".into());
        let view = look(&own(), vec![stands], &mut Seen::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(view.standing.len(), 1);
        let next = own().lease(view.own, Timestamp::from_second(5).unwrap());
        assert_eq!(next.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(next.spec.unwrap().renew_time, Some(MicroTime(Timestamp::from_second(5).unwrap())));
    }
}
