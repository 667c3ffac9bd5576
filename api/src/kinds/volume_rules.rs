//! What volumes and the claims to them share: how they may be accessed, and how that is shown.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation` and `.../v1/helper`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaimSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kinds::cells::{list, str_of};
use crate::kinds::checks;
use crate::name;
use crate::quantity::Quantity;
use crate::table::Cell;

/// The ways of access, each with its abbreviation, in the order in which they are shown.
const ACCESS_MODES: &[(&str, &str)] =
    &[("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
const ONE_POD: &str = "ReadWriteOncePod";
/// The annotation by which classes were named before there was a field for it.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// What is shown where nothing is said.
pub const UNSET: &str = "<unset>";
/// The resource that a volume has.
pub const STORAGE: &str = "storage";

/// A volume may be accessed in some way, and in ways that go together.
pub fn validate_modes_of_volume(modes: Option<&[String]>, path: &Path, errors: &mut Errors) {
    let modes = modes.unwrap_or_default();
    if modes.is_empty() {
        errors.required(path.child("accessModes"), "");
    }
    validate_access_modes(modes, &path.child("accessModes"), errors);
}

/// The ways of access must be known, and one pod's own goes with no other.
pub fn validate_access_modes(modes: &[String], path: &Path, errors: &mut Errors) {
    let mut known: Vec<&str> = ACCESS_MODES.iter().map(|(mode, _)| *mode).collect();
    known.sort_unstable();
    for mode in modes.iter().filter(|it| !known.contains(&it.as_str())) {
        errors.not_supported(path.clone(), mode, &known);
    }
    let of_one_pod = |it: &String| it == ONE_POD;
    if modes.iter().any(of_one_pod) && !modes.iter().all(of_one_pod) {
        errors.forbidden(path.clone(), "may not use ReadWriteOncePod with other access modes");
    }
}

/// The class and the mode of a volume or a claim.
pub fn validate_class_and_mode(class: Option<&str>, mode: Option<&str>, path: &Path, errors: &mut Errors) {
    checks::none_or_named(class, name::dns1123_subdomain, || path.child("storageClassName"), errors);
    checks::none_or_one_of(mode, &["Block", "Filesystem"], || path.child("volumeMode"), errors);
}

/// The warning about a class that is named as it was before there was a field for it.
pub fn warn_of_class(annotations: Option<&BTreeMap<String, String>>, warnings: &mut Vec<String>) {
    if annotations.is_some_and(|it| it.contains_key(CLASS_ANNOTATION)) {
        let path = Path::new("metadata").child("annotations").key(CLASS_ANNOTATION);
        warnings.push(format!("{path}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
}

/// The warnings about what a claim asks for.
pub fn warn_of_claim(spec: &PersistentVolumeClaimSpec, path: impl Fn() -> Path, warnings: &mut Vec<String>) {
    let Some(resources) = &spec.resources else { return };
    for (field, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        if let Some(text) = amounts.as_ref().and_then(|it| it.get(STORAGE)) {
            warn_of_fraction(text, || path().child("resources").child(field).key(STORAGE), warnings);
        }
    }
}

/// The warning about an amount of bytes that is not whole.
pub fn warn_of_fraction(text: &Text, path: impl FnOnce() -> Path, warnings: &mut Vec<String>) {
    if Quantity::of(text).is_ok_and(|it| it.milli_value_ceil() % 1000 != 0) {
        warnings.push(format!("{}: fractional byte value {:?} is invalid, must be an integer", path(), text.0));
    }
}

/// An amount must be one, and more than nothing.
pub fn validate_positive(text: &Text, path: impl Fn() -> Path, errors: &mut Errors) {
    match Quantity::of(text) {
        Ok(amount) if amount.is_zero() || amount.is_negative() => {
            errors.invalid(path(), amount.to_string(), "must be greater than zero");
        }
        Ok(_) => {}
        Err(error) => errors.invalid(path(), &text.0, error.to_string()),
    }
}

/// An amount must not be negative.
pub fn validate_basic(text: &Text, path: impl Fn() -> Path, errors: &mut Errors) {
    if let Ok(amount) = Quantity::of(text)
        && amount.is_negative()
    {
        errors.invalid(path(), &text.0, "must be a valid resource quantity");
    }
}

/// The storage of a list of resources.
pub fn storage(resources: Option<&BTreeMap<String, Text>>) -> Option<Quantity> {
    Quantity::of(resources?.get(STORAGE)?).ok()
}

/// `RWO,ROX`.
pub fn access_modes(modes: &Value) -> String {
    let has = |mode: &str| list(modes).iter().any(|it| it == mode);
    let shown: Vec<&str> = ACCESS_MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    shown.join(",")
}

/// The name of the storage class, which may stand in the older annotation.
pub fn class(it: &Value) -> Cell {
    let annotated = &it["metadata"]["annotations"][CLASS_ANNOTATION];
    let named = if annotated.is_string() { annotated } else { &it["spec"]["storageClassName"] };
    Cell::Text(str_of(named).to_owned())
}

/// A field of the specification, `<unset>` where it is not there.
pub fn or_unset(value: &Value) -> Cell {
    Cell::Text(value.as_str().unwrap_or(UNSET).to_owned())
}

/// The phase, or that it is being deleted.
pub fn phase(it: &Value) -> Cell {
    let deleting = it["metadata"]["deletionTimestamp"].is_string();
    Cell::Text(if deleting { "Terminating" } else { str_of(&it["status"]["phase"]) }.to_owned())
}

/// The storage in a list of resources as text, "0" where there is none.
pub fn size(resources: &Value) -> String {
    resources[STORAGE].as_str().unwrap_or("0").to_owned()
}
