//! Which system calls a container may make: those of the runtime's list, all, or those of a file on its node.

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, container};

/// Everything but folders.
const NO_FOLDERS: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]
}"#;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let pod = |name: &str, of_pod: &str, of_container: &str| {
        format!(
            r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {{ {of_pod} }}
  containers:
    - {{ name: main, image: {TOOLS}, command: [sleep, "600"], securityContext: {{ {of_container} }} }}
"#
        )
    };
    let unconfined = "seccompProfile: { type: Unconfined }";
    let default = "seccompProfile: { type: RuntimeDefault }";
    let manifests = [pod("unsaid", "", ""), pod("open", unconfined, ""), pod("closed", unconfined, default)];
    scene.apply(&manifests.concat())?;
    // 0 is no filter, 2 is one.
    for (name, expected) in [("unsaid", "2"), ("open", "0"), ("closed", "2")] {
        scene.ready(name)?;
        for (way, said) in [
            ("itself", scene.inside(name, "main", &["grep", "Seccomp:", "/proc/1/status"])?),
            ("a command", scene.run(&["exec", name, "--", "grep", "Seccomp:", "/proc/self/status"])?),
        ] {
            ensure!(said.split_whitespace().nth(1) == Some(expected), "{way} in {name} has {said}");
        }
    }

    // A file of the node's, which comes late.
    let local = pod("local", "", "seccompProfile: { type: Localhost, localhostProfile: own/no-folders.json }");
    scene.apply(&local)?;
    let pod = scene.until("local", "misses its profile", |it| {
        container(it, "main")["state"]["waiting"]["reason"] == "CreateContainerError"
    })?;
    let message = container(&pod, "main")["state"]["waiting"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("own/no-folders.json") && message.contains("o such file"), "it says {message:?}");
    let folder = scene.agent_dir(&pod).join("seccomp/own");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    std::fs::write(folder.join("no-folders.json"), NO_FOLDERS)?;
    scene.ready("local")?;
    let made = scene.run(&["exec", "local", "--", "sh", "-c", "touch /file && mkdir /folder; ls -d /f*"])?;
    ensure!(made.trim() == "/file", "there are {made}");
    Ok(())
}
