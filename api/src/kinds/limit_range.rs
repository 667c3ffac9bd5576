//! `LimitRange`: how much one pod, container or claim of a namespace may ask for, and what it gets if it asks for nothing.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy};
use crate::kinds::pod_spec::resources;
use crate::kinds::rbac;
use crate::name;
use crate::quantity::Quantity;
use crate::table::Column;

impl Strategy for LimitRange {
    const NAMES: Names = Names { plural: "limitranges", singular: "limitrange", short: &["limits"], categories: &[] };
    const CREATE_ON_UPDATE: bool = true;
    const COLUMNS: &'static [Column] = rbac::ROLE_COLUMNS;

    fn default(&mut self) {
        for item in self.spec.iter_mut().flat_map(|it| &mut it.limits) {
            let lists = [
                &mut item.min,
                &mut item.max,
                &mut item.default,
                &mut item.default_request,
                &mut item.max_limit_request_ratio,
            ];
            lists.into_iter().for_each(|it| resources::canonicalize(it.as_mut()));
            if item.type_ == "Container" {
                fill_in(item);
            }
        }
    }

    fn validate(&self, _part: Part, _old: Option<&Self>, errors: &mut Errors) {
        let path = Path::new("spec").child("limits");
        let mut types = BTreeSet::new();
        for (at, item) in self.spec.iter().flat_map(|it| &it.limits).enumerate() {
            let path = path.index(at);
            validate_type(&item.type_, &path, errors);
            if !types.insert(item.type_.as_str()) {
                errors.duplicate(path.child("type"), &item.type_);
            }
            validate_item(item, &path, errors);
        }
    }
}

/// A container that asks for nothing gets the most it may have, and asks for what it gets.
fn fill_in(item: &mut LimitRangeItem) {
    let defaults = item.default.get_or_insert_default();
    for (name, most) in item.max.iter().flatten() {
        defaults.entry(name.clone()).or_insert_with(|| most.clone());
    }
    let requests = item.default_request.get_or_insert_default();
    for (name, amount) in defaults.iter().chain(item.min.iter().flatten()) {
        requests.entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

fn validate_type(of: &str, path: &Path, errors: &mut Errors) {
    let complaints = name::qualified_name(of);
    let standard = matches!(of, "Pod" | "Container" | "PersistentVolumeClaim");
    if complaints.is_empty() && !of.contains('/') && !standard {
        errors.invalid(path.child("type"), of, "must be a standard limit type or fully qualified");
    }
    for complaint in complaints {
        errors.invalid(path.child("type"), of, complaint);
    }
}

fn validate_item(item: &LimitRangeItem, path: &Path, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    let has_storage = [&item.min, &item.max].iter().any(|it| it.as_ref().is_some_and(|it| it.contains_key("storage")));
    let fields = [
        ("max", &item.max),
        ("min", &item.min),
        ("default", &item.default),
        ("defaultRequest", &item.default_request),
        ("maxLimitRequestRatio", &item.max_limit_request_ratio),
    ];
    for (field, list) in fields {
        if field == "maxLimitRequestRatio" && item.type_ == "PersistentVolumeClaim" && !has_storage {
            let why = "either minimum or maximum storage value is required, but neither was provided";
            errors.required(path.child("limits"), why);
        }
        if item.type_ == "Pod" && field.starts_with("default") {
            if list.as_ref().is_some_and(|it| !it.is_empty()) {
                errors.forbidden(path.child(field), "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, text) in list.iter().flatten() {
            let at = || path.child(field).key(name);
            resources::validate_limit_name(&item.type_, name, at, errors);
            if let Err(error) = Quantity::of(text) {
                errors.invalid(at(), &text.0, error.to_string());
            }
            names.insert(name.as_str());
        }
    }
    for name in names {
        validate_amounts(item, name, path, errors);
    }
}

/// What the amounts for one resource must be to each other.
fn validate_amounts(item: &LimitRangeItem, name: &str, path: &Path, errors: &mut Errors) {
    let of = |list: &Option<std::collections::BTreeMap<String, _>>| {
        list.as_ref().and_then(|it| it.get(name)).and_then(|it| Quantity::of(it).ok())
    };
    let (min, max, ratio) = (of(&item.min), of(&item.max), of(&item.max_limit_request_ratio));
    // A pod's, which it may not have, are not looked at.
    let (default, request) = match &*item.type_ {
        "Pod" => (None, None),
        _ => (of(&item.default), of(&item.default_request)),
    };
    let mut wrong = |field: &str, shown: Quantity, why: String| {
        errors.invalid(path.child(field).key(name), shown.to_string(), why);
    };
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        wrong("min", min, format!("min value {min} is greater than max value {max}"));
    }
    if let (Some(request), Some(min)) = (request, min)
        && min > request
    {
        wrong("defaultRequest", request, format!("min value {min} is greater than default request value {request}"));
    }
    if let (Some(request), Some(max)) = (request, max)
        && request > max
    {
        wrong("defaultRequest", request, format!("default request value {request} is greater than max value {max}"));
    }
    if let (Some(request), Some(default)) = (request, default)
        && request > default
    {
        let why = format!("default request value {request} is greater than default limit value {default}");
        wrong("defaultRequest", request, why);
    }
    if let (Some(default), Some(min)) = (default, min)
        && min > default
    {
        wrong("default", min, format!("min value {min} is greater than default value {default}"));
    }
    if let (Some(default), Some(max)) = (default, max)
        && default > max
    {
        // Kubernetes shows the other value, here and above.
        wrong("default", max, format!("default value {default} is greater than max value {max}"));
    }
    if let Some(ratio) = ratio {
        if ratio < Quantity::from_units(1, ratio.format()) {
            wrong("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            // Kubernetes compares floating numbers here, too, and shows them.
            let limit = max.milli_value_ceil() as f64 / min.milli_value_ceil() as f64;
            if ratio.milli_value_ceil() as f64 / 1000.0 > limit {
                wrong("maxLimitRequestRatio", ratio, format!("ratio {ratio} is greater than max/min = {limit:.6}"));
            }
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && default != request
        && !resources::may_overcommit(name)
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        wrong("defaultRequest", request, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(item: Value, expected: Value, mistakes: &[&str]) {
        let mut it: LimitRange = serde_json::from_value(json!({"spec": {"limits": [item]}})).unwrap();
        Strategy::default(&mut it);
        assert_eq!(serde_json::to_value(&it).unwrap()["spec"]["limits"][0], expected);
        let mut errors = Errors::default();
        it.validate(Part::Main, None, &mut errors);
        let found: Vec<String> = errors.list().iter().map(ToString::to_string).collect();
        assert_eq!(found, mistakes);
    }

    #[test]
    fn containers_get_defaults_and_limits_must_agree() {
        check(
            json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Gi"}}),
            json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Gi"}, "default": {"cpu": "2"},
                "defaultRequest": {"cpu": "2", "memory": "1Gi"}}),
            &[],
        );
        let pod = json!({"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "default": {"cpu": "1"}});
        check(
            pod.clone(),
            pod,
            &[
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            ],
        );
        let much = json!({"type": "example.com/x", "max": {"cpu": "1"}, "default": {"cpu": "2"}});
        let why = "spec.limits[0].default[cpu]: Invalid value: \"1\": default value 2 is greater than max value 1";
        check(much.clone(), much, &[why]);
        let ratio = json!({"type": "PersistentVolumeClaim", "maxLimitRequestRatio": {"storage": "0"}});
        check(
            ratio.clone(),
            ratio,
            &[
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                "spec.limits[0].maxLimitRequestRatio[storage]: Invalid value: \"0\": ratio 0 is less than 1",
            ],
        );
        let nothing = json!({"type": ""});
        let why = "spec.limits[0].type: Invalid value: \"\": name part must be non-empty";
        let form = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        check(nothing.clone(), nothing, &[why, &format!("spec.limits[0].type: Invalid value: \"\": {form}")]);
        let claim = json!({"type": "PersistentVolumeClaim"});
        check(
            claim.clone(),
            claim,
            &[
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ],
        );
        let odd = json!({"type": "Thing", "min": {"weight": "1"}});
        check(
            odd.clone(),
            odd,
            &[
                "spec.limits[0].type: Invalid value: \"Thing\": must be a standard limit type or fully qualified",
                "spec.limits[0].min[weight]: Invalid value: \"weight\": must be a standard resource type or fully qualified",
            ],
        );
    }
}
