//! `ResourceQuota`: what a new object uses is charged to the quotas of its namespace before it is stored, or it is refused.
//!
//! The charge is a compare and set on the quota's status in the store, one after the other within this server: of many that come at once
//! exactly as many get in as there is room for. Last of all plugins, so that only what nobody else refuses is charged. What is used less
//! is counted by [`crate::quota`]. Source: `k8s.io/apiserver/pkg/admission/plugin/resourcequota`.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota as Quota, Service};
use orlop_api::draft::Draft;
use orlop_api::kind::Kind;
use orlop_api::quota::{self, Amounts};
use orlop_api::status::{self, Status};
use orlop_client::clock;
use orlop_store::{Commit, Expect, Revision, StoreError};

use super::lister::Lister;
use super::{Sight, forbidden};
use crate::core::unavailable;
use crate::quota::Ledger;
use crate::registry;
use crate::stage::{Admission, Operation, Plugin, Subject};

/// How often a charge begins anew when another server or a count was faster.
const RETRIES_MAX: usize = 20;

/// See the file's header.
pub struct ResourceQuota {
    sight: Sight,
    quotas: Lister,
    kind: Option<&'static Kind>,
    ledger: Arc<Ledger>,
}

impl ResourceQuota {
    /// Charges quotas there.
    pub fn new(sight: &Sight, ledger: &Arc<Ledger>) -> Self {
        ResourceQuota {
            sight: sight.clone(),
            quotas: Lister::new(sight, "", "ResourceQuota"),
            kind: registry::named("", "ResourceQuota"),
            ledger: ledger.clone(),
        }
    }

    /// Charges one quota; the charge is anew for its state as it is found in the store.
    async fn charge(
        &self,
        write: &Admission<'_>,
        draft: &Draft<'_>,
        uses: &Amounts,
        name: &str,
    ) -> status::Result<bool> {
        let Some(kind) = self.kind else { return Ok(false) };
        let key: Arc<str> = kind.key(write.namespace, name).into();
        for _ in 0..RETRIES_MAX {
            let (entry, _) = self.sight.store.get(&key).await.map_err(unavailable)?;
            let Some(entry) = entry else { return Ok(false) };
            let mut quota: Quota = serde_json::from_slice(&entry.value).map_err(Status::internal)?;
            let Some(used) = judge(&quota, draft, uses).map_err(|why| forbidden(write, &why))? else {
                return Ok(false);
            };
            if write.dry_run {
                return Ok(false);
            }
            quota.status.get_or_insert_default().used = Some(quota::write(&used));
            let value = Some(serde_json::to_vec(&quota).map_err(Status::internal)?.into());
            let expect = Expect::At(Revision(entry.modified.0));
            match self.sight.store.commit(Commit { key: key.clone(), expect, value }).await {
                Ok(_) => return Ok(true),
                Err(StoreError::Mismatch { .. }) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(Status::modified("", "resourcequotas", name))
    }
}

/// What an object uses, and what it used before: only certain kinds are charged when they change.
fn uses(draft: &Draft<'_>, write: &Admission<'_>) -> Amounts {
    let now = clock::now().as_second();
    let (kind, creates) = (write.kind, write.operation == Operation::Create);
    if let Some(pod) = draft.get::<Pod>() {
        return if creates { quota::of_pod(pod, now) } else { Amounts::new() };
    }
    if let Some(service) = draft.get::<Service>() {
        let before = draft.old::<Service>().map(quota::of_service).unwrap_or_default();
        return quota::risen(&quota::of_service(service), &before);
    }
    if let Some(claim) = draft.get::<PersistentVolumeClaim>() {
        let before = draft.old::<PersistentVolumeClaim>().map(quota::of_claim).unwrap_or_default();
        return quota::risen(&quota::of_claim(claim), &before);
    }
    if creates { quota::of_any(kind.group, kind.names.plural) } else { Amounts::new() }
}

/// What a quota's use would be with these uses; none if it has nothing to do with them.
///
/// # Errors
/// Why they may not be, in Kubernetes' words.
fn judge(it: &Quota, draft: &Draft<'_>, uses: &Amounts) -> Result<Option<Amounts>, String> {
    let (Some(spec), Some(status)) = (&it.spec, &it.status) else { return Ok(None) };
    let counts = match draft.get::<Pod>() {
        Some(pod) => quota::counts_pod(spec, pod),
        None => quota::counts_other(spec, draft.get::<PersistentVolumeClaim>()),
    };
    if !counts {
        return Ok(None);
    }
    let name = it.metadata.name.as_deref().unwrap_or_default();
    let hard = quota::read(status.hard.as_ref());
    let mut used = quota::read(status.used.as_ref());
    let kind = draft.kind();
    let limited: Vec<&str> =
        hard.keys().map(String::as_str).filter(|it| quota::may_use(kind.group, kind.names.plural, it)).collect();
    if limited.is_empty() {
        return Ok(None);
    }
    if let Some(pod) = draft.get::<Pod>()
        && let Some(unstated) = quota::unstated(pod, limited.iter().copied())
    {
        return Err(format!("failed quota: {name}: must specify {unstated}"));
    }
    if limited.iter().any(|it| !used.contains_key(*it)) {
        return Err(format!("status unknown for quota: {name}, resources: {}", limited.join(",")));
    }
    let requested: Amounts =
        uses.iter().filter(|(name, _)| hard.contains_key(*name)).map(|(name, it)| (name.clone(), *it)).collect();
    if requested.is_empty() {
        return Ok(None);
    }
    let before = used.clone();
    quota::add(&mut used, &requested);
    let over: Vec<&String> = requested.keys().filter(|it| used.get(*it) > hard.get(*it)).collect();
    if over.is_empty() {
        return Ok(Some(used));
    }
    let of = |amounts: &Amounts| -> String {
        let mask = over.iter().filter_map(|it| Some(((*it).clone(), *amounts.get(*it)?)));
        quota::shown(&mask.collect())
    };
    Err(format!("exceeded quota: {name}, requested: {}, used: {}, limited: {}", of(&requested), of(&before), of(&hard)))
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        write.operation != Operation::Delete
            && write.sub.is_none()
            && !write.namespace.is_empty()
            && self.ledger.has_quotas(write.namespace)
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let Some(draft) = subject.draft else { return Ok(()) };
        let uses = uses(draft, write);
        if uses.is_empty() {
            return Ok(());
        }
        let gate = self.ledger.gate(write.namespace);
        let turn = self.ledger.turn(&gate, write.namespace).await;
        // All are asked before one is charged, so that a refusal charges none.
        let mut charged = Vec::new();
        for quota in self.quotas.all::<Quota>(write.namespace) {
            if judge(&quota, draft, &uses).is_err() {
                // The cache may be behind: what stands in the store decides, before anything is charged.
                self.charge(&dry(write), draft, &uses, quota.metadata.name.as_deref().unwrap_or_default()).await?;
            }
            charged.push(quota.metadata.name.unwrap_or_default());
        }
        let mut any = None;
        for name in &charged {
            if self.charge(write, draft, &uses, name).await? && any.is_none() {
                any = Some(turn.charge());
            }
        }
        if let Some(charge) = any {
            write.notes.hold(charge);
        }
        Ok(())
    }
}

/// The same write, only tried.
fn dry<'a>(write: &Admission<'a>) -> Admission<'a> {
    Admission { dry_run: true, notes: Default::default(), ..*write }
}
