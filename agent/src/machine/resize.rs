//! A pod whose containers are to have other resources than they have: whether the node can give them, and what is to be done.
//!
//! What a container has is what it was made or changed with last; an agent that was restarted knows it from what the API was told. Source: KEP-1287 and
//! `pkg/kubelet/allocation`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Serialize;

use super::containers::{Role, init_role};
use super::world::{PodWorld, View, app_containers, init_containers};
use crate::resources::{Amount, amount, pod_request};
use crate::runtime::Phase;

/// The Events of a change that is begun, and of one that is done.
const STARTED: &str = "ResizeStarted";
const COMPLETED: &str = "ResizeCompleted";
/// What may be changed under way.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// What the node has for all its pods, and what the others have of it. CPU in thousandths of a core, memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub capacity: Share,
    pub used_by_others: Share,
}

/// An amount of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
}

impl Share {
    /// What a pod asks for.
    pub fn of(pod: &Pod) -> Self {
        Share { cpu_milli: pod_request(pod, "cpu"), memory_bytes: pod_request(pod, "memory") }
    }

    fn get(&self, resource: &str) -> i64 {
        if resource == "cpu" { self.cpu_milli } else { self.memory_bytes }
    }
}

/// How far a change is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resize {
    /// There is none.
    #[default]
    None,
    /// The node cannot give it, now or ever: the reason and the message.
    Pending { reason: &'static str, message: String },
    /// These running containers are to be changed; those with a mark are to be started anew for it.
    InProgress { containers: Vec<(String, bool)> },
}

/// Decides on the change that a pod asks for.
pub fn decide(pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>) -> Resize {
    let changed = changed(pod, seen, view);
    if changed.is_empty() {
        return Resize::None;
    }
    let wanted = Share::of(pod);
    for it in RESOURCES {
        let (wanted, capacity) = (wanted.get(it), seen.room.capacity.get(it));
        if wanted > capacity {
            let message = format!("Node didn't have enough capacity: {it}, requested: {wanted}, capacity: {capacity}");
            return Resize::Pending { reason: "Infeasible", message };
        }
    }
    for it in RESOURCES {
        let (wanted, capacity, used) = (wanted.get(it), seen.room.capacity.get(it), seen.room.used_by_others.get(it));
        if wanted > 0 && wanted.saturating_add(used) > capacity {
            let message = format!(
                "Node didn't have enough resource: {it}, requested: {wanted}, used: {used}, capacity: {capacity}"
            );
            return Resize::Pending { reason: "Deferred", message };
        }
    }
    // What does not run gets what it should have when it is made.
    let runs =
        |it: &&&Container| view.life(&it.name).latest.is_some_and(|it| matches!(it.phase, Phase::Running { .. }));
    let containers: Vec<_> =
        changed.iter().filter(runs).map(|it| (it.name.clone(), restarts(it, &with(it, seen, view)))).collect();
    if containers.is_empty() { Resize::None } else { Resize::InProgress { containers } }
}

/// The containers that do not have what they ask for.
fn changed<'a>(pod: &'a Pod, seen: &PodWorld<'_>, view: &View<'_>) -> Vec<&'a Container> {
    let sidecars = init_containers(pod).iter().filter(|it| init_role(it) == Role::Sidecar);
    app_containers(pod).iter().chain(sidecars).filter(|it| amounts(it) != amounts(&with(it, seen, view))).collect()
}

/// What a user is to be told of a change now, each once: an Event's key, whether it warns, its reason and its message.
pub fn tidings(
    pod: &Pod,
    seen: &PodWorld<'_>,
    view: &View<'_>,
    resize: &Resize,
) -> Vec<(String, bool, &'static str, String)> {
    let generation = pod.metadata.generation.unwrap_or_default();
    let said = |kind: &str| {
        let all = pod.status.as_ref().and_then(|it| it.conditions.as_deref()).unwrap_or_default();
        all.iter().find(|it| it.type_ == kind)
    };
    let key = |reason: &str, why: &str| format!("resize/{generation}/{reason}/{why}");
    let begun = seen.memory.announced.contains(&key(STARTED, ""));
    // What the API was told already, perhaps by the agent before this one.
    let known = |kind: &str, why: &str| {
        said(kind).is_some_and(|it| {
            it.observed_generation == Some(generation) && it.message.as_deref().unwrap_or_default() == why
        })
    };
    let mut all = Vec::new();
    match resize {
        Resize::None if !changed(pod, seen, view).is_empty() => {}
        Resize::None if begun || said("PodResizeInProgress").is_some() => {
            all.push((key(COMPLETED, ""), false, COMPLETED, summary("completed", pod, "")));
        }
        Resize::None => {}
        Resize::Pending { reason, message } => {
            let event = if *reason == "Infeasible" { "ResizeInfeasible" } else { "ResizeDeferred" };
            if !known("PodResizePending", message) {
                all.push((key(event, message), true, event, summary(reason, pod, message)));
            }
        }
        Resize::InProgress { .. } => {
            let of_before = said("PodResizeInProgress").is_some_and(|it| it.observed_generation == Some(generation));
            if !of_before {
                all.push((key(STARTED, ""), false, STARTED, summary("started", pod, "")));
            }
            if let Some(failure) = &seen.memory.resize_failure
                && !known("PodResizeInProgress", &failure.message)
            {
                let message = summary("error", pod, &failure.message);
                all.push((key("ResizeError", &failure.message), true, "ResizeError", message));
            }
        }
    }
    all
}

/// The kubelet's message about a change: what it is at, and as JSON what the containers ask for.
fn summary(at: &str, pod: &Pod, error: &str) -> String {
    let of = |all: &[Container]| -> Vec<Asks> {
        let asks = |it: &Container| Asks { name: it.name.clone(), resources: it.resources.clone().unwrap_or_default() };
        all.iter().map(asks).collect()
    };
    let summary = Summary {
        init_containers: of(init_containers(pod)),
        containers: of(app_containers(pod)),
        generation: pod.metadata.generation.unwrap_or_default(),
        error: error.to_owned(),
    };
    match serde_json::to_string(&summary) {
        Ok(it) => format!("Pod resize {at}: {it}"),
        Err(_) => format!("Pod resize {at}"),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Asks>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Asks>,
    generation: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

#[derive(Serialize)]
struct Asks {
    name: String,
    resources: ResourceRequirements,
}

/// The pod as the node has taken it: as it asks, unless a change is pending.
pub fn allotted(pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>, resize: &Resize) -> Pod {
    match resize {
        Resize::Pending { .. } => current(pod, seen, view),
        Resize::None | Resize::InProgress { .. } => pod.clone(),
    }
}

/// A pod as it counts against what its node has: as the API was told that it has been given, or as it asks before. What it asks for since was not
/// decided on, or there is too little for it.
pub fn counted(pod: Arc<Pod>) -> Arc<Pod> {
    let Some(status) = &pod.status else { return pod };
    let told = [&status.container_statuses, &status.init_container_statuses].into_iter().flatten().flatten();
    if !told.into_iter().any(|it| it.allocated_resources.is_some()) {
        return pod;
    }
    let mut counted = Pod::clone(&pod);
    for it in
        counted.spec.iter_mut().flat_map(|it| it.containers.iter_mut().chain(it.init_containers.iter_mut().flatten()))
    {
        let mut told = [&status.container_statuses, &status.init_container_statuses].into_iter().flatten().flatten();
        if let Some(given) = told.find(|told| told.name == it.name).and_then(|it| it.allocated_resources.clone()) {
            it.resources.get_or_insert_default().requests = Some(given);
        }
    }
    Arc::new(counted)
}

/// The pod with the resources that its containers have now.
pub fn current(pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>) -> Pod {
    let mut pod = pod.clone();
    if let Some(spec) = &mut pod.spec {
        let all = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
        all.for_each(|it| it.resources = with(it, seen, view).resources);
    }
    pod
}

/// A container with the resources that it has now: those it was given last, or else those that the API was told of; before it was ever made those it asks for.
pub fn with(container: &Container, seen: &PodWorld<'_>, view: &View<'_>) -> Container {
    let told = || {
        let reported = view.life(&container.name).reported?;
        reported.container_id.as_ref().filter(|it| !it.is_empty())?;
        reported.resources.clone()
    };
    let has = seen.memory.allotted.get(&container.name).cloned().or_else(told);
    let Some(has) = has else { return container.clone() };
    let asked = container.resources.clone().unwrap_or_default();
    let list = |asked: &Option<BTreeMap<String, Quantity>>, has: &Option<BTreeMap<String, Quantity>>| {
        let mut list = asked.clone().unwrap_or_default();
        for name in RESOURCES {
            match has.as_ref().and_then(|it| it.get(name)) {
                Some(it) => drop(list.insert(name.to_owned(), it.clone())),
                None => drop(list.remove(name)),
            }
        }
        Some(list).filter(|it| !it.is_empty())
    };
    let resources = ResourceRequirements {
        limits: list(&asked.limits, &has.limits),
        requests: list(&asked.requests, &has.requests),
        claims: asked.claims,
    };
    Container { resources: Some(resources), ..container.clone() }
}

/// What is compared: request and limit of each resource, in thousandths.
fn amounts(container: &Container) -> [[Option<i64>; 2]; 2] {
    RESOURCES.map(|resource| {
        [Amount::Request, Amount::Limit].map(|which| amount(container, which, resource).map(|it| it.milli_value_ceil()))
    })
}

/// Whether a container has to be started anew for one of its changes.
fn restarts(wanted: &Container, has: &Container) -> bool {
    let (wants, has) = (amounts(wanted), amounts(has));
    let policies = wanted.resize_policy.as_deref().unwrap_or_default();
    let anew = |resource: &str| {
        policies.iter().any(|it| it.resource_name == resource && it.restart_policy == "RestartContainer")
    };
    RESOURCES.iter().zip(wants.iter().zip(&has)).any(|(resource, (a, b))| a != b && anew(resource))
}

#[cfg(test)]
mod tests {
    use super::super::model::Model;
    use super::*;
    use serde_json::json;

    fn model(policy: &str) -> Model {
        let mut model = Model::new(json!({"containers": [{
            "name": "a", "image": "x", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m"}},
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": policy}]
        }]}));
        model.room.capacity = Share { cpu_milli: 2000, memory_bytes: 1 << 30 };
        model.room.used_by_others = Share { cpu_milli: 1000, memory_bytes: 0 };
        model.settle();
        model.log.clear();
        model
    }

    fn ask(model: &mut Model, cpu: &str) {
        let pod = model.pod.as_mut().unwrap();
        let all = json!({"requests": {"cpu": cpu, "memory": "64Mi"}, "limits": {"cpu": cpu}});
        pod.spec.as_mut().unwrap().containers[0].resources = serde_json::from_value(all).unwrap();
        pod.metadata.generation = Some(2);
    }

    /// What the status says: the request that is allotted, the limit that is there, and the condition with its reason.
    fn told(model: &Model) -> (String, String, Option<(String, Option<String>)>) {
        let status = model.plan().status.unwrap();
        let own = &status.container_statuses.unwrap()[0];
        let allotted = own.allocated_resources.as_ref().unwrap()["cpu"].0.clone();
        let there = own.resources.as_ref().unwrap().limits.as_ref().unwrap()["cpu"].0.clone();
        let mut conditions = status.conditions.unwrap().into_iter().filter(|it| it.type_.starts_with("PodResize"));
        (allotted, there, conditions.next().map(|it| (it.type_, it.reason)))
    }

    #[test]
    fn what_there_is_room_for_is_given_at_once() {
        let mut model = model("NotRequired");
        assert_eq!(told(&model), ("100m".into(), "200m".into(), None));
        ask(&mut model, "500m");
        let in_progress = Some(("PodResizeInProgress".to_owned(), None));
        assert_eq!(told(&model), ("500m".into(), "200m".into(), in_progress));
        model.settle();
        let asks = r#"{"containers":[{"name":"a","resources":{"limits":{"cpu":"500m"},"requests":{"cpu":"500m","memory":"64Mi"}}}],"generation":2}"#;
        let expected = [
            format!("announce ResizeStarted: Pod resize started: {asks}"),
            "change the resources of a (a-0)".to_owned(),
            format!("announce ResizeCompleted: Pod resize completed: {asks}"),
        ];
        assert_eq!(model.log, expected);
        assert_eq!(told(&model), ("500m".into(), "500m".into(), None));
        // Nothing is done again, also not by an agent that has to be told.
        model.restart_agent();
        model.log.clear();
        model.settle();
        assert!(!model.log.iter().any(|it| it.contains("resources")), "{:?}", model.log);
    }

    #[test]
    fn what_there_is_no_room_for_waits_or_is_never_given() {
        let mut model = model("NotRequired");
        for (cpu, expected) in [("1500m", "Deferred"), ("3", "Infeasible")] {
            ask(&mut model, cpu);
            model.log.clear();
            model.settle();
            let event = format!("announce Resize{expected}: Pod resize {expected}: {{");
            assert!(model.log.len() == 1 && model.log[0].starts_with(&event), "{:?}", model.log);
            assert!(model.log[0].contains(r#""error":"Node didn't have enough"#), "{:?}", model.log);
            // Said once, also by an agent that has forgotten that it did.
            model.restart_agent();
            model.log.clear();
            model.settle();
            assert!(!model.log.iter().any(|it| it.contains("Resize")), "{:?}", model.log);
            let (allotted, there, condition) = told(&model);
            assert_eq!((allotted.as_str(), there.as_str()), ("100m", "200m"));
            assert_eq!(condition, Some(("PodResizePending".to_owned(), Some(expected.to_owned()))));
            let pod = Arc::new(model.pod.clone().unwrap());
            assert_eq!(Share::of(&counted(Arc::clone(&pod))).cpu_milli, 100, "others are not kept away");
            assert!(Share::of(&pod).cpu_milli > 1000);
        }
        // What is made anew meanwhile has what it had, whoever forgot what.
        model.exit("a", 1);
        model.restart_agent();
        model.settle();
        assert_eq!(told(&model).1, "200m");
        ask(&mut model, "1500m");
        model.room.used_by_others.cpu_milli = 0;
        model.settle();
        assert_eq!(told(&model), ("1500m".into(), "1500m".into(), None));
    }

    #[test]
    fn what_cannot_be_set_is_told_and_tried_again() {
        let mut model = model("NotRequired");
        ask(&mut model, "500m");
        model.memory.resize_failure =
            Some(crate::machine::Failure::after(None, "Error", "no cgroup".into(), model.now));
        let plan = model.plan().to_string();
        assert!(plan.contains(r#"announce ResizeError: Pod resize error: {"#), "{plan}");
        assert!(plan.contains(r#""generation":2,"error":"no cgroup"}"#), "{plan}");
        assert!(!plan.contains("change the resources"), "it waits: {plan}");
        let condition = told(&model).2;
        assert_eq!(condition, Some(("PodResizeInProgress".to_owned(), Some("Error".to_owned()))));
    }

    #[test]
    fn some_are_started_anew() {
        let mut model = model("RestartContainer");
        ask(&mut model, "500m");
        model.settle();
        assert!(model.log[0].starts_with("announce ResizeStarted"), "{:?}", model.log);
        assert_eq!(model.log[1], "stop container a (a-0) within 30s: Container a resize requires restart");
        let place = |what: &str| model.log.iter().position(|it| it.starts_with(what)).unwrap();
        assert!(place("announce ResizeCompleted") > place("run container a"), "{:?}", model.log);
        assert_eq!(told(&model), ("500m".into(), "500m".into(), None));
        assert_eq!(model.made, 2);
    }
}
