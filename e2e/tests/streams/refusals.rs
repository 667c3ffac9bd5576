//! What does not lead into a container, and the words for it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, expect_words};
use orlop_e2e::wait;

use crate::{pod, sleeper, with_each};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let sleep = |name: &str| format!("    - {{ name: {name}, image: {TOOLS:?}, command: [sleep, \"3600\"] }}\n");
    let two = format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: two }}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n{}{}",
        sleep("left"),
        sleep("right")
    );
    let absent = "---\napiVersion: v1\nkind: Pod\nmetadata: { name: unplaced }\nspec:\n  nodeName: \"\"\n  nodeSelector: { no: such }\n  containers: [{ name: main, image: none }]\n";
    scene.apply(&[sleeper("target"), two, absent.to_owned(), pod("done", "Never", "", "exit 0")].concat())?;
    scene.ready("target")?;
    scene.ready("two")?;
    scene.succeeded("done")?;
    with_each(scene, |kubectl| {
        for (line, words) in [
            ("exec absent -- true", "pods \"absent\" not found"),
            ("exec two -c middle -- true", "container middle is not valid for pod two"),
            ("attach two -c middle", "container middle"),
            ("exec unplaced -- true", "pod unplaced does not have a host assigned"),
            ("exec done -- true", "completed pod"),
            ("port-forward unplaced :80", "pod is not running"),
        ] {
            let all: Vec<&str> = ["-n", &scene.namespace].into_iter().chain(line.split(' ')).collect();
            let said = kubectl.fails(&all, "")?;
            expect_words(&said, &[words]).with_context(|| line.to_owned())?;
        }
        Ok(())
    })?;
    raw(scene)?;
    rights(scene)?;
    agent(scene)
}

/// What kubectl would not ask.
fn raw(scene: &Scene<'_>) -> Result<()> {
    for (what, words) in [
        ("two/exec?command=true", "a container name must be specified for pod two, choose one of: [left right]"),
        ("target/exec?command=true", "Upgrade request required"),
        ("target/portforward", "Upgrade request required"),
        ("absent/attach", "pods \"absent\" not found"),
    ] {
        let path = scene.path(&format!("pods/{what}"));
        let said = scene.kubectl.fails(&["create", "--raw", &path, "-f", "-"], "")?;
        expect_words(&said, &[words])?;
    }
    Ok(())
}

/// A session is a creation, whatever the method by which it is asked for.
fn rights(scene: &Scene<'_>) -> Result<()> {
    for (user, verbs) in [("reader", "get"), ("both", "get,create")] {
        let role = ["create", "role", user, "--verb", verbs, "--resource", "pods,pods/exec,pods/portforward"];
        scene.run(&role)?;
        scene.run(&["create", "rolebinding", user, "--role", user, "--user", user])?;
    }
    with_each(scene, |kubectl| {
        let exec = |user: &str| {
            let line = ["-n", &scene.namespace, "--as", user, "exec", "target", "--", "echo", "in"];
            kubectl.output(&line, "")
        };
        wait::until("the role counts", orlop_e2e::scene::POD_LIMIT, || {
            let said = exec("both")?;
            ensure!(said.stdout == "in\n", "{said:?}");
            Ok(())
        })?;
        let said = exec("reader")?;
        ensure!(said.code != 0 && said.stdout.is_empty(), "{said:?}");
        expect_words(&said.stderr, &["User \"reader\" cannot create resource \"pods/exec\""])
    })
}

/// The agent's own port is not open to whoever has a certificate of the cluster: here, to a node.
fn agent(scene: &Scene<'_>) -> Result<()> {
    let node = scene.api.items("/api/v1/nodes")?.into_iter().next().context("there is a node")?;
    let address = node["status"]["addresses"]
        .as_array()
        .and_then(|it| it.iter().find(|it| it["type"] == "InternalIP")?["address"].as_str())
        .context("it has an address")?;
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    let config = std::fs::read_to_string(scene.cluster.folder().join("agent-1.kubeconfig"))?;
    let field = |name: &str| -> Result<String> {
        let value = config.split_once(&format!("{name}:")).with_context(|| format!("it has {name}"))?.1;
        let value = value.split_whitespace().next().unwrap_or_default().trim_matches('"');
        let path = scene.cluster.folder().join(name);
        std::fs::write(&path, STANDARD.decode(value)?)?;
        Ok(path.display().to_string())
    };
    let (certificate, key) = (field("client-certificate-data")?, field("client-key-data")?);
    let namespace = &scene.namespace;
    let ask = |path: &str| -> Result<String> {
        let url = format!("https://{address}:{port}{path}");
        let arguments = ["-sk", "--max-time", "20", "--cert", &certificate, "--key", &key, "-w", " %{http_code}", &url];
        orlop_e2e::tool::run(Command::new("curl").args(arguments))
    };
    for path in [
        format!("/exec/{namespace}/target/main?output=1&command=id"),
        format!("/containerLogs/{namespace}/target/main"),
    ] {
        let said = ask(&path)?;
        ensure!(said.starts_with("Forbidden") && said.ends_with(" 403"), "{path}: {said}");
    }
    Ok(())
}
