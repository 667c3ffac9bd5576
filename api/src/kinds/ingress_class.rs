//! `IngressClass`: who serves the ingresses that name it.

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE, NONE, str_of};
use crate::kinds::checks;
use crate::kinds::ingress;
use crate::name;
use crate::table::{Cell, Column};

const CONTROLLER_LIMIT_BYTES: usize = 250;

impl Strategy for IngressClass {
    const NAMES: Names = Names { plural: "ingressclasses", singular: "ingressclass", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const COLUMNS: &'static [Column] = &[
        cells::text("Controller", |it| cells::cell(&it["spec"]["controller"]))
            .doc("Controller that is responsible for handling this class"),
        cells::text("Parameters", parameters).doc("A reference to a resource with additional parameters"),
        AGE,
    ];

    fn default(&mut self) {
        if let Some(parameters) = self.spec.as_mut().and_then(|it| it.parameters.as_mut()) {
            parameters.scope.get_or_insert_with(|| "Cluster".into());
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = self.spec.clone().unwrap_or_default();
        let controller = spec.controller.unwrap_or_default();
        if let Some(old) = old {
            let before = old.spec.as_ref().and_then(|it| it.controller.clone()).unwrap_or_default();
            checks::immutable(&controller, &before, path.child("controller"), errors);
        }
        if controller.len() > CONTROLLER_LIMIT_BYTES {
            errors.too_long(path.child("controller"), CONTROLLER_LIMIT_BYTES);
        }
        checks::domain_prefixed_path(&controller, || path.child("controller"), errors);
        if let Some(parameters) = &spec.parameters {
            validate_parameters(parameters, &path.child("parameters"), errors);
        }
    }
}

fn validate_parameters(it: &IngressClassParametersReference, path: &Path, errors: &mut Errors) {
    let (api_group, kind, name) = (it.api_group.clone(), it.kind.clone(), it.name.clone());
    ingress::validate_reference(&TypedLocalObjectReference { api_group, kind, name }, path, errors);
    match (it.scope.as_deref(), &it.namespace) {
        (None, _) => errors.required(path.child("scope"), ""),
        (Some("Namespace"), None) => {
            errors.required(path.child("namespace"), "`parameters.scope` is set to 'Namespace'");
        }
        (Some("Namespace"), Some(namespace)) => {
            for complaint in name::dns1123_label(namespace) {
                errors.invalid(path.child("namespace"), namespace, complaint);
            }
        }
        (Some("Cluster"), Some(_)) => {
            errors.forbidden(path.child("namespace"), "`parameters.scope` is set to 'Cluster'");
        }
        (Some("Cluster"), None) => {}
        (Some(other), _) => errors.not_supported(path.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

/// `kind.group/name`.
fn parameters(it: &Value) -> Cell {
    let parameters = &it["spec"]["parameters"];
    if !parameters.is_object() {
        return Cell::Text(NONE.to_owned());
    }
    let group = parameters["apiGroup"].as_str().map(|it| format!(".{it}")).unwrap_or_default();
    Cell::Text(format!("{}{group}/{}", str_of(&parameters["kind"]), str_of(&parameters["name"])))
}
