//! `LimitRanger`: pods and claims keep to the limits of their namespace, and containers that ask for nothing get its defaults.
//!
//! Source: `plugin/pkg/admission/limitranger`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use orlop_api::draft::Draft;
use orlop_api::quantity::Quantity;
use orlop_api::quota::{self, Amounts};
use orlop_api::status;

use super::lister::Lister;
use super::{Sight, forbidden, is};
use crate::stage::{Admission, Operation, Plugin, Subject};

/// Where a pod says what it was given.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// See the file's header.
pub struct LimitRanger {
    ranges: Lister,
}

impl LimitRanger {
    /// Looks limits up there.
    pub fn new(sight: &Sight) -> Self {
        LimitRanger { ranges: Lister::new(sight, "", "LimitRange") }
    }

    fn concerns(&self, write: &Admission<'_>) -> bool {
        let pod = is(write.kind, "", "Pod") && write.operation == Operation::Create;
        let claim = is(write.kind, "", "PersistentVolumeClaim") && write.operation != Operation::Delete;
        (pod || claim) && write.sub.is_none() && !self.ranges.is_empty()
    }

    fn items(&self, namespace: &str) -> Vec<Vec<LimitRangeItem>> {
        let ranges = self.ranges.all::<LimitRange>(namespace);
        ranges.into_iter().filter_map(|it| it.spec.map(|it| it.limits)).collect()
    }
}

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        self.concerns(write)
    }

    async fn admit(&self, write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(draft) = draft else { return Ok(()) };
        for items in self.items(write.namespace) {
            if let Some(pod) = draft.get_mut::<Pod>() {
                fill_in(pod, &items);
            }
        }
        Ok(())
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        self.concerns(write)
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let Some(draft) = subject.draft else { return Ok(()) };
        let going = draft.old_metadata().is_some_and(|it| it.deletion_timestamp.is_some());
        if going {
            return Ok(());
        }
        for items in self.items(write.namespace) {
            let mut errors = Vec::new();
            if let Some(pod) = draft.get::<Pod>() {
                judge_pod(pod, &items, &mut errors);
            } else if let Some(claim) = draft.get::<PersistentVolumeClaim>() {
                judge_claim(claim, &items, &mut errors);
            }
            match errors.len() {
                0 => {}
                1 => return Err(forbidden(write, &errors[0])),
                _ => return Err(forbidden(write, &format!("[{}]", errors.join(", ")))),
            }
        }
        Ok(())
    }
}

/// Gives containers the defaults of a range, and notes in the pod what they were given.
fn fill_in(pod: &mut Pod, items: &[LimitRangeItem]) {
    let (mut limits, mut requests) = (BTreeMap::new(), BTreeMap::new());
    for item in items.iter().filter(|it| it.type_ == "Container") {
        limits.extend(item.default.clone().unwrap_or_default());
        requests.extend(item.default_request.clone().unwrap_or_default());
    }
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let mut notes = Vec::new();
    let Some(spec) = pod.spec.as_mut() else { return };
    for (word, container) in (spec.containers.iter_mut().map(|it| ("container", it)))
        .chain(spec.init_containers.iter_mut().flatten().map(|it| ("init container", it)))
    {
        let resources = container.resources.get_or_insert_default();
        let set_limits = merge(&mut resources.limits, &limits);
        let set_requests = merge(&mut resources.requests, &requests);
        for (names, what) in [(set_requests, "request"), (set_limits, "limit")] {
            if !names.is_empty() {
                notes.push(format!("{} {what} for {word} {}", names.join(", "), container.name));
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.metadata.annotations.get_or_insert_default().insert(ANNOTATION.to_owned(), note);
    }
}

/// Adds what is missing, and says what was.
fn merge(into: &mut Option<BTreeMap<String, Text>>, defaults: &BTreeMap<String, Text>) -> Vec<String> {
    let given = into.get_or_insert_default();
    let missing: Vec<String> = defaults.keys().filter(|it| !given.contains_key(*it)).cloned().collect();
    for name in &missing {
        given.insert(name.clone(), defaults[name].clone());
    }
    if given.is_empty() {
        *into = None;
    }
    missing
}

fn judge_pod(pod: &Pod, items: &[LimitRangeItem], errors: &mut Vec<String>) {
    let Some(spec) = &pod.spec else { return };
    let containers: Vec<&Container> = spec.containers.iter().chain(spec.init_containers.iter().flatten()).collect();
    for item in items {
        match item.type_.as_str() {
            "Container" => {
                for container in &containers {
                    let (requests, limits) = quota::of_container(container);
                    judge(item, &requests, &limits, errors);
                }
            }
            "Pod" => {
                let (requests, limits) = quota::of_pod_spec(spec, false);
                judge(item, &requests, &limits, errors);
            }
            _ => {}
        }
    }
}

fn judge(item: &LimitRangeItem, requests: &Amounts, limits: &Amounts, errors: &mut Vec<String>) {
    let of = &item.type_;
    for (name, text) in item.min.iter().flatten() {
        let (Ok(least), request, limit) = (Quantity::of(text), requests.get(name), limits.get(name)) else { continue };
        let rule = format!("minimum {name} usage per {of} is {least}");
        match (request, limit) {
            (None, _) => errors.push(format!("{rule}.  No request is specified")),
            (Some(request), _) if *request < least => errors.push(format!("{rule}, but request is {request}")),
            (_, Some(limit)) if *limit < least => errors.push(format!("{rule}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, text) in item.max.iter().flatten() {
        let (Ok(most), request, limit) = (Quantity::of(text), requests.get(name), limits.get(name)) else { continue };
        let rule = format!("maximum {name} usage per {of} is {most}");
        match (request, limit) {
            (_, None) => errors.push(format!("{rule}.  No limit is specified")),
            (_, Some(limit)) if *limit > most => errors.push(format!("{rule}, but limit is {limit}")),
            (Some(request), _) if *request > most => errors.push(format!("{rule}, but request is {request}")),
            _ => {}
        }
    }
    for (name, text) in item.max_limit_request_ratio.iter().flatten() {
        let Ok(most) = Quantity::of(text) else { continue };
        let rule = format!("{name} max limit to request ratio per {of} is {most}");
        let some = |list: &Amounts| list.get(name).copied().filter(|it| !it.is_zero());
        match (some(requests), some(limits)) {
            (None, _) => errors.push(format!("{rule}, but no request is specified or request is 0")),
            (_, None) => errors.push(format!("{rule}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                // Amounts are far below 2^53 thousandths; Kubernetes compares floating numbers, too.
                let ratio = limit.milli_value_ceil() as f64 / request.milli_value_ceil() as f64;
                if ratio * 1000.0 > most.milli_value_ceil() as f64 {
                    errors.push(format!("{rule}, but provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

fn judge_claim(claim: &PersistentVolumeClaim, items: &[LimitRangeItem], errors: &mut Vec<String>) {
    let requests = claim.spec.as_ref().and_then(|it| it.resources.as_ref()).and_then(|it| it.requests.as_ref());
    let request = |name: &str| requests.and_then(|it| it.get(name)).and_then(|it| Quantity::of(it).ok());
    for item in items.iter().filter(|it| it.type_ == "PersistentVolumeClaim") {
        for (word, list) in [("minimum", &item.min), ("maximum", &item.max)] {
            for (name, text) in list.iter().flatten() {
                let Ok(bound) = Quantity::of(text) else { continue };
                let rule = format!("{word} {name} usage per PersistentVolumeClaim is {bound}");
                match request(name) {
                    None => errors.push(format!("{rule}.  No request is specified")),
                    Some(it) if word == "minimum" && it < bound || word == "maximum" && it > bound => {
                        errors.push(format!("{rule}, but request is {it}"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(limits: Value, resources: Value, filled: Value, note: Option<&str>, mistakes: &[&str]) {
        let items: Vec<LimitRangeItem> = serde_json::from_value(limits).unwrap();
        let container = json!({"name": "c", "resources": resources});
        let mut pod: Pod = serde_json::from_value(json!({"spec": {"containers": [container]}})).unwrap();
        fill_in(&mut pod, &items);
        let annotations = pod.metadata.annotations.clone().unwrap_or_default();
        assert_eq!(annotations.get(ANNOTATION).map(String::as_str), note);
        let resources = pod.spec.as_ref().unwrap().containers[0].resources.clone();
        assert_eq!(serde_json::to_value(resources).unwrap(), filled);
        let mut errors = Vec::new();
        judge_pod(&pod, &items, &mut errors);
        assert_eq!(errors, mistakes);
    }

    #[test]
    fn containers_get_defaults_and_keep_to_limits() {
        let defaults =
            json!([{"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "500m"}}]);
        check(
            defaults.clone(),
            json!({}),
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}),
            Some("LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c"),
            &[],
        );
        let given = json!({"limits": {"cpu": "2", "memory": "2Gi"}, "requests": {"cpu": "1"}});
        check(defaults, given.clone(), given.clone(), None, &[]);
        check(
            json!([{"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "3Gi"}, "maxLimitRequestRatio": {"cpu": "1"}}]),
            given.clone(),
            given.clone(),
            None,
            &[
                "minimum memory usage per Container is 3Gi.  No request is specified",
                "maximum cpu usage per Container is 1, but limit is 2",
                "cpu max limit to request ratio per Container is 1, but provided ratio is 2.000000",
            ],
        );
        check(
            json!([{"type": "Pod", "max": {"memory": "1Gi"}}]),
            given.clone(),
            given,
            None,
            &["maximum memory usage per Pod is 1Gi, but limit is 2Gi"],
        );
    }

    #[test]
    fn claims_keep_to_limits() {
        let items: Vec<LimitRangeItem> = serde_json::from_value(
            json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]),
        )
        .unwrap();
        for (size, expected) in [
            ("1Gi", None),
            ("3Gi", Some("maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi")),
            ("1Mi", Some("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi")),
        ] {
            let claim = json!({"spec": {"resources": {"requests": {"storage": size}}}});
            let mut errors = Vec::new();
            judge_claim(&serde_json::from_value(claim).unwrap(), &items, &mut errors);
            assert_eq!(errors.first().map(String::as_str), expected);
        }
    }
}
