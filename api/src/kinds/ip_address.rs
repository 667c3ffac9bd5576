//! `IPAddress`: that a service's address is taken, and by whom. Its name is the address.

use k8s_openapi::api::networking::v1::{IPAddress, ParentReference};
use serde_json::{Value, json};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, NONE, str_of};
use crate::kinds::checks;
use crate::name::{self, NameRule};
use crate::table::{Cell, Column};

impl Strategy for IPAddress {
    const NAMES: Names = Names { plural: "ipaddresses", singular: "ipaddress", short: &["ip"], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const NAME_RULE: NameRule = NameRule::Address;
    const COLUMNS: &'static [Column] = &[cells::text("ParentRef", parent).doc(".spec.parentRef")];

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let path = Path::new("spec").child("parentRef");
        match self.spec.as_ref().map(|it| &it.parent_ref) {
            // A reference that is not there is read as one that says nothing.
            Some(parent) if *parent != ParentReference::default() => validate_parent(parent, &path, errors),
            _ => errors.required(path.clone(), ""),
        }
        let of = |it: &Self| it.spec.as_ref().map(|it| it.parent_ref.clone()).unwrap_or_default();
        if let Some(old) = old
            && of(self) != of(old)
        {
            errors.invalid_text(path, shown(&of(self)), "field is immutable");
        }
    }
}

/// A parent as Kubernetes shows it: its internal form, or a word in quotes where there is none.
fn shown(it: &ParentReference) -> String {
    if *it == ParentReference::default() {
        return "\"null\"".to_owned();
    }
    let text = |it: Option<&String>| json!(it.map_or("", String::as_str));
    let (group, namespace) = (text(it.group.as_ref()), text(it.namespace.as_ref()));
    let (resource, name) = (json!(it.resource), json!(it.name));
    format!("{{\"Group\":{group},\"Resource\":{resource},\"Namespace\":{namespace},\"Name\":{name}}}")
}

fn validate_parent(it: &ParentReference, path: &Path, errors: &mut Errors) {
    checks::none_or_named(it.group.as_deref(), name::dns1123_subdomain, || path.child("group"), errors);
    let segment = |text: &str| name::path_segment(text, false);
    checks::named(&it.resource, segment, || path.child("resource"), errors);
    checks::named(&it.name, segment, || path.child("name"), errors);
    checks::none_or_named(it.namespace.as_deref(), segment, || path.child("namespace"), errors);
}

/// `services/default/web`.
fn parent(it: &Value) -> Cell {
    let parent = &it["spec"]["parentRef"];
    if !parent.is_object() {
        return Cell::Text(NONE.to_owned());
    }
    let (group, resource) = (str_of(&parent["group"]), str_of(&parent["resource"]));
    let mut text = crate::status::qualified(group, resource).to_lowercase();
    let namespace = str_of(&parent["namespace"]);
    if !namespace.is_empty() {
        text.push('/');
        text.push_str(namespace);
    }
    Cell::Text(format!("{text}/{}", str_of(&parent["name"])))
}
