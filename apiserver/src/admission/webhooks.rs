//! `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`: others outside the server change and judge what is written.
//!
//! In: a write, and the configurations, read anew when one has changed. Out: the object as webhooks left it, or a refusal. Mutating ones are
//! asked one after the other, in the order of their configurations' names, each with what those before it made; after a change the chain
//! of plugins runs once more, in which those with `reinvocationPolicy: IfNeeded` are asked again. Validating ones are asked all at
//! once. Neither is asked about the configurations themselves. Source: `k8s.io/apiserver/pkg/admission/plugin/webhook`.

pub mod review;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use orlop_api::draft::Draft;
use orlop_api::kind::{Kind, Sub};
use orlop_api::patch;
use orlop_api::status::{self, Status};
use orlop_client::random;
use parking_lot::Mutex;

use super::expressions::{Asking, Conditions, Met, Seen, Shown};
use super::lister::Lister;
use super::selection::{self, Rule, Selection};
use super::{Sight, forbidden};
use crate::authorize::Policy;
use crate::callout::{Call, Caller, Place};
use crate::convert;
use crate::stage::{Admission, Plugin, Subject};
use review::Verdict;

/// How long a webhook may take if it does not say.
const TIMEOUT_SECONDS: i32 = 10;

/// The largest answer: an object of the largest size, base64 of a patch that replaces it, and the rest of a review.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// One webhook, read.
struct Hook {
    name: String,
    selection: Selection,
    conditions: Result<Conditions, String>,
    place: Option<Place>,
    ca: Bytes,
    fails_open: bool,
    timeout_seconds: i32,
    version: &'static str,
    again: bool,
}

/// What both sorts of webhooks have.
struct Said {
    name: String,
    client: WebhookClientConfig,
    rules: Vec<RuleWithOperations>,
    match_policy: Option<String>,
    namespaces: Option<LabelSelector>,
    objects: Option<LabelSelector>,
    conditions: Vec<MatchCondition>,
    failure_policy: Option<String>,
    timeout_seconds: Option<i32>,
    versions: Vec<String>,
    again: bool,
}

macro_rules! said {
    ($it:ident, $again:expr) => {
        Said {
            name: $it.name,
            client: $it.client_config,
            rules: $it.rules.unwrap_or_default(),
            match_policy: $it.match_policy,
            namespaces: $it.namespace_selector,
            objects: $it.object_selector,
            conditions: $it.match_conditions.unwrap_or_default(),
            failure_policy: $it.failure_policy,
            timeout_seconds: $it.timeout_seconds,
            versions: $it.admission_review_versions,
            again: $again,
        }
    };
}

impl Hook {
    fn of(it: Said) -> Option<Self> {
        let rules = it.rules.into_iter().map(Rule::from);
        let selection = Selection::new(rules, it.match_policy.as_deref(), it.namespaces.as_ref(), it.objects.as_ref())
            .inspect_err(|error| tracing::warn!(webhook = it.name, %error, "a webhook's selector cannot be read"))
            .ok()?;
        let place = match (&it.client.url, &it.client.service) {
            (Some(url), _) => Place::of_url(url),
            (None, Some(service)) => Some(Place::Service {
                namespace: service.namespace.clone(),
                name: service.name.clone(),
                port: service.port.and_then(|it| it.try_into().ok()).unwrap_or(443),
                path: service.path.clone().unwrap_or_default(),
            }),
            (None, None) => None,
        };
        Some(Hook {
            conditions: Conditions::new(&it.conditions, false),
            ca: it.client.ca_bundle.map(|it| Bytes::from(it.0)).unwrap_or_default(),
            fails_open: it.failure_policy.as_deref() == Some("Ignore"),
            timeout_seconds: it.timeout_seconds.unwrap_or(TIMEOUT_SECONDS),
            version: review::version(&it.versions),
            again: it.again,
            name: it.name,
            selection,
            place,
        })
    }
}

/// The webhooks of one sort.
pub struct Webhooks {
    sight: Sight,
    policy: Arc<Policy>,
    configurations: Lister,
    mutates: bool,
    caller: Arc<Caller>,
    /// What was read last, and the revision it was read at.
    known: Mutex<(u64, Arc<Vec<Hook>>)>,
}

impl Webhooks {
    /// Those that change objects, or those that judge them.
    pub fn new(sight: &Sight, policy: &Arc<Policy>, caller: &Arc<Caller>, mutates: bool) -> Self {
        let kind = if mutates { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
        Webhooks {
            sight: sight.clone(),
            policy: policy.clone(),
            configurations: Lister::new(sight, selection::GROUP, kind),
            mutates,
            caller: caller.clone(),
            known: Mutex::default(),
        }
    }

    fn concerns(&self, write: &Admission<'_>) -> bool {
        // A binding is shown as such, before the pod is changed.
        !self.configurations.is_empty() && write.kind.group != selection::GROUP && write.sub != Some(Sub::Binding)
    }

    fn hooks(&self) -> Arc<Vec<Hook>> {
        let revision = self.configurations.revision();
        let mut known = self.known.lock();
        if known.0 != revision {
            let said: Vec<Said> = if self.mutates {
                let all = self.configurations.all::<MutatingWebhookConfiguration>("");
                let hooks = all.into_iter().flat_map(|it| it.webhooks.unwrap_or_default());
                hooks
                    .map(|it| {
                        let again = it.reinvocation_policy.as_deref() == Some("IfNeeded");
                        said!(it, again)
                    })
                    .collect()
            } else {
                let all = self.configurations.all::<ValidatingWebhookConfiguration>("");
                let hooks = all.into_iter().flat_map(|it| it.webhooks.unwrap_or_default());
                hooks.map(|it| said!(it, false)).collect()
            };
            let hooks: Vec<Hook> = said.into_iter().filter_map(Hook::of).collect();
            *known = (revision, Arc::new(hooks));
        }
        known.1.clone()
    }

    /// What a webhook is to be shown, if it is to be asked.
    async fn wants(
        &self,
        hook: &Hook,
        write: &Admission<'_>,
        equivalents: &[&'static Kind],
        draft: Option<&Draft<'_>>,
        json: Option<&[u8]>,
    ) -> status::Result<Option<Shown>> {
        let Some(kind) = hook.selection.covers(write, equivalents, false) else { return Ok(None) };
        if !hook.selection.selects(&self.sight, write, draft).await? {
            return Ok(None);
        }
        let shown = Shown::of(&self.caller, write, kind, draft, json).await?;
        let conditions = match &hook.conditions {
            Ok(it) if it.is_empty() => return Ok(Some(shown)),
            Ok(it) => it,
            Err(why) => return Ok(self.failed_condition(hook, write, why)?.then_some(shown)),
        };
        let seen = Seen::of(&self.sight, write, shown).await?;
        let asking = Asking { policy: &self.policy, identity: write.identity };
        let met = conditions.met(&seen.bind(&asking, None));
        let asked = match met {
            Met::Yes => true,
            Met::No => false,
            Met::Failed(why) => self.failed_condition(hook, write, &why)?,
        };
        Ok(asked.then_some(seen.shown))
    }

    fn failed_condition(&self, hook: &Hook, write: &Admission<'_>, why: &str) -> status::Result<bool> {
        if hook.fails_open {
            tracing::warn!(webhook = hook.name, why, "the match conditions of a webhook failed; it is passed over");
            return Ok(false);
        }
        Err(forbidden(write, why))
    }

    /// Asks a webhook; none if it failed and may.
    async fn ask(&self, hook: &Hook, write: &Admission<'_>, shown: &Shown) -> status::Result<Option<Verdict>> {
        let uid = random::uid();
        let request = super::expressions::request(write, shown.kind);
        let body = Bytes::from(review::question(hook.version, &uid, &request, &shown.object, &shown.old));
        let called = async {
            let place = hook.place.as_ref().ok_or("the webhook has no address")?;
            let (ca, timeout_seconds) = (&hook.ca, hook.timeout_seconds);
            let call = Call { place, ca, timeout_seconds, answer_bytes_max: ANSWER_BYTES_MAX };
            self.caller.post(&call, body).await
        };
        let seconds = hook.timeout_seconds;
        let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(1));
        let answered = match tokio::time::timeout(limit, called).await {
            Ok(Ok(body)) => review::answer(&body, hook.version, &uid, self.mutates),
            Ok(Err(why)) => Err(format!("failed to call webhook: {why}")),
            Err(_) => {
                let at = hook.place.as_ref().map(|it| it.shown(seconds)).unwrap_or_default();
                Err(format!("failed to call webhook: Post {at:?}: context deadline exceeded"))
            }
        };
        match answered {
            Ok(verdict) => {
                verdict.warnings.iter().for_each(|it| write.notes.warn(it.as_str()));
                for (key, text) in &verdict.annotations {
                    write.notes.annotate(format!("{}/{key}", hook.name), text.as_str());
                }
                Ok(Some(verdict))
            }
            Err(why) if hook.fails_open => {
                tracing::warn!(webhook = hook.name, why, "a webhook could not be called; it is passed over");
                Ok(None)
            }
            Err(why) => Err(Status::internal(format!("failed calling webhook {:?}: {why}", hook.name))),
        }
    }
}

/// Both sorts.
pub fn plugins(sight: &Sight, policy: &Arc<Policy>, caller: &Arc<Caller>) -> [Arc<dyn Plugin>; 2] {
    let of = |mutates: bool| Webhooks::new(sight, policy, caller, mutates);
    [Arc::new(Mutating(of(true))), Arc::new(Validating(of(false)))]
}

fn judged(hook: &Hook, verdict: &Verdict) -> status::Result<()> {
    if verdict.allowed { Ok(()) } else { Err(verdict.refusal.status(&hook.name)) }
}

/// The webhooks that change objects.
pub struct Mutating(pub Webhooks);

#[async_trait]
impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        self.0.concerns(write)
    }

    fn sees_asides(&self) -> bool {
        true
    }

    async fn admit(&self, write: &Admission<'_>, mut draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let webhooks = &self.0;
        let equivalents = selection::equivalents(&webhooks.sight, write);
        for hook in webhooks.hooks().iter() {
            // In the second run only those are asked again who want it, and only if the object is not as they left it.
            let left = write.notes.left_by(&hook.name);
            if write.notes.runs_again() && left.is_some() && !hook.again {
                continue;
            }
            let Some(shown) = webhooks.wants(hook, write, &equivalents, draft.as_deref(), None).await? else {
                continue;
            };
            if left.is_some_and(|it| it == shown.object) {
                continue;
            }
            let Some(verdict) = webhooks.ask(hook, write, &shown).await? else { continue };
            judged(hook, &verdict)?;
            let mut after = shown.object;
            if let Some(patch) = &verdict.patch
                && !after.is_null()
            {
                let internal = |error: Status| Status::internal(error.message);
                let patched = patch::json::apply(&after, patch).map_err(internal)?;
                if patched != after {
                    write.notes.run_again();
                }
                match (write.aside, draft.as_deref_mut()) {
                    (Some(aside), draft) => {
                        if let (Some(write_back), Some(draft)) = (aside.write_back, draft) {
                            let whole = write_back(draft.value()?, write.kind, &patched).map_err(internal)?;
                            draft.replace(whole).map_err(internal)?;
                        }
                        aside.object.lock().clone_from(&patched);
                    }
                    (None, Some(draft)) if patched != after => {
                        let ours = convert::between(&webhooks.caller, shown.kind, write.kind, patched.clone()).await;
                        draft.replace(ours.map_err(internal)?).map_err(internal)?;
                    }
                    _ => {}
                }
                after = patched;
                // As it stands now, with its kind's defaults.
                let own_form = write.aside.is_none() && std::ptr::eq(shown.kind, write.kind);
                if let Some(draft) = draft.as_deref().filter(|_| own_form) {
                    after = draft.value()?;
                }
            }
            write.notes.leave(&hook.name, after);
        }
        Ok(())
    }
}

/// The webhooks that judge objects.
pub struct Validating(pub Webhooks);

#[async_trait]
impl Plugin for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        self.0.concerns(write)
    }

    fn sees_asides(&self) -> bool {
        true
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let webhooks = &self.0;
        let hooks = webhooks.hooks();
        let equivalents = selection::equivalents(&webhooks.sight, write);
        let mut wanted = Vec::new();
        for hook in hooks.iter() {
            if let Some(shown) = webhooks.wants(hook, write, &equivalents, subject.draft, subject.json).await? {
                wanted.push((hook, shown));
            }
        }
        let asked = wanted.iter().map(|(hook, shown)| webhooks.ask(hook, write, shown));
        let verdicts = futures::future::join_all(asked).await;
        for ((hook, _), verdict) in wanted.into_iter().zip(verdicts) {
            if let Some(verdict) = verdict? {
                judged(hook, &verdict)?;
            }
        }
        Ok(())
    }
}
