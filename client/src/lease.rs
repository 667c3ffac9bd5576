//! Leader election over a `coordination.k8s.io` Lease: of several copies of a component, one acts.
//!
//! In: the lease as it was last seen, and the time. Out: [`decide`] says what to do about it; [`lead`] does it, runs the
//! component while it leads, and gives the lease back at a clean end. Clocks of different machines are never compared:
//! a lease counts as abandoned when *this* process has seen no renewal for the lease's duration, as in client-go.
//!
//! A leader stops acting before its lease could be taken: it must renew within `renew_within` of the start of its last
//! successful renewal, and others wait `duration` > `renew_within` from when they see that renewal, which is later. A
//! write that was already on its way is stopped by the [`Fence`]: the API server refuses it once the lease has moved on.
//!
//! A process that starts and finds the lease in its own name knows that its predecessor has ended, see [`Identity`]. It
//! takes the lease at once, as a new term: what the predecessor had on its way is refused.

mod fence;
mod identity;

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::fence::{FENCE_HEADER, Fence};
pub use self::identity::Identity;
use crate::{clock, random};

/// How long one request about the lease may take: short, so that several fit before the leader must stop.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the component gets to end after it lost the lease: the difference of the default `duration` and
/// `renew_within`. What still runs then is dropped.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Spread of the retries of candidates.
const JITTER: f64 = 0.2;

/// Which lease, who asks for it, and how long things take.
#[derive(Clone, Debug)]
pub struct Config {
    /// The namespace of the lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are.
    pub identity: Identity,
    /// How long others wait after a renewal before they take the lease.
    pub duration: Duration,
    /// How long the leader acts after the start of its last renewal; less than `duration`.
    pub renew_within: Duration,
    /// How long between two looks at a lease that another holds, or two attempts after a failure.
    pub retry: Duration,
}

impl Config {
    /// Kubernetes' defaults: 15 s, 10 s and 2 s.
    pub fn new(namespace: &str, name: &str, identity: Identity) -> Config {
        Config {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity,
            duration: Duration::from_secs(15),
            renew_within: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }

    /// How often the leader renews: as often as it would try, as client-go does. The watch of the leases hears this, and
    /// tells an outage from a silent node by it.
    fn renew_every(&self) -> Duration {
        self.retry
    }
}

/// The lease as this process saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its content.
    pub spec: LeaseSpec,
    /// When this process first saw exactly this content, on its [`steady`](clock::steady) clock.
    pub since: Timestamp,
}

impl Seen {
    /// What is known after seeing `spec` at `now`, of the steady clock: the wait starts anew only if something changed.
    pub fn update(old: Option<Seen>, spec: LeaseSpec, now: Timestamp) -> Seen {
        match old {
            Some(old) if old.spec == spec => old,
            _ => Seen { spec, since: now },
        }
    }
}

/// Where this process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not held the lease yet, or no longer: a lease in its name is that of a predecessor, which has ended.
    Fresh,
    /// It holds the lease since this transition.
    Holding(i32),
    /// It lost the lease to a process of its own name, which should not be: it does not take the lease back before that
    /// one lets it run out, or the two would throw each other out for ever.
    Ousted,
}

/// What to do about the lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// There is none: make it with this content.
    Create(LeaseSpec),
    /// It is free, abandoned, or ours: write this content over it.
    Write(LeaseSpec),
    /// Another holds it: look again after this time at the latest.
    Wait(Duration),
}

/// Decides what `config.identity` does about the lease at `now`, which is `steady` on the steady clock.
pub fn decide(seen: Option<&Seen>, config: &Config, standing: Standing, now: Timestamp, steady: Timestamp) -> Step {
    let seconds = i32::try_from(config.duration.as_secs()).unwrap_or(i32::MAX).max(1);
    let ours = |acquired: MicroTime, transitions: i32| LeaseSpec {
        holder_identity: Some(config.identity.name().to_owned()),
        lease_duration_seconds: Some(seconds),
        acquire_time: Some(acquired),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let Some(Seen { spec, since }) = seen else { return Step::Create(ours(MicroTime(now), 0)) };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or(0);
    let in_our_name = holder == config.identity.name();
    if in_our_name && standing == Standing::Holding(transitions) {
        let acquired = spec.acquire_time.clone().unwrap_or(MicroTime(now));
        return Step::Write(ours(acquired, transitions));
    }
    let of_predecessor = in_our_name && standing == Standing::Fresh;
    if !holder.is_empty() && !of_predecessor {
        let promised = spec.lease_duration_seconds.and_then(|it| u64::try_from(it).ok()).map(Duration::from_secs);
        let left = promised.unwrap_or(config.duration).saturating_sub(clock::since(*since, steady));
        if !left.is_zero() {
            return Step::Wait(left.min(config.retry));
        }
    }
    Step::Write(ours(MicroTime(now), transitions.saturating_add(1)))
}

/// The content of a lease that its holder gives back, as client-go writes it.
pub fn released(held: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: held.lease_transitions,
        ..LeaseSpec::default()
    }
}

/// Runs `act` whenever this process leads, until `shutdown`. `act` gets the fence of its term and a token that ends when
/// the term does; it should return soon after.
pub async fn lead<F, Fut>(client: &kube::Client, config: &Config, shutdown: CancellationToken, mut act: F)
where
    F: FnMut(Fence, CancellationToken) -> Fut,
    Fut: Future<Output = ()>,
{
    let api = Api::namespaced(client.clone(), &config.namespace);
    let mut candidate = Candidate { api, config, seen: None, revision: None, standing: Standing::Fresh };
    loop {
        let Some(Some(renewed)) = shutdown.run_until_cancelled(candidate.acquire()).await else { break };
        let fence = candidate.fence();
        tracing::info!(lease = %fence.lease(), identity = %config.identity, "leading");
        let term = shutdown.child_token();
        {
            let mut acting = std::pin::pin!(act(fence, term.clone()));
            let mut keeping = std::pin::pin!(candidate.keep(renewed));
            let ended = tokio::select! {
                () = &mut acting => true,
                () = &mut keeping => false,
                () = term.cancelled() => false,
            };
            term.cancel();
            if !ended && tokio::time::timeout(END_TIMEOUT, acting).await.is_err() {
                tracing::warn!("what the leader ran did not end in time and is dropped");
            }
        }
        candidate.release().await;
        if shutdown.is_cancelled() {
            break;
        }
        tracing::warn!(lease = %config.name, "no longer leading");
    }
}

/// What a process knows of the lease it wants.
struct Candidate<'a> {
    api: Api<Lease>,
    config: &'a Config,
    seen: Option<Seen>,
    /// The resource version of what was seen, the precondition of the next write.
    revision: Option<String>,
    standing: Standing,
}

impl Candidate<'_> {
    /// Waits until the lease is ours. Gives the start of the successful write.
    async fn acquire(&mut self) -> Option<Instant> {
        let mut told = String::new();
        loop {
            let started = Instant::now();
            let pause = match self.attempt(true).await {
                Ok(None) => return Some(started),
                Ok(Some(wait)) => wait,
                Err(error) => {
                    // Once for each reason: a right that is missing must be seen, a server that is away need not be counted.
                    if told != error {
                        tracing::warn!(%error, lease = %self.config.name, "cannot take the lease yet");
                        told = error;
                    }
                    self.config.retry
                }
            };
            tokio::time::sleep(random::jitter(pause, JITTER)).await;
        }
    }

    /// Renews until the time is over within which that must succeed.
    async fn keep(&mut self, mut renewed: Instant) {
        loop {
            let deadline = renewed + self.config.renew_within;
            let mut at = renewed + self.config.renew_every();
            loop {
                tokio::time::sleep_until(at.min(deadline)).await;
                let started = Instant::now();
                if started >= deadline {
                    tracing::warn!("the lease could not be renewed in time");
                    return;
                }
                match tokio::time::timeout_at(deadline, self.attempt(false)).await {
                    Ok(Ok(None)) => {
                        renewed = started;
                        break;
                    }
                    Ok(Ok(Some(_))) => {
                        tracing::warn!("another process holds the lease");
                        return;
                    }
                    Ok(Err(error)) => tracing::warn!(%error, "cannot renew the lease; trying again"),
                    Err(_) => {}
                }
                at = Instant::now() + self.config.retry;
            }
        }
    }

    /// Looks at the lease, if `look` or if the last write met a conflict, and does what [`decide`] says. Gives how long
    /// to wait if another holds it.
    async fn attempt(&mut self, look: bool) -> Result<Option<Duration>, String> {
        if look || self.revision.is_none() {
            let lease = limited(self.api.get_opt(&self.config.name)).await?;
            self.note(lease);
        }
        let leading = self.holds();
        let step = decide(self.seen.as_ref(), self.config, self.standing, clock::now(), clock::steady());
        let renewing = leading && matches!(step, Step::Write(_));
        if !look && !renewing {
            // A leader that lost its lease may not take it again within the same term: its fence would be another one.
            if !leading {
                self.standing = if self.is_in_our_name() { Standing::Ousted } else { Standing::Fresh };
            }
            return Ok(Some(Duration::ZERO));
        }
        let written = match step {
            Step::Wait(wait) => return Ok(Some(wait)),
            Step::Create(spec) => limited(self.api.create(&PostParams::default(), &self.lease(spec, None))).await,
            Step::Write(spec) => self.replace(spec).await,
        };
        match written {
            Ok(lease) => {
                self.note(Some(lease));
                self.standing = Standing::Holding(self.transitions());
                Ok(None)
            }
            Err(error) => {
                self.revision = None;
                Err(error)
            }
        }
    }

    async fn replace(&self, spec: LeaseSpec) -> Result<Lease, String> {
        let lease = self.lease(spec, self.revision.clone());
        limited(self.api.replace(&self.config.name, &PostParams::default(), &lease)).await
    }

    /// Gives the lease back, if it is still ours, so that another process need not wait.
    async fn release(&mut self) {
        let ours = self.seen.as_ref().filter(|_| self.holds() && self.revision.is_some());
        if let Some(spec) = ours.map(|it| released(&it.spec, clock::now())) {
            if let Err(error) = self.replace(spec).await {
                tracing::debug!(%error, "the lease was not given back and will run out");
            }
            self.seen = None;
            self.revision = None;
        }
        if matches!(self.standing, Standing::Holding(_)) {
            self.standing = Standing::Fresh;
        }
    }

    fn is_in_our_name(&self) -> bool {
        self.seen.as_ref().is_some_and(|it| it.spec.holder_identity.as_deref() == Some(self.config.identity.name()))
    }

    fn holds(&self) -> bool {
        self.is_in_our_name() && self.standing == Standing::Holding(self.transitions())
    }

    fn transitions(&self) -> i32 {
        self.seen.as_ref().and_then(|it| it.spec.lease_transitions).unwrap_or(0)
    }

    fn note(&mut self, lease: Option<Lease>) {
        let old = self.seen.take();
        let Some(lease) = lease else {
            self.revision = None;
            return;
        };
        self.revision = lease.metadata.resource_version;
        self.seen = Some(Seen::update(old, lease.spec.unwrap_or_default(), clock::steady()));
    }

    fn lease(&self, spec: LeaseSpec, revision: Option<String>) -> Lease {
        let metadata = ObjectMeta {
            namespace: Some(self.config.namespace.clone()),
            name: Some(self.config.name.clone()),
            resource_version: revision,
            ..ObjectMeta::default()
        };
        Lease { metadata, spec: Some(spec) }
    }

    fn fence(&self) -> Fence {
        Fence::new(&self.config.namespace, &self.config.name, self.config.identity.name(), self.transitions())
    }
}

async fn limited<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("the server did not answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn seen(holder: &str, transitions: i32, since: i64) -> Seen {
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            acquire_time: Some(MicroTime(at(0))),
            renew_time: Some(MicroTime(at(since))),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        Seen { spec, since: at(since) }
    }

    /// Shows a step as `verb holder transitions acquired` or as seconds to wait.
    #[track_caller]
    fn check(seen: Option<Seen>, standing: Standing, now: i64, expected: &str) {
        let show = |verb: &str, it: LeaseSpec| {
            let acquired = it.acquire_time.map(|it| it.0.as_second()).unwrap_or_default();
            let holder = it.holder_identity.unwrap_or_default();
            format!("{verb} {holder} {} since {acquired}", it.lease_transitions.unwrap_or_default())
        };
        let config = Config::new("kube-system", "x", "me".into());
        let step = match decide(seen.as_ref(), &config, standing, at(now), at(now)) {
            Step::Create(spec) => show("create", spec),
            Step::Write(spec) => show("write", spec),
            Step::Wait(wait) => format!("wait {}", wait.as_secs()),
        };
        assert_eq!(step, expected);
    }

    #[test]
    fn decisions() {
        use Standing::{Fresh, Holding, Ousted};
        check(None, Fresh, 100, "create me 0 since 100");
        check(Some(seen("me", 3, 90)), Holding(3), 100, "write me 3 since 0");
        check(Some(seen("", 3, 90)), Fresh, 100, "write me 4 since 100");
        check(Some(seen("other", 3, 90)), Fresh, 100, "wait 2");
        check(Some(seen("other", 3, 86)), Fresh, 100, "wait 1");
        check(Some(seen("other", 3, 85)), Fresh, 100, "write me 4 since 100");
        // A clock that went back must not make a lease look abandoned.
        check(Some(seen("other", 3, 200)), Fresh, 100, "wait 2");
        // The one before us ended a second ago: we need not wait, and its term is not ours.
        check(Some(seen("me", 3, 99)), Fresh, 100, "write me 4 since 100");
        // Another process has our name, and took the lease from us.
        check(Some(seen("me", 4, 99)), Holding(3), 100, "wait 2");
        check(Some(seen("me", 4, 99)), Ousted, 100, "wait 2");
        check(Some(seen("me", 4, 85)), Ousted, 100, "write me 5 since 100");
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_no_lease() {
        let (held, config) = (seen("other", 3, 90), Config::new("kube-system", "x", "me".into()));
        for wall in [0, 100, 1_000_000] {
            let step = decide(Some(&held), &config, Standing::Fresh, at(wall), at(100));
            assert_eq!(step, Step::Wait(Duration::from_secs(2)), "at {wall}");
            let step = decide(Some(&held), &config, Standing::Fresh, at(wall), at(105));
            assert!(matches!(step, Step::Write(_)), "at {wall}: {step:?}");
        }
    }

    #[test]
    fn the_wait_starts_anew_with_every_renewal() {
        let first = Seen::update(None, seen("other", 1, 1).spec, at(10));
        let same = Seen::update(Some(first.clone()), seen("other", 1, 1).spec, at(20));
        assert_eq!(same.since, at(10));
        let renewed = Seen::update(Some(same), seen("other", 1, 2).spec, at(20));
        assert_eq!(renewed.since, at(20));
    }

    #[test]
    fn a_leader_stops_before_others_may_begin() {
        let config = Config::new("a", "b", "c".into());
        assert!(config.renew_every() + config.retry + REQUEST_TIMEOUT <= config.renew_within);
        assert!(config.renew_within + END_TIMEOUT <= config.duration);
    }
}
