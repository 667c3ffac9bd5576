//! What the machine plans, told as text: from a bound pod to its end.

use std::time::Duration;

use serde_json::json;

use super::model::Model;
use super::world::{Evicted, ProbeResults, Rejection};
use super::{Memory, PodWorld};

const SECOND: Duration = Duration::from_secs(1);

/// Settles the model and compares what was done since the last time, and the plan that is left, with `expected`.
fn check(model: &mut Model, expected: &str) {
    let rest = model.settle();
    let mut told: Vec<_> = model.log.drain(..).map(|it| format!("- {it}")).collect();
    told.extend(rest.to_string().lines().filter(|it| !it.starts_with('@')).map(str::to_owned));
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    assert_eq!(told, expected, "\n{}", told.join("\n"));
}

const UP: &str = "+PodReadyToStartContainers +Initialized +Ready +ContainersReady +PodScheduled";

#[test]
fn a_pod_comes_up_and_goes() {
    let mut model =
        Model::new(json!({"containers": [{"name": "a", "image": "x"}], "terminationGracePeriodSeconds": 5}));
    let expected = format!(
        "- get the image of a, attempt 0
         - mount volumes
         - run sandbox, attempt 0
         - attach s0 to the network
         - run container a in s0, attempt 0
         = Running a=running ready restarts=0 {UP}"
    );
    check(&mut model, &expected);
    model.restart_agent();
    let expected = format!(
        "- mount volumes
         - attach s0 to the network
         = Running a=running ready restarts=0 {UP}"
    );
    check(&mut model, &expected);
    model.delete(5);
    check(
        &mut model,
        "- stop container a (a-0) within 5s: Stopping container a
         - detach from the network
         - remove container a-0
         - remove sandbox s0
         - remove volumes
         - delete the pod
         - detach from the network
         - remove volumes",
    );
}

#[test]
fn a_crashing_container_backs_off() {
    let mut model = Model::new(json!({"containers": [{"name": "a", "image": "x"}]}));
    model.settle();
    model.log.clear();
    model.exit("a", 1);
    let expected = format!(
        "- get the image of a, attempt 1
         - run container a in s0, attempt 1, next back-off 10s
         = Running a=running ready restarts=1 {UP}"
    );
    check(&mut model, &expected);
    model.exit("a", 1);
    let down = "+PodReadyToStartContainers +Initialized +PodScheduled";
    let expected = format!(
        "- announce BackOff: Back-off restarting failed container a in pod p_n(u)
         = Running a=CrashLoopBackOff restarts=1 {down}"
    );
    check(&mut model, &expected);
    let status = model.plan().status.unwrap().container_statuses.unwrap().remove(0);
    let message = status.state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(message, "back-off 10s restarting failed container=a pod=p_n(u)");
    assert_eq!(status.last_state.unwrap().terminated.unwrap().exit_code, 1);
    model.pass(10 * SECOND);
    let expected = format!(
        "- get the image of a, attempt 2
         - run container a in s0, attempt 2, next back-off 20s
         - remove container a-0
         = Running a=running ready restarts=2 {UP}"
    );
    check(&mut model, &expected);
}

#[test]
fn init_containers_run_one_after_another() {
    let mut model = Model::new(json!({
        "initContainers": [{"name": "i", "image": "x"}, {"name": "j", "image": "x"}],
        "containers": [{"name": "a", "image": "x"}], "restartPolicy": "Never"
    }));
    let pending = "+PodReadyToStartContainers +PodScheduled";
    let expected = format!(
        "- get the image of i, attempt 0
         - mount volumes
         - run sandbox, attempt 0
         - attach s0 to the network
         - run container i in s0, attempt 0
         = Pending i=running restarts=0 j=PodInitializing restarts=0 a=PodInitializing restarts=0 {pending}"
    );
    check(&mut model, &expected);
    model.exit("i", 0);
    let expected = format!(
        "- get the image of j, attempt 0
         - run container j in s0, attempt 0
         = Pending i=Completed 0 ready restarts=0 j=running restarts=0 a=PodInitializing restarts=0 {pending}"
    );
    check(&mut model, &expected);
    model.exit("j", 3);
    let untold = model.pod.clone();
    check(
        &mut model,
        "- detach from the network
         - stop sandbox s0
         - remove volumes
         = Failed i=Completed 0 ready restarts=0 j=Error 3 restarts=0 a=PodInitializing restarts=0 +PodScheduled",
    );
    // That it failed holds, too, while the API has not been told.
    model.pod = untold;
    let plan = model.plan();
    assert!(plan.actions.is_empty() && plan.to_string().starts_with("= Failed i=Completed 0 ready"), "{plan}");
}

#[test]
fn a_container_of_another_image_runs_anew() {
    let change = |model: &mut Model| {
        let spec = model.pod.as_mut().and_then(|it| it.spec.as_mut()).unwrap();
        spec.containers[0].image = Some("y".into());
    };
    let images = |model: &Model| {
        let status = model.pod.as_ref().and_then(|it| it.status.as_ref()).unwrap();
        status.container_statuses.iter().flatten().map(|it| it.image.clone()).collect::<Vec<_>>()
    };
    let two = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]);
    let mut model = Model::new(json!({ "containers": two }));
    model.settle();
    model.log.clear();
    change(&mut model);
    // An agent that was restarted meanwhile knows it from what the API was told.
    model.restart_agent();
    let expected = format!(
        "- stop container a (a-0) within 30s: Container a definition changed, will be restarted
         - mount volumes
         - attach s0 to the network
         - get the image of a, attempt 1
         - run container a in s0, attempt 1, next back-off 10s
         = Running a=running ready restarts=1 b=running ready restarts=0 {UP}"
    );
    check(&mut model, &expected);
    assert_eq!(images(&model), ["y", "x"]);
    // Where nothing is restarted, it goes on, and is told as what it is.
    let mut model = Model::new(json!({ "containers": two, "restartPolicy": "Never" }));
    model.settle();
    change(&mut model);
    model.settle();
    assert_eq!((images(&model), model.made), (vec!["x".to_owned(), "x".to_owned()], 2));
}

#[test]
fn a_task_succeeds_and_stays_for_its_log() {
    let mut model = Model::new(json!({"containers": [{"name": "a", "image": "x"}], "restartPolicy": "OnFailure"}));
    model.settle();
    model.exit("a", 0);
    model.settle();
    assert_eq!(model.plan().to_string(), "= Succeeded a=Completed 0 restarts=0 +Initialized +PodScheduled\n");
    assert_eq!((model.inventory.containers.len(), model.address), (1, false));
    // It ended before anything of it was written: its address is told nevertheless.
    model.pod.as_mut().expect("it stays").status = None;
    let status = model.plan().status.expect("it has one");
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.2"));
}

#[test]
fn an_image_that_is_not_there_backs_off() {
    let mut model = Model::new(json!({"containers": [{"name": "a", "image": "x:1"}]}));
    model.broken_image = true;
    model.settle();
    assert!(model.plan().to_string().contains("a=ErrImagePull"), "{}", model.plan());
    model.pass(2 * SECOND);
    let status = model.plan().status.unwrap().container_statuses.unwrap().remove(0);
    let waiting = status.state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ImagePullBackOff"));
    assert_eq!(waiting.message.as_deref(), Some("Back-off pulling image \"x:1\": ErrImagePull: no such image"));
    model.broken_image = false;
    model.pass(10 * SECOND);
    assert_eq!(model.running(), 1);
}

#[test]
fn a_lost_sandbox_is_made_again_with_all_that_was_in_it() {
    let mut model = Model::new(json!({
        "initContainers": [{"name": "i", "image": "x"}], "containers": [{"name": "a", "image": "x"}]
    }));
    model.settle();
    model.exit("i", 0);
    model.settle();
    model.log.clear();
    model.now = super::back_off::later(model.now, 60 * SECOND);
    model.lose_sandbox();
    model.settle();
    model.exit("i", 0);
    let expected = format!(
        "- announce SandboxChanged: Pod sandbox changed, it will be killed and re-created.
         - stop container a (a-0) within 30s: Stopping container a
         - get the image of i, attempt 1
         - run sandbox, attempt 1
         - attach s1 to the network
         - run container i in s1, attempt 1, next back-off 10s
         - get the image of a, attempt 1
         - run container a in s1, attempt 1, next back-off 10s
         = Running i=Completed 0 ready restarts=1 a=running ready restarts=1 {UP}"
    );
    check(&mut model, &expected);
}

#[test]
fn probes_make_ready_and_make_restart() {
    let probe = json!({"exec": {"command": ["true"]}});
    let mut model = Model::new(json!({"containers": [
        {"name": "a", "image": "x", "startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe}
    ]}));
    let plan = model.settle();
    assert_eq!(plan.probes.len(), 1, "only the startup probe before it has passed");
    let note = |model: &mut Model, it: ProbeResults| {
        model.memory.probes.insert("a-0".into(), it);
    };
    note(&mut model, ProbeResults { startup: Some(true), ..ProbeResults::default() });
    let plan = model.settle();
    assert_eq!(plan.probes.len(), 2);
    assert!(!plan.to_string().contains("+Ready"));
    note(&mut model, ProbeResults { startup: Some(true), readiness: Some(true), liveness: Some(true) });
    assert!(model.settle().to_string().contains("+Ready"));
    // The agent comes back and has asked no probe yet: what was ready stays ready.
    model.restart_agent();
    assert!(model.settle().to_string().contains("+Ready"));
    model.log.clear();
    note(&mut model, ProbeResults { startup: Some(true), readiness: Some(true), liveness: Some(false) });
    model.settle();
    assert_eq!(model.log[0], "stop container a (a-0) within 30s: Container a failed liveness probe, will be restarted");
    assert!(model.plan().to_string().contains("a=running restarts=1"), "{}", model.plan());
}

#[test]
fn a_refused_pod_fails_and_never_runs() {
    let mut model = Model::new(json!({"containers": [{"name": "a", "image": "x"}]}));
    model.memory.rejected = Some(Rejection { reason: "OutOfcpu".into(), message: "too little".into() });
    check(&mut model, "- remove volumes\n = Failed OutOfcpu");
}

#[test]
fn a_deadline_ends_a_pod() {
    let mut model = Model::new(json!({"containers": [{"name": "a", "image": "x"}], "activeDeadlineSeconds": 30}));
    let plan = model.settle();
    assert!(plan.recheck.is_some());
    model.pass(30 * SECOND);
    let text = model.plan().to_string();
    assert!(text.starts_with("= Failed DeadlineExceeded a=Error 143"), "{text}");
    assert_eq!(model.running(), 0);
}

#[test]
fn what_the_api_no_longer_has_is_killed_at_once() {
    let mut model = Model::new(json!({"containers": [{"name": "a", "image": "x"}]}));
    model.settle();
    model.pod = None;
    model.restart_agent();
    model.log.clear();
    model.settle();
    assert_eq!(model.log[0], "stop sandbox s0");
    assert!(model.inventory.containers.is_empty() && model.inventory.sandboxes.is_empty());
}

#[test]
fn an_end_has_its_time_whatever_the_machines_clocks_say() {
    let check = |told: Option<Duration>, ahead_of_the_api: Duration, expected: &str| {
        let mut model = Model::new(json!({"containers": [{"name": "a", "image": "x"}]}));
        model.settle();
        model.delete(30);
        model.now = super::back_off::later(model.now, ahead_of_the_api);
        model.memory.told_to_end = told.and_then(|it| model.now.checked_sub(it).ok());
        let text = model.plan().to_string();
        assert!(text.contains(&format!(" within {expected}")), "{text}");
    };
    // Who has seen the deletion counts from then; an agent that was not there has the API's word only.
    check(Some(Duration::ZERO), Duration::from_secs(3600), "30s");
    check(Some(10 * SECOND), Duration::from_secs(3600), "20s");
    check(None, 10 * SECOND, "21s");
    check(None, Duration::from_secs(3600), "2s");
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let at = jiff::Timestamp::from_second(10_000).unwrap();
    let failure = super::Failure::after(None, "", String::new(), at);
    assert!(failure.waits(at) && !failure.waits(failure.retry_at));
    assert!(!failure.waits(at - jiff::SignedDuration::from_hours(1)));
}

#[test]
fn sidecars_outlive_the_others() {
    let mut model = Model::new(json!({
        "initContainers": [{"name": "s", "image": "x", "restartPolicy": "Always"}], "containers": [{"name": "a", "image": "x"}]
    }));
    model.settle();
    assert_eq!(model.running(), 2);
    model.log.clear();
    model.delete(30);
    model.settle();
    assert!(
        model.log[0].starts_with("stop container a") && model.log[1].starts_with("stop container s"),
        "{:?}",
        model.log
    );
}

#[test]
fn what_is_added_to_look_runs_once_and_counts_for_nothing() {
    let mut model = Model::new(json!({
        "initContainers": [{"name": "i", "image": "x"}], "containers": [{"name": "a", "image": "x"}], "restartPolicy": "OnFailure"
    }));
    model.settle();
    model.log.clear();
    let added = json!([{"name": "e", "image": "x"}, {"name": "f", "image": "x"}]);
    let spec = model.pod.as_mut().and_then(|it| it.spec.as_mut()).expect("it has one");
    spec.ephemeral_containers = serde_json::from_value(added).expect("containers");
    let pending = "+PodReadyToStartContainers +PodScheduled";
    let expected = format!(
        "- get the image of e, attempt 0
         - get the image of f, attempt 0
         - run container e in s0, attempt 0
         - run container f in s0, attempt 0
         = Pending i=running restarts=0 a=PodInitializing restarts=0 e=running restarts=0 f=running restarts=0 {pending}"
    );
    check(&mut model, &expected);
    model.exit("e", 1);
    model.exit("i", 0);
    model.restart_agent();
    model.settle();
    model.log.clear();
    let expected = format!(
        "= Running i=Completed 0 ready restarts=0 a=running ready restarts=0 e=Error 1 restarts=0 f=running restarts=0 {UP}"
    );
    check(&mut model, &expected);
    // A new sandbox is none of theirs.
    model.now = super::back_off::later(model.now, 60 * SECOND);
    model.lose_sandbox();
    model.settle();
    model.exit("i", 0);
    let text = model.settle().to_string();
    assert!(text.contains("a=running") && text.contains("e=Error 1") && text.contains("f=Error 143"), "{text}");
    model.exit("a", 0);
    assert!(model.settle().to_string().starts_with("= Succeeded"), "{}", model.plan());
    assert_eq!(model.running(), 0);
}

#[test]
fn an_evicted_pod_fails_and_leaves_its_dead_until_the_disk_is_short() {
    let mut model =
        Model::new(json!({"containers": [{"name": "a", "image": "x"}], "terminationGracePeriodSeconds": 600}));
    model.settle();
    model.log.clear();
    let message = "The node was low on resource: memory. ".to_owned();
    model.memory.evicted =
        Some(Evicted { reason: "Evicted", message: message.clone(), grace: 5 * SECOND, disrupts: true });
    model.settle();
    assert_eq!(model.log[0], "stop container a (a-0) within 5s: Stopping container a");
    let status = model.pod.as_ref().and_then(|it| it.status.clone()).unwrap();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref(), status.message.as_deref()),
        (Some("Failed"), Some("Evicted"), Some(message.as_str()))
    );
    let disrupted = status.conditions.iter().flatten().find(|it| it.type_ == "DisruptionTarget").unwrap();
    assert_eq!((disrupted.status.as_str(), disrupted.reason.as_deref()), ("True", Some("TerminationByKubelet")));
    assert_eq!((model.running(), model.inventory.containers.len()), (0, 1));
    model.restart_agent();
    model.settle();
    assert_eq!(model.pod.as_ref().unwrap().status.as_ref().unwrap().reason.as_deref(), Some("Evicted"));
    model.memory.collected = true;
    model.settle();
    assert!(model.inventory.containers.is_empty() && model.inventory.sandboxes.is_empty());
    assert_eq!(model.pod.as_ref().unwrap().status.as_ref().unwrap().phase.as_deref(), Some("Failed"));
}

#[test]
fn the_same_world_gives_the_same_plan() {
    let mut model = Model::new(json!({"containers": [{"name": "a", "image": "x"}]}));
    model.settle();
    assert_eq!(model.plan(), model.plan());
    let node = super::NodeFacts::default();
    let (inventory, memory) = (model.inventory.clone(), Memory::default());
    let room = model.room;
    let seen = PodWorld { now: model.now, node: &node, inventory: &inventory, address: None, room, memory: &memory };
    assert_eq!(super::decide_gone(&seen).to_string(), super::decide_gone(&seen).to_string());
}
