//! Tokens that were made for service accounts in Secrets, unasked, long ago, and that nobody uses: marked as invalid first, deleted as much later.
//!
//! In: such Secrets, the days on which they were used (the API server labels them), the ConfigMap that says since when that is told, and service
//! accounts, whose `secrets` name what was made unasked. Out: the label, then the deletion. A Secret that a pod names stays; the server is asked
//! for that, as the store of pods does not keep it. Source: KEP-2799, `pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go`.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::json;

use crate::plan::{Plan, Step, Unused};
use crate::runtime::{Controller, Wires};
use crate::service_account_token::NAME;
use crate::view::*;
use crate::world::{SYSTEM, TOKEN_TRACKING, World};

const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// How long a token must not have been used (kube-controller-manager's `--legacy-service-account-token-clean-up-period`).
const PERIOD_DAYS: i32 = 365;
/// How often each is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The controller.
pub struct LegacyTokenCleaner;

impl Controller for LegacyTokenCleaner {
    fn name(&self) -> &'static str {
        "legacy-service-account-token-cleaner"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.tokens);
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(secret) = world.tokens.get(key) else { return plan };
        plan.recheck_in(LOOK_AGAIN);
        let today = now.to_zoned(TimeZone::UTC).date();
        let Ok(limit) = today.checked_sub(PERIOD_DAYS.days()) else { return plan };
        if let Some(action) = over(&secret, world, today, limit) {
            plan.steps.push(Step { unused: Some(Unused::Secret(key.clone())), ..Step::from(action) });
        }
        plan
    }
}

/// What to do about a token, but for pods that name it.
fn over(secret: &SecretView, world: &World, today: Date, limit: Date) -> Option<Action> {
    let meta = &secret.metadata;
    let date = |text: &str| text.parse::<Date>().ok().filter(|it| it.to_string() == text);
    let tracking = world.token_tracking.get(&Key::new(SYSTEM, TOKEN_TRACKING))?;
    let since = date(tracking.data.get("since")?)?;
    let created = meta.creation_timestamp.as_ref()?.0.to_zoned(TimeZone::UTC).date();
    if meta.deletion_timestamp.is_some() || since > limit || created >= limit {
        return None;
    }
    // What cannot be read says nothing.
    if let Some(used) = labels_of(meta).get(LAST_USED)
        && date(used).is_none_or(|it| it >= limit)
    {
        return None;
    }
    let account = world.service_accounts.get(&Key::new(namespace_of(meta), annotation(meta, NAME)?))?;
    if !account.secrets.iter().any(|it| it.name == name_of(meta)) {
        return None;
    }
    let (key, uid) = (key_of(meta), uid_of(meta).to_owned());
    match labels_of(meta).get(INVALID_SINCE).and_then(|it| date(it)) {
        None => Some(Action::Patch {
            resource: SECRETS,
            key,
            sub: None,
            uid,
            revision: meta.resource_version.clone(),
            patch: json!({ "metadata": { "labels": { INVALID_SINCE: today.to_string() } } }),
        }),
        Some(since) if since >= limit => None,
        Some(_) => Some(Action::Delete {
            resource: SECRETS,
            key,
            uid,
            revision: meta.resource_version.clone(),
            grace_seconds: None,
            propagation: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn plan(since: &str, created: &str, labels: Value, named: bool) -> String {
        let world = World::default();
        let tracking =
            json!({ "metadata": { "namespace": SYSTEM, "name": TOKEN_TRACKING }, "data": { "since": since } });
        world.token_tracking.apply(serde_json::from_value(tracking).unwrap());
        let secrets = if named { json!([{ "name": "old" }]) } else { json!([]) };
        let account = json!({ "metadata": { "namespace": "a", "name": "bot", "uid": "b" }, "secrets": secrets });
        world.service_accounts.apply(serde_json::from_value(account).unwrap());
        let metadata = json!({ "namespace": "a", "name": "old", "uid": "s", "resourceVersion": "5", "labels": labels,
            "creationTimestamp": format!("{created}T00:00:00Z"), "annotations": { NAME: "bot" } });
        world.tokens.apply(serde_json::from_value(json!({ "metadata": metadata })).unwrap());
        let now = "2026-06-30T12:00:00Z".parse().unwrap();
        LegacyTokenCleaner.decide(&Key::new("a", "old"), &world, now, None).to_string()
    }

    #[test]
    fn what_nobody_uses_is_marked_and_then_deleted() {
        let old = "2020-01-01";
        insta::assert_snapshot!(plan(old, old, json!({}), true), @r#"
        patch secrets a/old at 5 {"metadata":{"labels":{"kubernetes.io/legacy-token-invalid-since":"2026-06-30"}}}
          if no pod names a/old
        look again in 86400s
        "#);
        let marked = json!({ INVALID_SINCE: "2025-06-29", LAST_USED: "2024-01-01" });
        insta::assert_snapshot!(plan(old, old, marked, true), @r"
        delete secrets a/old uid=s at 5
          if no pod names a/old
        look again in 86400s
        ");
        for (since, created, labels, named) in [
            (old, old, json!({}), false),
            ("2025-06-30", old, json!({}), true),
            (old, "2025-06-30", json!({}), true),
            (old, old, json!({ LAST_USED: "2025-06-30" }), true),
            (old, old, json!({ LAST_USED: "lately" }), true),
            (old, old, json!({ INVALID_SINCE: "2025-06-30" }), true),
            ("lately", old, json!({}), true),
        ] {
            let text = plan(since, created, labels.clone(), named);
            // A day of tracking that is the limit itself is long enough.
            let acts = since == "2025-06-30";
            assert_eq!(text.starts_with("look again"), !acts, "{since} {created} {labels} {named}: {text}");
        }
    }
}
