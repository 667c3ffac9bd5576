//! `kubectl exec`: output, errors and exit codes, input and its end, terminals.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use orlop_e2e::scene::{Scene, expect_words};

use crate::{sleeper, with_each};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&sleeper("target"))?;
    scene.ready("target")?;
    with_each(scene, |kubectl| {
        let exec = |flags: &[&str], command: &[&str], input: &str| {
            let all = [&["-n", &scene.namespace, "exec", "target"], flags, &["--"], command].concat();
            kubectl.output(&all, input)
        };
        let said = exec(&[], &["sh", "-c", "echo out; echo err >&2"], "")?;
        ensure!(said.code == 0 && said.stdout == "out\n" && said.stderr == "err\n", "{said:?}");
        let failed = exec(&[], &["sh", "-c", "echo partly; exit 3"], "")?;
        ensure!(failed.code == 3 && failed.stdout == "partly\n", "{failed:?}");
        expect_words(&failed.stderr, &["command terminated with exit code 3"])?;
        // The end of the input is heard, and what comes after it is read.
        let through = exec(&["-i"], &["cat"], "x\n")?;
        ensure!(through.code == 0 && through.stdout == "x\n", "{through:?}");
        let counted = exec(&["-i"], &["wc", "-c"], &"0123456789".repeat(100_000))?;
        ensure!(counted.stdout.trim() == "1000000", "{counted:?}");
        // A process that reads nothing, or stops reading, ends it all the same.
        let deaf = exec(&["-i"], &["head", "-c", "3"], &"abc".repeat(100_000))?;
        // containerd before 1.7 does not say how it ended.
        let told = deaf.code == 0 || (scene.cluster.runtime() == "cri" && deaf.stderr.contains("does not say how"));
        ensure!(told && deaf.stdout == "abc", "{deaf:?}");
        let none = exec(&[], &["no-such-program"], "")?;
        ensure!(none.code != 0, "{none:?}");
        expect_words(&format!("{}{}", none.stdout, none.stderr), &["no-such-program"])?;
        terminal(scene, kubectl)
    })?;
    // What runs is not asked for output that nobody wants, and output that is not text comes as it is.
    let bytes = scene.kubectl.command(&["-n", &scene.namespace, "exec", "target", "--", "printf", r"\000\001\377\n"]);
    let bytes = { bytes }.output()?;
    ensure!(bytes.stdout == b"\0\x01\xff\n", "{bytes:?}");
    Ok(())
}

/// With a terminal of its own on this side, whose size is the terminal's on the other.
fn terminal(scene: &Scene<'_>, kubectl: &orlop_e2e::kubectl::Kubectl) -> Result<()> {
    let program = kubectl.program().display();
    // The size comes a moment after the start: it is looked at until it is there, or the time is over.
    let inside = "n=0; while [ $n -lt 100 ] && [ \"$(stty size)\" != \"33 101\" ]; do n=$((n+1)); sleep 0.1; done; stty size; tty; exit 5";
    let line = format!(
        "stty rows 33 cols 101; {program} -n {} exec -it target -- sh -c '{inside}'; echo code $?",
        scene.namespace
    );
    let mut command = Command::new("timeout");
    command.args(["60", "script", "-q", "-e", "-c", &line, "/dev/null"]);
    command.env("KUBECONFIG", kubectl.kubeconfig()).env("HOME", scene.cluster.folder());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // The input does not end before the command: `script` would pass that on, and an Engine's terminal ends with its input.
    let _held = child.stdin.take();
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    expect_words(&text, &["33 101", "/dev/pts/", "code 5"])
}
