//! `MutatingWebhookConfiguration`: who outside is asked about an object on its way into the store, and may change it.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;

use crate::field::Errors;
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE, list};
use crate::kinds::webhook_rules::{self as rules, Rule, Webhook};
use crate::table::{Cell, Column};

impl Strategy for MutatingWebhookConfiguration {
    const NAMES: Names = Names {
        plural: "mutatingwebhookconfigurations",
        singular: "mutatingwebhookconfiguration",
        short: &[],
        categories: &["api-extensions"],
    };
    const SCOPE: Scope = Scope::Cluster;
    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[
        cells::integer("Webhooks", |it| Cell::Number(list(&it["webhooks"]).len() as i64))
            .doc("Webhooks indicates the number of webhooks registered in this configuration"),
        AGE,
    ];

    fn default(&mut self) {
        for it in self.webhooks.iter_mut().flatten() {
            it.failure_policy.get_or_insert_with(|| "Fail".into());
            it.match_policy.get_or_insert_with(|| "Equivalent".into());
            it.namespace_selector.get_or_insert_default();
            it.object_selector.get_or_insert_default();
            it.timeout_seconds.get_or_insert(10);
            it.reinvocation_policy.get_or_insert_with(|| "Never".into());
            for rule in it.rules.iter_mut().flatten() {
                rule.scope.get_or_insert_with(|| "*".into());
            }
            if let Some(service) = &mut it.client_config.service {
                service.port.get_or_insert(443);
            }
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.webhooks != old.webhooks)
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        if old.is_some_and(|it| it.webhooks == self.webhooks) {
            return;
        }
        let webhooks: Vec<Webhook<'_>> = (self.webhooks.iter().flatten())
            .map(|it| Webhook {
                name: &it.name,
                rules: (it.rules.iter().flatten())
                    .map(|it| Rule {
                        operations: it.operations.as_deref().unwrap_or_default(),
                        groups: it.api_groups.as_deref().unwrap_or_default(),
                        versions: it.api_versions.as_deref().unwrap_or_default(),
                        resources: it.resources.as_deref().unwrap_or_default(),
                        scope: it.scope.as_deref(),
                    })
                    .collect(),
                client: &it.client_config,
                failure_policy: it.failure_policy.as_deref(),
                match_policy: it.match_policy.as_deref(),
                side_effects: &it.side_effects,
                timeout_seconds: it.timeout_seconds,
                reinvocation_policy: it.reinvocation_policy.as_deref(),
                versions: &it.admission_review_versions,
                namespace_selector: it.namespace_selector.as_ref(),
                object_selector: it.object_selector.as_ref(),
                conditions: it.match_conditions.as_deref().unwrap_or_default(),
            })
            .collect();
        rules::validate_webhooks(&webhooks, errors);
    }
}
