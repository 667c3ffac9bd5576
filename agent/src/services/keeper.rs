//! Keeps the kernel's tables as the services want them.
//!
//! A change of a service or a slice marks its service; a few milliseconds later the fragments of all marked services are made anew and
//! what that changed goes to the kernel as one transaction. At the start, after an error and from time to time the kernel is asked what
//! it has, and the difference to what it should have is put right: a rule or an element that somebody removed comes back. No API
//! server is needed for that. Tables outlive the agent on purpose, as pods do; [`remove`] takes them away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use orlop_client::{Key, queue, random};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::fragment::{self, Setting};
use super::listing;
use super::table::{Dns, Family, Pods, Table};
use super::view::Known;
use super::wanted::Wanted;
use super::{backends::Here, bridged, flows};
use crate::network::NetworkError;
use crate::network::command;
use crate::network::names::Names;

/// How long changes are gathered after the first: the budget from a change to its effect is 50 ms, and a rollout's changes come in
/// groups.
const GATHER: Duration = Duration::from_millis(3);
/// How long between two comparisons with the kernel, without jitter: half a minute without a rule that somebody removed is the price of not
/// following all changes of all tables.
pub const COMPARE_EVERY: Duration = Duration::from_secs(20);
/// A comparison takes no more than one part of so many of the time: with ten thousand services it takes most of a second.
const COMPARE_SHARE: u32 = 100;
/// The longest time between two, without jitter.
const COMPARE_MOST: Duration = Duration::from_secs(120);
/// After this many failures the delay has reached its limit.
const FAILURES_MOST: u32 = 32;
/// The longest delay after a failure.
const RETRY_MOST: Duration = Duration::from_secs(10);
/// Failures are tried again no earlier than queue::backoff's fifth delay.
const RETRY_HEAD_START: u32 = 4;

/// What a node's services need to know of the node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names the tables, and is the node of local endpoints.
    pub node_name: String,
    /// The addresses of all pods.
    pub cluster_cidrs: Vec<IpNet>,
    /// How the node's DNS is reached; none if it has none.
    pub dns: Option<Dns>,
    /// How long between two comparisons with the kernel: [`COMPARE_EVERY`].
    pub compare_every: Duration,
}

/// The services whose fragments are to be made anew.
#[derive(Default)]
struct Marked {
    services: Mutex<BTreeSet<Key>>,
    /// All of them: the node has moved to another zone.
    all: AtomicBool,
    rung: Notify,
}

impl Marked {
    fn mark(&self, keys: impl IntoIterator<Item = Key>) {
        self.services.lock().extend(keys);
        self.rung.notify_one();
    }
}

/// How sure we are of what the kernel has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trust {
    /// What was applied is there.
    Sure,
    /// To be asked.
    Compare,
    /// A difference could not be put right: the tables are made anew.
    Replace,
}

/// The keeper of one node's tables.
pub struct Keeper {
    config: Config,
    known: Known,
    table: String,
    setting: Setting,
    pods: Pods,
    wanted: Wanted,
    trust: Trust,
    /// Whether there is a table of the family.
    has_v6: bool,
    last_failure: String,
}

impl Keeper {
    /// A keeper that has not done anything.
    pub fn new(config: Config, known: Known) -> Self {
        let names = Names::of(&config.node_name);
        let here = Here { node: config.node_name.clone(), zone: None };
        let dns = config.dns.as_ref().map(|it| it.address);
        Keeper {
            table: names.services,
            setting: Setting { here, cluster_cidrs: config.cluster_cidrs.clone(), dns },
            wanted: Wanted::default(),
            pods: Pods { bridge: names.bridge, bridged_pass: true },
            trust: Trust::Compare,
            has_v6: false,
            last_failure: String::new(),
            config,
            known,
        }
    }

    /// Keeps the tables until `shutdown`. Nothing is done before the stores have seen all there is, for until then what an earlier run
    /// left is nearer to the truth.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.run_for_ever()).await;
    }

    async fn run_for_ever(&mut self) {
        self.known.synced().await;
        self.pods.bridged_pass = bridged::pass().await;
        if !self.pods.bridged_pass {
            tracing::warn!(
                "bridged packets do not pass the rules (br_netfilter): services see the node in place of its own pods"
            );
        }
        self.wanted = Wanted::new(&self.pods, self.config.dns.as_ref());
        let marked = self.listen();
        let mut failures: u32 = 0;
        let mut compare_at = Instant::now();
        loop {
            if Instant::now() >= compare_at {
                self.trust = if self.trust == Trust::Replace { Trust::Replace } else { Trust::Compare };
            }
            let comparing = self.trust != Trust::Sure;
            let begun = Instant::now();
            let outcome = self.step(&marked).await;
            if comparing {
                let pause = self.config.compare_every.max(begun.elapsed() * COMPARE_SHARE).min(COMPARE_MOST);
                compare_at = Instant::now() + random::jitter(pause, 0.5);
            }
            self.tell(outcome.as_ref().err().map(ToString::to_string).unwrap_or_default());
            if outcome.is_err() {
                failures = (failures + 1).min(FAILURES_MOST);
                let delay = queue::backoff(failures + RETRY_HEAD_START).min(RETRY_MOST);
                tokio::time::sleep(random::jitter(delay, 0.5)).await;
                continue;
            }
            failures = 0;
            tokio::select! {
                () = marked.rung.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep_until(compare_at) => {}
            }
        }
    }

    /// A failure is told once, and so is its end.
    fn tell(&mut self, failure: String) {
        if failure != self.last_failure {
            match failure.as_str() {
                "" => tracing::info!("the rules for services are as they should be again"),
                reason => tracing::warn!(reason, "the rules for services could not be set; it is tried again"),
            }
            self.last_failure = failure;
        }
    }

    fn listen(&self) -> Arc<Marked> {
        let marked = Arc::new(Marked::default());
        let weak = || Arc::downgrade(&marked);
        let (of_services, of_slices, of_nodes) = (weak(), weak(), weak());
        self.known.services.listen(move |change| {
            let Some(marked) = of_services.upgrade() else { return false };
            marked.mark([change.key.clone()]);
            true
        });
        self.known.slices.listen(move |change| {
            let Some(marked) = of_slices.upgrade() else { return false };
            let (old, new) = (change.old.as_ref(), change.new.as_ref());
            marked.mark(old.into_iter().chain(new).filter_map(|it| it.service()));
            true
        });
        self.known.nodes.listen(move |_| {
            let Some(marked) = of_nodes.upgrade() else { return false };
            marked.all.store(true, Ordering::Relaxed);
            marked.rung.notify_one();
            true
        });
        marked
    }

    /// Brings the kernel up to the stores.
    async fn step(&mut self, marked: &Marked) -> Result<(), NetworkError> {
        let mut keys = std::mem::take(&mut *marked.services.lock());
        if marked.all.swap(false, Ordering::Relaxed) {
            let zone = self.known.zone(&self.config.node_name);
            if zone != self.setting.here.zone {
                self.setting.here.zone = zone;
                keys.extend(self.known.services.list().iter().map(|it| it.key()));
                keys.extend(self.wanted.services().cloned());
            }
        }
        for key in keys {
            let service = self.known.services.get(&key);
            let of = |it: Arc<_>| fragment::of(&it, &self.known.slices_of(&key), &self.setting);
            let fragment = service.map(of).unwrap_or_default();
            self.wanted.set(&key, fragment);
        }
        let v6 = self.wanted.uses(Family::V6);
        if v6 != self.has_v6 && self.trust == Trust::Sure {
            self.trust = Trust::Compare;
        }
        let changes = match self.trust {
            Trust::Sure => self.wanted.take(),
            Trust::Compare => self.compare().await?,
            Trust::Replace => self.anew(),
        };
        if !changes.is_empty() {
            let replaced = self.trust == Trust::Replace;
            // What follows a failure: first another look, and where that does not help, a new table.
            self.trust = if self.trust == Trust::Sure { Trust::Compare } else { Trust::Replace };
            let before = if replaced { removal_text(&self.table) } else { String::new() };
            self.apply(&(before + &changes.text(&self.table))).await?;
            tracing::debug!(changes = changes.len(), "the rules for services have changed");
            if let Err(error) = flows::forget(changes.stale_flows()).await {
                tracing::debug!(%error, "flows of old endpoints could not be forgotten; they end by themselves");
            }
        }
        self.trust = Trust::Sure;
        self.has_v6 = v6;
        Ok(())
    }

    /// The difference to what the kernel has.
    async fn compare(&mut self) -> Result<Changes, NetworkError> {
        self.wanted.forget_changes();
        let mut changes = Changes::default();
        for family in Family::ALL {
            let has = self.list(family).await?;
            changes.compare(family, has.as_ref(), &self.wanted.table(family));
        }
        Ok(changes)
    }

    /// Everything, for tables that are not there.
    fn anew(&mut self) -> Changes {
        self.wanted.forget_changes();
        let mut changes = Changes::default();
        Family::ALL.iter().for_each(|it| changes.compare(*it, None, &self.wanted.table(*it)));
        changes
    }

    async fn list(&self, family: Family) -> Result<Option<Table>, NetworkError> {
        let args = ["-j", "list", "table", family.name(), &self.table];
        let failed = |reason: String| NetworkError::Command { program: "nft".to_owned(), reason };
        let Some(output) = command::try_run("nft", &args, "").await? else {
            return Err(failed("it is not installed (package nftables)".to_owned()));
        };
        let error = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => listing::parse(&output.stdout).map_err(|it| failed(format!("its listing: {it}"))),
            false if error.contains("No such file or directory") => Ok(None),
            false => Err(failed(error.trim().to_owned())),
        }
    }

    async fn apply(&self, text: &str) -> Result<(), NetworkError> {
        command::run("nft", "nftables", &["-f", "-"], text).await
    }
}

fn removal_text(table: &str) -> String {
    Family::ALL.iter().map(|it| format!("add table {0} {table}\ndelete table {0} {table}\n", it.name())).collect()
}

/// Takes the tables of a node away that no agent serves any more.
///
/// # Errors
/// When they cannot be removed.
pub async fn remove(node_name: &str) -> Result<(), NetworkError> {
    let table = Names::of(node_name).services;
    command::run("nft", "nftables", &["-f", "-"], &removal_text(&table)).await
}
