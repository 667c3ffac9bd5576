//! Two clusters at once, made at the same moment: each has all addresses of pods and services for itself, and what is done to one is not seen in the
//! other. When both are gone, nothing of either is left.

use anyhow::{Context, Result, ensure};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::nodes::Nodes;
use orlop_e2e::{image, tool};
use serde_json::Value;

use crate::web::{self, NODE_PORT, address};

pub fn play() -> Result<()> {
    let images = image::archives()?[1..].to_vec();
    let folder = tempfile::Builder::new().prefix("orlop-beside-").tempdir()?;
    let clusters = ["one", "two"].map(|it| Nodes::new(folder.path(), it));
    let ports = [tool::free_port()?, tool::free_port()?];
    let made: Vec<Result<String>> = std::thread::scope(|scope| {
        let make =
            |(cluster, port): (&Nodes, u16)| cluster.create(2, &images, &[&format!("--port={port}:{NODE_PORT}")]);
        let makers: Vec<_> = clusters.iter().zip(ports).map(|it| scope.spawn(move || make(it))).collect();
        makers.into_iter().map(|it| it.join().expect("the test's own thread")).collect()
    });
    let outcome = made.into_iter().collect::<Result<Vec<_>>>().and_then(|said| {
        for (said, name) in said.iter().zip(["one", "two"]) {
            ensure!(said.starts_with(&format!("cluster \"{name}\" created in ")), "{said}");
        }
        live(&clusters, ports)
    });
    for it in &clusters {
        if it.record().is_ok() {
            it.run(&["delete", it.name()])?;
        }
    }
    outcome
}

fn live(clusters: &[Nodes; 2], ports: [u16; 2]) -> Result<()> {
    let [one, two] = clusters;
    let records = [one.record()?, two.record()?];
    ensure!(records[0]["subnet"] != records[1]["subnet"], "{records:?}");
    let kubectls = [Kubectl::new(&one.kubeconfig())?, Kubectl::new(&two.kubeconfig())?];
    let mut pods: Vec<Vec<Value>> = Vec::new();
    for (cluster, kubectl) in clusters.iter().zip(&kubectls) {
        pods.push(web::make(kubectl, &cluster.names()?)?);
    }
    let addresses = |pods: &[Value]| -> Result<Vec<String>> {
        let mut all = pods.iter().map(|it| Ok(address(it)?.to_owned())).collect::<Result<Vec<_>>>()?;
        all.sort();
        Ok(all)
    };
    ensure!(addresses(&pods[0])? == addresses(&pods[1])?, "both have the whole range for themselves");
    for port in ports {
        web::until_everybody(2, &format!("127.0.0.1:{port}"))?;
    }
    // The user's kubeconfig has both, and the last one made is the current one.
    let contexts = tool::run(
        std::process::Command::new(tool::machine("kubectl", "kubernetes-client")?)
            .args(["config", "get-contexts", "-o", "name", "--kubeconfig"])
            .arg(one.users_kubeconfig()),
    )?;
    let mut contexts: Vec<&str> = contexts.lines().collect();
    contexts.sort_unstable();
    ensure!(contexts == ["orlop-one", "orlop-two"], "{contexts:?}");
    let listed = one.run(&["list"])?;
    for name in ["one", "two"] {
        let line = listed.lines().find(|it| it.starts_with(name)).with_context(|| listed.clone())?;
        ensure!(line.contains("Running") && line.contains(":6443"), "{line}");
    }
    // Archives go to all nodes of the cluster that is named, and to no other's.
    let archive = tool::repository().join("target/images/redis.tar");
    let mut load = std::process::Command::new(tool::ours("orlop")?);
    load.args(["image", "load", "--cluster", "one", "--clusters-dir"]).arg(one.folder().parent().context("a folder")?);
    let said = tool::run(load.arg(&archive))?;
    let loaded: Vec<&str> = said.lines().filter(|it| it.contains("redis")).collect();
    ensure!(loaded.len() == 2 && said.contains("one-1") && said.contains("one-2"), "{said}");

    one.run(&["delete", "one"])?;
    ensure!(one.traces(&records[0])?.is_empty(), "left of one: {:#?}", one.traces(&records[0])?);
    web::until_everybody(2, &format!("127.0.0.1:{}", ports[1]))?;
    let said = one.run(&["delete", "one"]).err().map(|it| it.to_string()).unwrap_or_default();
    ensure!(said.contains("there is no cluster"), "{said}");

    // A copy beside it goes without the port that the first still has.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("two.snapshot").display().to_string();
    two.run(&["snapshot", "two", &file])?;
    let said = one.run(&["restore", "one", &file])?;
    ensure!(said.contains("cluster \"one\" restored in ") && !said.contains("leads to port"), "{said}");
    let record = one.record()?;
    ensure!(record["ports"].as_array().is_some_and(Vec::is_empty), "{record:#}");
    let refused = one
        .run(&["delete", "one"])
        .and_then(|_| one.run(&["restore", "one", &file, &format!("--port={}:{NODE_PORT}", ports[1])]));
    let said = refused.err().map(|it| it.to_string()).unwrap_or_default();
    ensure!(said.contains("it is taken"), "{said}");
    ensure!(one.traces(&record)?.is_empty(), "left of the copy: {:#?}", one.traces(&record)?);
    web::until_everybody(2, &format!("127.0.0.1:{}", ports[1]))?;

    two.run(&["delete", "two"])?;
    ensure!(two.traces(&records[1])?.is_empty(), "left of two: {:#?}", two.traces(&records[1])?);
    let left = std::fs::read_to_string(one.users_kubeconfig())?;
    ensure!(!left.contains("orlop-"), "{left}");
    Ok(())
}
