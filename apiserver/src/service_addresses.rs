//! Addresses and node ports of services: each belongs to one service, also when several API servers write to one store.
//!
//! In: services on their way into the store. Out: services with an address. A claim is a key of its own outside `/registry/`, made
//! if absent before the service is written: two services can never have the same address. A server that dies between the two
//! leaves a claim that nobody uses; [`ServiceAddresses::sweep`] finds it.

mod families;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use orlop_api::field::Errors;
use orlop_api::kind::{Body, Kind};
use orlop_api::ranges::{self, Ranges};
use orlop_api::status::{self, Reason, Status};
use orlop_client::random;
use orlop_store::{Commit, Expect, Revision, Store, StoreError};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Object};
use crate::core::unavailable;
use crate::registry;

/// Where claims are kept.
const PREFIX: &str = "/orlop/services/";

/// The ports a node opens for services (kube-apiserver's `--service-node-port-range`).
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// The cluster address of a service that has none.
const HEADLESS: &str = "None";

/// The most bits of a range of IPv6 that addresses are drawn from: as many as Kubernetes' largest range of services has (/108).
const V6_BITS_MOST: u8 = 20;

/// The first addresses are left to those who ask for one by its number (KEP-3070).
const STATIC_ADDRESSES: u32 = 256;

/// How many addresses or ports are tried: with half of the range taken, 64 misses in a row have a chance of 1 in 10^19.
const TRIES_MAX: usize = 64;

/// How often unused claims are looked for, and how long one may be unused: longer than any request takes.
const SWEEP_INTERVAL: Duration = Duration::from_secs(120);

/// Gives services their addresses.
#[derive(Clone, Debug)]
pub struct ServiceAddresses {
    ranges: Ranges,
}

/// The claims of one write, until it is known whether it was done.
#[derive(Debug)]
pub struct Claims {
    ranges: Ranges,
    /// Whether the kind is one that has addresses, and the write one that is done.
    live: bool,
    keys: Vec<(String, Revision)>,
}

impl ServiceAddresses {
    /// Addresses of these ranges.
    pub fn new(ranges: Ranges) -> Self {
        ServiceAddresses { ranges }
    }

    /// The claims of a write, as yet none.
    pub fn begin(&self, kind: &Kind, dry_run: bool) -> Claims {
        Claims { ranges: self.ranges, live: is_service(kind) && !dry_run, keys: Vec::new() }
    }

    /// A body as it is before addresses are claimed for it, if that may be.
    pub fn watched(&self, kind: &Kind, body: &Body<'_>) -> Option<Value> {
        if !is_service(kind) || matches!(body, Body::Applied(_)) {
            return None;
        }
        body.value().ok()
    }

    /// The new state of a service with the addresses it lacks, which `claims` then has.
    ///
    /// # Errors
    /// As [`Claims::claim_for_new`].
    pub async fn for_update<'a>(
        &self,
        store: &Arc<dyn Store>,
        old: &Object,
        new: Body<'a>,
        claims: &mut Claims,
    ) -> status::Result<Body<'a>> {
        if !claims.live {
            return Ok(new);
        }
        let mut value = new.value()?;
        let before = old.value();
        // What stands is this service's already.
        keep_standing(&mut value, &before);
        let owner = format!("{}/{}", old.head.namespace, old.head.name);
        let changed = claims.claim(store, &mut value, Some(&before), &owner).await?;
        Ok(if changed { new.with(value) } else { new })
    }

    /// Gives back what a service had before it was written anew, and has no more.
    pub async fn given_up(&self, store: &Arc<dyn Store>, kind: &Kind, old: &Object, new: &[u8]) {
        if !is_service(kind) {
            return;
        }
        // What was written is an object; were it none, the sweep would find the claims.
        let Ok(new) = serde_json::from_slice::<Value>(new) else { return };
        let kept = keys_of(&new);
        for key in keys_of(&old.value()).iter().filter(|it| !kept.contains(it)) {
            release(store, key, None).await;
        }
    }

    /// Gives back what a deleted service had.
    pub async fn released(&self, store: &Arc<dyn Store>, kind: &Kind, old: &Object) {
        if !is_service(kind) {
            return;
        }
        for key in keys_of(&old.value()) {
            release(store, &key, None).await;
        }
    }

    /// Looks for claims that no service uses, until `shutdown`; such as are unused twice in a row are given back. Also claims what
    /// services have without a claim.
    pub async fn sweep(self, store: Arc<dyn Store>, cache: Arc<Cache>, shutdown: CancellationToken) {
        let mut suspects: Vec<(String, Revision)> = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            }
            let looked = tokio::select! {
                () = shutdown.cancelled() => return,
                looked = store.range(PREFIX, None, 0, None) => looked,
            };
            let page = match looked {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "the claims of services could not be listed; trying again");
                    continue;
                }
            };
            if cache.wait_for(page.revision.0).await.is_err() {
                continue;
            }
            let Some(kind) = registry::named("", "Service") else { return };
            let used: std::collections::HashSet<String> =
                cache.table(kind).snapshot().iter().flat_map(|it| keys_of(&it.value())).collect();
            let unused: Vec<(String, Revision)> = (page.entries.iter())
                .filter(|it| !used.contains(&*it.key))
                .map(|it| (it.key.to_string(), it.modified))
                .collect();
            for (key, revision) in unused.iter().filter(|it| suspects.contains(it)) {
                release(&store, key, Some(*revision)).await;
            }
            let claimed: std::collections::HashSet<&str> = page.entries.iter().map(|it| &*it.key).collect();
            for key in used.iter().filter(|it| !claimed.contains(it.as_str())) {
                let commit = Commit {
                    key: key.as_str().into(),
                    expect: Expect::Absent,
                    value: Some(Bytes::from_static(b"found")),
                };
                if let Err(error) = store.commit(commit).await {
                    tracing::warn!(%error, %key, "a service's address could not be claimed anew");
                }
            }
            suspects = unused;
        }
    }
}

impl Claims {
    /// Claims what a new service asks for, and an address and ports where it asks for any.
    ///
    /// # Errors
    /// `Invalid` where an address is another's or outside the range.
    pub async fn claim_for_new<'a>(
        &mut self,
        store: &Arc<dyn Store>,
        namespace: &str,
        body: Body<'a>,
    ) -> status::Result<Body<'a>> {
        if !self.live {
            return Ok(body);
        }
        let Ok(mut value) = body.value() else { return Ok(body) };
        let owner = format!("{namespace}/{}", value["metadata"]["name"].as_str().unwrap_or_default());
        match self.claim(store, &mut value, None, &owner).await {
            Ok(true) => Ok(body.with(value)),
            Ok(false) => Ok(body),
            Err(refusal) => {
                self.release(store).await;
                Err(refusal)
            }
        }
    }

    /// Fills in families, addresses and ports; tells whether there was anything to fill in.
    async fn claim(
        &mut self,
        store: &Arc<dyn Store>,
        value: &mut Value,
        before: Option<&Value>,
        owner: &str,
    ) -> status::Result<bool> {
        let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(false) };
        let name = owner.rsplit('/').next().unwrap_or_default();
        let kind = spec.get("type").and_then(Value::as_str).unwrap_or("ClusterIP").to_owned();
        let had: Vec<String> = before.map(keys_of).unwrap_or_default();
        let given = (spec.get("ipFamilyPolicy").cloned(), spec.get("ipFamilies").cloned(), addresses(spec));
        families::settle(spec, before.map(|it| &it["spec"]), &self.ranges)
            .map_err(|errors| Status::invalid("", "Service", name, &errors))?;
        let settled = given != (spec.get("ipFamilyPolicy").cloned(), spec.get("ipFamilies").cloned(), addresses(spec));
        if kind != "ExternalName" {
            self.claim_addresses(store, spec, &had, owner).await?;
        }
        if kind == "NodePort" || kind == "LoadBalancer" {
            for (at, port) in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
                let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
                match port["nodePort"].as_u64().unwrap_or(0) {
                    0 => port["nodePort"] = json!(self.any_port(store, &protocol, owner).await?),
                    number if had.contains(&port_key(&protocol, number)) => {}
                    number => self.this_port(store, name, at, &protocol, number, owner).await?,
                }
            }
        }
        Ok(settled || !self.keys.is_empty())
    }

    /// Claims an address of each family of the service. What it had stays its own.
    async fn claim_addresses(
        &mut self,
        store: &Arc<dyn Store>,
        spec: &mut Map<String, Value>,
        had: &[String],
        owner: &str,
    ) -> status::Result<()> {
        let name = owner.rsplit('/').next().unwrap_or_default();
        let mut all = addresses(spec);
        if all.first().is_some_and(|it| it == HEADLESS) {
            return Ok(());
        }
        let families = spec.get("ipFamilies").and_then(Value::as_array).cloned().unwrap_or_default();
        for text in &all {
            if !had.contains(&address_key(text)) {
                self.this_address(store, name, text, owner).await?;
            }
        }
        let given = all.len();
        for family in families.iter().skip(given) {
            let range = self.ranges.iter().find(|it| *family == families::family_of(it.addr()));
            // One that the cluster does not have is refused elsewhere.
            let Some(range) = range else { break };
            all.push(self.any_address(store, range, owner).await?.to_string());
        }
        if all.len() > given {
            spec.insert("clusterIP".to_owned(), json!(all[0]));
            spec.insert("clusterIPs".to_owned(), json!(all));
        }
        Ok(())
    }

    async fn any_address(&mut self, store: &Arc<dyn Store>, range: IpNet, owner: &str) -> status::Result<IpAddr> {
        let bits =
            (range.max_prefix_len() - range.prefix_len()).min(if range.addr().is_ipv4() { 31 } else { V6_BITS_MOST });
        let size = 1_u32 << bits;
        // Neither the network's own address nor the broadcast address; the low ones only if there are no others.
        let low = if size > 2 * STATIC_ADDRESSES { STATIC_ADDRESSES + 1 } else { 2 };
        let span = size.saturating_sub(low + 1).max(1);
        for _ in 0..TRIES_MAX {
            let offset = low + random::below(u64::from(span)) as u32;
            let address = ranges::nth(range, offset);
            if self.take(store, address_key(&address.to_string()), owner).await? {
                return Ok(address);
            }
        }
        Err(Status::internal("failed to allocate a serviceIP: range is full"))
    }

    async fn this_address(
        &mut self,
        store: &Arc<dyn Store>,
        name: &str,
        text: &str,
        owner: &str,
    ) -> status::Result<()> {
        let refused = |why: String| {
            let mut errors = Errors::default();
            errors.invalid("spec.clusterIPs", [text], why);
            Status::invalid("", "Service", name, &errors)
        };
        let Ok(address) = text.parse::<IpAddr>() else { return Ok(()) };
        let Some(range) = self.ranges.iter().find(|it| it.addr().is_ipv4() == address.is_ipv4()) else {
            return Ok(());
        };
        if !range.contains(&address) {
            return Err(refused(format!(
                "failed to allocate IP {text}: the provided IP ({text}) is not in the valid range. The range of valid IPs is {range}"
            )));
        }
        if self.take(store, address_key(&address.to_string()), owner).await? {
            return Ok(());
        }
        Err(refused(format!("failed to allocate IP {text}: provided IP is already allocated")))
    }

    async fn any_port(&mut self, store: &Arc<dyn Store>, protocol: &str, owner: &str) -> status::Result<u16> {
        let span = u64::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
        for _ in 0..TRIES_MAX {
            let port = NODE_PORTS.start() + random::below(span) as u16;
            if self.take(store, port_key(protocol, port.into()), owner).await? {
                return Ok(port);
            }
        }
        Err(Status::internal("failed to allocate a nodePort: range is full"))
    }

    async fn this_port(
        &mut self,
        store: &Arc<dyn Store>,
        name: &str,
        at: usize,
        protocol: &str,
        number: u64,
        owner: &str,
    ) -> status::Result<()> {
        let inside = u16::try_from(number).is_ok_and(|it| NODE_PORTS.contains(&it));
        let why = match inside {
            false => format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            ),
            true if self.take(store, port_key(protocol, number), owner).await? => return Ok(()),
            true => "provided port is already allocated".to_owned(),
        };
        let mut errors = Errors::default();
        errors.invalid(format!("spec.ports[{at}].nodePort").as_str(), number, why);
        Err(Status::invalid("", "Service", name, &errors))
    }

    /// Makes a claim; false if it is another's.
    async fn take(&mut self, store: &Arc<dyn Store>, key: String, owner: &str) -> status::Result<bool> {
        let value = Some(Bytes::copy_from_slice(owner.as_bytes()));
        match store.commit(Commit { key: key.as_str().into(), expect: Expect::Absent, value }).await {
            Ok(revision) => {
                self.keys.push((key, revision));
                Ok(true)
            }
            Err(StoreError::Mismatch { .. }) => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The service is written: the claims are its own.
    pub fn keep(&mut self) {
        self.keys.clear();
    }

    /// The write failed: the claims go back, unless it is not known whether it was done. Then the sweep finds those that nobody uses.
    pub async fn refused(&mut self, store: &Arc<dyn Store>, refusal: &Status) {
        if refusal.reason == Reason::Timeout {
            self.keep();
        } else {
            self.release(store).await;
        }
    }

    /// The service was not written: the claims go back.
    pub async fn release(&mut self, store: &Arc<dyn Store>) {
        for (key, revision) in self.keys.drain(..) {
            release(store, &key, Some(revision)).await;
        }
    }
}

fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Service"
}

/// Fills in what an update leaves out and the kind keeps from the old state, so that it is not claimed again.
fn keep_standing(value: &mut Value, before: &Value) {
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().is_empty()
        && let Some(address) = before["spec"]["clusterIP"].as_str().filter(|it| !it.is_empty())
    {
        spec.insert("clusterIP".to_owned(), json!(address));
        if spec.get("clusterIPs").is_none_or(|it| it.as_array().is_none_or(Vec::is_empty)) {
            spec.insert("clusterIPs".to_owned(), before["spec"]["clusterIPs"].clone());
        }
    }
    let same = |port: &Value, old: &Value| {
        port["port"] == old["port"]
            && port["protocol"].as_str().unwrap_or("TCP") == old["protocol"].as_str().unwrap_or("TCP")
    };
    let old_ports = before["spec"]["ports"].as_array();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(old) = old_ports.into_iter().flatten().find(|it| same(port, it)) else { continue };
        if port["nodePort"].as_u64().unwrap_or(0) == 0 && old["nodePort"].is_u64() {
            port["nodePort"] = old["nodePort"].clone();
        }
    }
}

/// The addresses of a service, given in either field.
fn addresses(spec: &Map<String, Value>) -> Vec<String> {
    let all = spec.get("clusterIPs").and_then(Value::as_array).into_iter().flatten();
    let mut all: Vec<String> = all.filter_map(Value::as_str).map(str::to_owned).collect();
    let first = spec.get("clusterIP").and_then(Value::as_str).filter(|it| !it.is_empty());
    match (first, all.first_mut()) {
        (Some(first), None) => all.push(first.to_owned()),
        // Who changes the one address means the first of the list.
        (Some(first), Some(listed)) if first != listed => all = vec![first.to_owned()],
        _ => {}
    }
    all
}

/// The claim of an address, whichever way it is written.
fn address_key(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(it) => format!("{PREFIX}addresses/{it}"),
        Err(_) => format!("{PREFIX}addresses/{address}"),
    }
}

fn port_key(protocol: &str, number: u64) -> String {
    format!("{PREFIX}ports/{protocol}/{number}")
}

/// The claims that a stored service stands for.
fn keys_of(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    let addresses = spec.as_object().map(addresses).unwrap_or_default();
    let addresses = addresses.iter().filter(|it| *it != HEADLESS).map(|it| address_key(it)).collect::<Vec<_>>();
    let ports = spec["ports"].as_array().into_iter().flatten().filter_map(|it| {
        let number = it["nodePort"].as_u64().filter(|it| *it > 0)?;
        Some(port_key(it["protocol"].as_str().unwrap_or("TCP"), number))
    });
    addresses.into_iter().chain(ports).collect()
}

/// Takes a claim away, if it is still the one that is meant; a failure leaves it to the sweep.
async fn release(store: &Arc<dyn Store>, key: &str, revision: Option<Revision>) {
    let revision = match revision {
        Some(revision) => revision,
        None => match store.get(key).await {
            Ok((Some(entry), _)) => entry.modified,
            Ok((None, _)) => return,
            Err(error) => {
                tracing::warn!(%error, %key, "a claim could not be given back; the next sweep will");
                return;
            }
        },
    };
    let commit = Commit { key: key.into(), expect: Expect::At(revision), value: None };
    if let Err(error) = store.commit(commit).await
        && !matches!(error, StoreError::Mismatch { .. })
    {
        tracing::warn!(%error, %key, "a claim could not be given back; the next sweep will");
    }
}
