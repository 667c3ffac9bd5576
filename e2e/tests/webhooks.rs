//! Admission by others: webhooks over HTTPS and policies in the cluster refuse and change what is asked for, as the conformance tests of
//! Kubernetes describe it (`test/e2e/apimachinery/webhook.go`, `validatingadmissionpolicy.go`).
//!
//! One API server, one webhook; each scenario has a namespace of its own, which its configurations select. That a configuration is heard of
//! is found out with a marker, as the conformance tests do: an object that the configuration refuses in any case.

#[path = "webhooks/changes.rs"]
mod changes;
#[path = "webhooks/configurations.rs"]
mod configurations;
#[path = "webhooks/connections.rs"]
mod connections;
#[path = "webhooks/custom.rs"]
mod custom;
#[path = "webhooks/denials.rs"]
mod denials;
#[path = "webhooks/play.rs"]
mod play;
#[path = "webhooks/policies.rs"]
mod policies;

use anyhow::{Context, Result, bail};
use orlop_e2e::case::Case;
use orlop_e2e::hooks::Hooks;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::server::Server;
use play::Play;

type Part = fn(&Play<'_>) -> Result<()>;

const PARTS: &[(&str, Part)] = &[
    ("discovery", denials::discovery),
    ("creation-denied", denials::creations),
    ("attach-denied", denials::attaching),
    ("fail-closed", denials::fail_closed),
    ("definition-denied", denials::definitions),
    ("timeouts", denials::timeouts),
    ("ordered", changes::in_order),
    ("pod-defaulted", changes::pods_are_defaulted),
    ("configurations-spared", changes::configurations_are_spared),
    ("custom-denied", custom::denied),
    ("custom-changed", custom::changed),
    ("custom-stored-version", custom::stored_in_another_version),
    ("custom-pruned", custom::pruned),
    ("custom-equivalent", custom::seen_in_the_version_of_the_rule),
    ("changed-configurations", configurations::updated_and_patched),
    ("collected-configurations", configurations::listed_and_deleted),
    ("conditions", configurations::conditions),
    ("connections", connections::connections),
    ("bindings", connections::bindings_and_evictions),
    ("scales", connections::scales),
    ("tokens", connections::tokens),
    ("policies", policies::policies),
    ("policy-api", policies::every_verb),
];

#[test]
fn others_are_asked_as_kubernetes_asks_them() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-webhooks-").tempdir()?;
    let mut server = Server::start(&folder.path().join("data"), "memory")?;
    let hooks = Hooks::start(play::answer)?;
    let kubectl = Kubectl::all(&server.kubeconfig())?.pop().context("there is a kubectl")?;
    // One scenario alone, for whoever works on it.
    let only = std::env::var("ORLOP_SCENARIO").unwrap_or_default();
    let mut failures = Vec::new();
    for (name, part) in PARTS.iter().filter(|(name, _)| only.is_empty() || only == *name) {
        let case = Case { kubectl: kubectl.clone(), namespace: (*name).to_owned() };
        let outcome = Play::new(&server, &hooks, case).and_then(|it| part(&it).and_then(|()| it.leave()));
        if let Err(error) = outcome {
            eprintln!("{name}: {error:#}\n");
            failures.push(format!("{name}: {error:#}"));
        }
    }
    if !failures.is_empty() {
        bail!("{} failures:\n{}\n{}", failures.len(), failures.join("\n\n"), server.child().tail());
    }
    Ok(())
}
