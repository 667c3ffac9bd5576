//! A machine that joins with the runtime `native`: its logs are read through the certificate that it was given, and it leaves nothing.

use std::process::Command;

use anyhow::{Result, ensure};
use orlop_e2e::cluster::{Cluster, MINDS_NO_DISK};
use orlop_e2e::scene::POD_LIMIT;
use orlop_e2e::{image, tool, traces};

use super::alone;
use super::machine::{Machine, invitation, is_ready};

const SPEAKER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: speaker}
spec:
  selector: {matchLabels: {app: speaker}}
  template:
    metadata: {labels: {app: speaker}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "orlop.test/tools:1", command: [sh, -c, "echo hello from afar; exec sleep 1000000"]}
"#;

#[test]
fn logs_come_from_a_machine_that_joined_and_it_leaves_nothing() -> Result<()> {
    let images = image::archives()?.to_vec();
    Cluster::with(alone(), |cluster| {
        let kubectl = cluster.kubectl()?;
        // Distinct from those of other tests: links and rules of the machine are named by it.
        let name = format!("j{}", std::process::id());
        let folders: Vec<String> = images.iter().map(|it| it.display().to_string()).collect();
        let mut flags = vec!["--runtime", "native", "--address", "gateway", "--port", "0"];
        let cidr = cluster.cidr().to_owned();
        flags.extend(["--cluster-cidr", &cidr, "--cluster-dns", "none"]);
        flags.extend(MINDS_NO_DISK);
        folders.iter().for_each(|it| flags.extend(["--load-images", it]));
        let mut machine = Machine::with(cluster, &name, &flags);
        machine.start(cluster, &invitation(cluster, &[])?)?;
        is_ready(cluster, &name, &mut machine)?;
        kubectl.apply(SPEAKER)?;
        kubectl.rolled_out("default", "speaker")?;
        let said = orlop_e2e::wait::until("the log is read", POD_LIMIT, || {
            let said = kubectl.run(&["logs", "deployment/speaker"])?;
            ensure!(!said.is_empty(), "there is none yet");
            Ok(said)
        })?;
        ensure!(said == "hello from afar\n", "{said}");
        let inside = kubectl.run(&["exec", "deployment/speaker", "--", "hostname"])?;
        ensure!(inside.starts_with("speaker-"), "{inside}");

        // The successors of its pods find no node: they wait, and hold up nothing.
        let mut command = Command::new(tool::ours("orlop")?);
        command.args(["node", "leave", "--timeout", "100s", "--data-dir"]).arg(machine.folder());
        let said = tool::run(command.env("HOME", cluster.folder()).env_remove("KUBECONFIG"))?;
        ensure!(said.contains("pod/speaker-") && said.ends_with(&format!("node/{name} left\n")), "{said}");
        ensure!(kubectl.items(&["nodes"])?.is_empty(), "its Node is gone");
        let left = traces::of(std::slice::from_ref(&name), machine.folder())?;
        let left: Vec<&String> = left.iter().filter(|it| !it.starts_with("file: ")).collect();
        ensure!(left.is_empty(), "the machine left behind: {left:#?}");
        Ok(())
    })
}
