//! `RuntimeClass`: a way in which a node may run a pod, by name.

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::api::node::v1::RuntimeClass;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::kinds::pod_spec::warnings;
use crate::kinds::pod_spec::{resources, scheduling};
use crate::meta;
use crate::name;
use crate::table::Column;

/// A toleration as Kubernetes' internal form has it.
fn shown(it: &Toleration) -> String {
    let of = |text: &Option<String>| serde_json::json!(text.as_deref().unwrap_or_default());
    let texts =
        [("Key", of(&it.key)), ("Operator", of(&it.operator)), ("Value", of(&it.value)), ("Effect", of(&it.effect))];
    let fields: String = texts.iter().map(|(field, text)| format!("{field:?}:{text},")).collect();
    format!("{{{fields}\"TolerationSeconds\":{}}}", serde_json::json!(it.toleration_seconds))
}

impl Strategy for RuntimeClass {
    const NAMES: Names = Names { plural: "runtimeclasses", singular: "runtimeclass", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const CREATE_ON_UPDATE: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[cells::text("Handler", |it| cells::cell(&it["handler"])), AGE];

    fn default(&mut self) {
        resources::canonicalize(self.overhead.as_mut().and_then(|it| it.pod_fixed.as_mut()));
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        for complaint in name::dns1123_label(&self.handler) {
            errors.invalid("handler", &self.handler, complaint);
        }
        if let Some(amounts) = self.overhead.as_ref().and_then(|it| it.pod_fixed.as_ref()) {
            resources::validate_overhead(amounts, &Path::new("overhead"), errors);
        }
        if let Some(scheduling) = &self.scheduling {
            let path = Path::new("scheduling");
            meta::validate_labels(scheduling.node_selector.as_ref(), &path.child("nodeSelector"), errors);
            let tolerations = scheduling.tolerations.as_deref().unwrap_or_default();
            scheduling::validate_tolerations(tolerations, &path.child("tolerations"), errors);
            // How long one tolerates does not tell two apart.
            let key = |it: &Toleration| Toleration { toleration_seconds: None, ..it.clone() };
            for (at, toleration) in tolerations.iter().enumerate() {
                if tolerations[..at].iter().any(|it| key(it) == key(toleration)) {
                    errors.duplicate_text(path.child("tolerations").index(at), shown(toleration), "");
                }
            }
        }
        if let Some(old) = old {
            checks::immutable(&self.handler, &old.handler, "handler", errors);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let labels = self.scheduling.as_ref().and_then(|it| it.node_selector.as_ref());
        let messages = labels.into_iter().flat_map(|it| it.keys()).filter_map(|it| warnings::deprecated(it));
        messages.map(|it| format!("scheduling.nodeSelector: {it}")).collect()
    }
}
