//! As whom a container runs and what it may: users and groups, its root file system, privileges and how they are gained, the kernel's settings
//! ("Security Context ...", "Kubelet when scheduling a read only busybox container should not write to root filesystem", "Sysctls ...").

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, container, expect_words};

const WHO: &str = "echo $(id -u) $(id -g)";
const WRITE: &str = "(echo text > /file) 2>&1; cat /file 2>&1; true";
/// A device of its network: whoever may not have one is told so, be there a driver for it or not.
const PLUG: &str = "ip link add dummy0 type dummy 2>&1; true";
/// A program that is root's, whoever runs it. It says so if it is not.
const RISE: &str = "/shared/busybox passwd 2>&1 < /dev/null; true";
const ORDINARY: &str = "must be suid to work properly";

/// Containers of a pod that runs as user 1001 and group 2002: name, security context, script, words of its log, words that are not in it.
const CASES: [(&str, &str, &str, &str, &str); 9] = [
    ("of-pod", "", WHO, "1001 2002\n", "nobody"),
    ("own-user", "runAsUser: 65534", WHO, "65534 2002\n", "1001"),
    ("own-both", "runAsUser: 1003, runAsGroup: 2004", WHO, "1003 2004\n", "1001"),
    ("read-only", "runAsUser: 0, readOnlyRootFilesystem: true", WRITE, "Read-only file system", "text"),
    ("writable", "runAsUser: 0, readOnlyRootFilesystem: false", WRITE, "text\n", "Read-only"),
    ("ordinary", "runAsUser: 0, privileged: false", PLUG, "Operation not permitted", "nobody"),
    (
        "plugged",
        "runAsUser: 0, capabilities: { add: [NET_ADMIN] }",
        "ip link set lo down 2>&1; ip link show lo",
        "<LOOPBACK> ",
        "not permitted",
    ),
    ("held", "runAsUser: 1000, allowPrivilegeEscalation: false", RISE, ORDINARY, "nobody"),
    ("rising", "runAsUser: 1000, allowPrivilegeEscalation: true", RISE, "passwd: ", ORDINARY),
];

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&[users(), settings("set", "kernel.shm_rmid_forced"), settings("unsafe", "kernel.msgmax")].concat())?;
    let pod = scene.succeeded("users")?;
    for (name, context, script, words, absent) in CASES {
        let said = scene.logs("users", &["-c", name])?;
        ensure!(
            said.contains(words) && !said.contains(absent),
            "{name} ({context}): {script:?} says {said:?} instead of {words:?}"
        );
        let code = &container(&pod, name)["state"]["terminated"]["exitCode"];
        ensure!(*code == 0, "{name} ended with {code}");
    }

    // The pod's own setting of the kernel, and not the node's.
    scene.succeeded("set")?;
    let said = scene.logs("set", &[])?;
    ensure!(said == "1\n", "the setting is {said:?}");
    let own = std::fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").context("the node has the setting")?;
    ensure!(own == "0\n", "the node's setting is {own:?}");
    // One that reaches further than the pod is refused by the node, one that is none by the API.
    let refused = scene.until("unsafe", "is refused", |it| it["status"]["phase"] == "Failed")?;
    let status = &refused["status"];
    ensure!(status["reason"] == "SysctlForbidden", "it is refused for {status}");
    let message = status["message"].as_str().unwrap_or_default();
    expect_words(message, &["forbidden sysctl: \"kernel.msgmax\" not allowlisted"])?;
    let mixed = settings(
        "mixed",
        "foo-, value: bar }, { name: kernel.shmmax, value: \"100000000\" }, { name: safe-and-unsafe, value: \"1\" }, { name: bar..",
    );
    let said = scene.kubectl.fails(&["-n", &scene.namespace, "create", "-f", "-"], &mixed)?;
    expect_words(&said, &["sysctls[0].name: Invalid value: \"foo-\"", "sysctls[3].name: Invalid value: \"bar..\""])?;
    ensure!(!said.contains("\"kernel.shmmax\"") && !said.contains("\"safe-and-unsafe\""), "good ones, too: {said}");
    Ok(())
}

fn users() -> String {
    let containers: String = CASES
        .iter()
        .map(|(name, context, script, ..)| {
            format!(
                "    - {{ name: {name}, image: {TOOLS}, command: [sh, -c, {script:?}], securityContext: {{ {context} }}, volumeMounts: [{{ name: shared, mountPath: /shared }}] }}\n"
            )
        })
        .collect();
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: users }}
spec:
  restartPolicy: Never
  securityContext: {{ runAsUser: 1001, runAsGroup: 2002 }}
  volumes: [{{ name: shared, emptyDir: {{}} }}]
  initContainers:
    - name: program
      image: {TOOLS}
      command: [sh, -c, "cp /bin/busybox /shared && chmod 4755 /shared/busybox"]
      securityContext: {{ runAsUser: 0 }}
      volumeMounts: [{{ name: shared, mountPath: /shared }}]
  containers:
{containers}"#
    )
}

/// A pod with a setting of the kernel, which it tells.
fn settings(name: &str, sysctl: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  restartPolicy: Never
  securityContext: {{ sysctls: [{{ name: {sysctl}, value: "1" }}] }}
  containers:
    - {{ name: main, image: {TOOLS}, command: [cat, /proc/sys/kernel/shm_rmid_forced] }}
"#
    )
}
