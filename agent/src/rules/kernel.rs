//! Brings the kernel's tables to what they should be, and keeps them there.
//!
//! What changed goes to the kernel as one transaction. At the start, after an error and from time to time the kernel is asked what
//! it has, and the difference to what it should have is put right: a rule or an element that somebody removed comes back. No API
//! server is needed for that. Tables outlive the agent on purpose, as pods do; [`remove`] takes them away.

use std::time::Duration;

use orlop_client::{queue, random};
use tokio::time::Instant;

use super::changes::Changes;
use super::fragment::Place;
use super::listing;
use super::table::{Family, Table};
use super::wanted::Wanted;
use crate::network::NetworkError;
use crate::network::command;

/// How long changes are gathered after the first: the budget from a change to its effect is 50 ms, and a rollout's changes come in
/// groups.
const GATHER: Duration = Duration::from_millis(3);
/// How long between two comparisons with the kernel, without jitter: half a minute without a rule that somebody removed is the price of not
/// following all changes of all tables.
pub const COMPARE_EVERY: Duration = Duration::from_secs(20);
/// A comparison takes no more than one part of so many of the time: with ten thousand services it takes most of a second.
const COMPARE_SHARE: u32 = 100;
/// The longest time between two, without jitter, in times of the usual one.
const COMPARE_MOST: u32 = 6;
/// After this many failures the delay has reached its limit.
const FAILURES_MOST: u32 = 32;
/// The longest delay after a failure.
const RETRY_MOST: Duration = Duration::from_secs(10);
/// Failures are tried again no earlier than queue::backoff's fifth delay.
const RETRY_HEAD_START: u32 = 4;

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

/// The kernel's tables of one name.
pub struct Kernel {
    table: String,
    /// What the rules are for, as the log says it.
    purpose: &'static str,
    compare_every: Duration,
    compare_at: Instant,
    trust: Trust,
    /// Whether there is a table of the family.
    has_v6: bool,
    failures: u32,
    last_failure: String,
}

impl Kernel {
    /// Tables of which nothing is known yet.
    pub fn new(table: String, purpose: &'static str, compare_every: Duration) -> Self {
        Kernel {
            table,
            purpose,
            compare_every,
            compare_at: Instant::now(),
            trust: Trust::Compare,
            has_v6: false,
            failures: 0,
            last_failure: String::new(),
        }
    }

    /// Brings the kernel up to what is wanted, and gives what that changed; none after a failure, which is told and waited out here: the
    /// next turn looks at the whole table.
    pub async fn turn<P: Place>(&mut self, wanted: &mut Wanted<P>) -> Option<Changes> {
        if Instant::now() >= self.compare_at && self.trust == Trust::Sure {
            self.trust = Trust::Compare;
        }
        let comparing = self.trust != Trust::Sure;
        let begun = Instant::now();
        let outcome = self.step(wanted).await;
        if comparing {
            let most = self.compare_every * COMPARE_MOST;
            let pause = self.compare_every.max(begun.elapsed() * COMPARE_SHARE).min(most);
            self.compare_at = Instant::now() + random::jitter(pause, 0.5);
        }
        self.end(outcome).await
    }

    async fn end<T>(&mut self, outcome: Result<T, NetworkError>) -> Option<T> {
        self.tell(outcome.as_ref().err().map(ToString::to_string).unwrap_or_default());
        if outcome.is_err() {
            self.failures = (self.failures + 1).min(FAILURES_MOST);
            let delay = queue::backoff(self.failures + RETRY_HEAD_START).min(RETRY_MOST);
            tokio::time::sleep(random::jitter(delay, 0.5)).await;
        } else {
            self.failures = 0;
        }
        outcome.ok()
    }

    /// Takes the tables away, as long as nothing is wanted; none after a failure, which is told and waited out here.
    pub async fn clear(&mut self) -> Option<()> {
        self.trust = Trust::Compare;
        let outcome = remove(&self.table).await;
        self.end(outcome).await
    }

    /// Waits until something is to be done: `rung` is over, or it is time to compare.
    pub async fn rest(&self, rung: impl Future<Output = ()>) {
        tokio::select! {
            () = rung => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep_until(self.compare_at) => {}
        }
    }

    /// A failure is told once, and so is its end.
    fn tell(&mut self, failure: String) {
        if failure != self.last_failure {
            match failure.as_str() {
                "" => tracing::info!("the rules for {} are as they should be again", self.purpose),
                reason => tracing::warn!(reason, "the rules for {} could not be set; it is tried again", self.purpose),
            }
            self.last_failure = failure;
        }
    }

    async fn step<P: Place>(&mut self, wanted: &mut Wanted<P>) -> Result<Changes, NetworkError> {
        let v6 = wanted.uses(Family::V6);
        if v6 != self.has_v6 && self.trust == Trust::Sure {
            self.trust = Trust::Compare;
        }
        let changes = match self.trust {
            Trust::Sure => wanted.take(),
            Trust::Compare => self.compare(wanted).await?,
            Trust::Replace => anew(wanted),
        };
        if !changes.is_empty() {
            let replaced = self.trust == Trust::Replace;
            // What follows a failure: first another look, and where that does not help, a new table.
            self.trust = if self.trust == Trust::Sure { Trust::Compare } else { Trust::Replace };
            let before = if replaced { removal_text(&self.table) } else { String::new() };
            apply(&(before + &changes.text(&self.table))).await?;
            tracing::debug!(changes = changes.len(), "the rules for {} have changed", self.purpose);
        }
        self.trust = Trust::Sure;
        self.has_v6 = v6;
        Ok(changes)
    }

    /// The difference to what the kernel has.
    async fn compare<P: Place>(&mut self, wanted: &mut Wanted<P>) -> Result<Changes, NetworkError> {
        wanted.forget_changes();
        let mut changes = Changes::default();
        for family in Family::ALL {
            let has = list(family, &self.table).await?;
            changes.compare(family, has.as_ref(), &wanted.table(family));
        }
        Ok(changes)
    }
}

/// Everything, for tables that are not there.
fn anew<P: Place>(wanted: &mut Wanted<P>) -> Changes {
    wanted.forget_changes();
    let mut changes = Changes::default();
    Family::ALL.iter().for_each(|it| changes.compare(*it, None, &wanted.table(*it)));
    changes
}

async fn list(family: Family, table: &str) -> Result<Option<Table>, NetworkError> {
    let args = ["-j", "list", "table", family.name(), table];
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

async fn apply(text: &str) -> Result<(), NetworkError> {
    command::run("nft", "nftables", &["-f", "-"], text).await
}

fn removal_text(table: &str) -> String {
    Family::ALL.iter().map(|it| format!("add table {0} {table}\ndelete table {0} {table}\n", it.name())).collect()
}

/// Takes the tables of a name away, whether they are there or not.
///
/// # Errors
/// When they cannot be removed.
pub async fn remove(table: &str) -> Result<(), NetworkError> {
    apply(&removal_text(table)).await
}
