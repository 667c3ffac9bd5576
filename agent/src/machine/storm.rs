//! The machine in a storm: whatever dies in whatever order, it comes to rest with the pod running once, and leaks nothing.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::model::Model;
use super::plan::Action;

/// What can go wrong, or just happen.
#[derive(Clone, Debug)]
enum Blow {
    Exit { container: usize, code: i32 },
    LoseSandbox,
    RestartAgent,
    Wait { seconds: u64 },
    BreakImage,
    MendImage,
}

fn blows() -> impl Strategy<Value = Vec<Blow>> {
    let blow = prop_oneof![
        4 => (0..3usize, prop_oneof![Just(0), Just(1), Just(137)]).prop_map(|(container, code)| Blow::Exit { container, code }),
        1 => Just(Blow::LoseSandbox),
        2 => Just(Blow::RestartAgent),
        3 => (0..700u64).prop_map(|seconds| Blow::Wait { seconds }),
        1 => Just(Blow::BreakImage),
        1 => Just(Blow::MendImage),
    ];
    prop::collection::vec(blow, 0..25)
}

const NAMES: [&str; 3] = ["i", "a", "b"];

fn strike(model: &mut Model, blow: &Blow) {
    match blow {
        Blow::Exit { container, code } => model.exit(NAMES[*container], *code),
        Blow::LoseSandbox => model.lose_sandbox(),
        Blow::RestartAgent => model.restart_agent(),
        Blow::Wait { seconds } => drop(model.pass(Duration::from_secs(*seconds))),
        Blow::BreakImage => model.broken_image = true,
        Blow::MendImage => model.broken_image = false,
    }
    model.settle();
}

/// Lets time pass, and init containers succeed, until the pod is as it should be.
fn calm(model: &mut Model) {
    model.broken_image = false;
    for _ in 0..40 {
        model.pass(Duration::from_secs(301));
        model.exit("i", 0);
        model.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn it_comes_to_rest(blows in blows(), policy in prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")]) {
        let mut model = Model::new(json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "i", "image": "x"}],
            "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]
        }));
        model.settle();
        for blow in &blows {
            strike(&mut model, blow);
        }
        calm(&mut model);
        let status = model.plan().status.expect("the API has the pod");
        let phase = status.phase.clone().unwrap_or_default();
        if policy == "Always" {
            prop_assert_eq!(&phase, "Running");
            prop_assert_eq!(model.running(), 2);
        } else {
            prop_assert!(["Running", "Succeeded", "Failed"].contains(&phase.as_str()), "{}", phase);
            prop_assert!(phase == "Running" || model.running() == 0);
        }
        // At rest, a restart of the agent touches no container.
        let made = model.made;
        model.restart_agent();
        model.log.clear();
        model.settle();
        prop_assert_eq!(model.made, made);
        prop_assert!(!model.log.iter().any(|it| it.starts_with("stop container")), "{:?}", model.log);
        // At most two dead ones of each container are kept, and one dead sandbox.
        prop_assert!(model.inventory.containers.len() <= 3 * 3, "{:?}", model.inventory);
        prop_assert!(model.inventory.sandboxes.len() <= 2);
        // It ends without a rest.
        model.delete(30);
        model.settle();
        prop_assert!(model.pod.is_none());
        prop_assert!(model.inventory.containers.is_empty() && model.inventory.sandboxes.is_empty() && !model.address);
    }

    /// A pod that is gone from the API leaves nothing, whatever state it was left in.
    #[test]
    fn nothing_is_left_of_what_is_gone(blows in blows()) {
        let mut model = Model::new(json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]}));
        model.settle();
        for blow in &blows {
            strike(&mut model, blow);
        }
        model.pod = None;
        let plan = model.plan();
        let revives = |it: &Action| matches!(it, Action::RunContainer { .. } | Action::DeletePod);
        prop_assert!(!plan.actions.iter().any(revives));
        model.settle();
        prop_assert!(model.inventory.containers.is_empty() && model.inventory.sandboxes.is_empty());
    }
}
