//! Termination messages: a container's file, the end of its log where it failed without one, and how much of either is told.

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, container};
use orlop_e2e::wait;
use serde_json::Value;

/// How a container ends, and the message that is told: name, its fields, its script, the exit code, the message.
type Ending = (&'static str, &'static str, &'static str, i64, &'static str);

const ENDINGS: &[Ending] = &[
    ("file", "", "printf DONE > /dev/termination-log", 0, "DONE"),
    (
        "user",
        "terminationMessagePath: /dev/termination-custom-log, securityContext: { runAsUser: 1000 }",
        "printf DONE > /dev/termination-custom-log",
        0,
        "DONE",
    ),
    (
        "locked",
        "terminationMessagePath: /last/words, securityContext: { readOnlyRootFilesystem: true }",
        "printf locked > /last/words",
        0,
        "locked",
    ),
    ("log", "terminationMessagePolicy: FallbackToLogsOnError", "echo one >&2; echo two >&2; exit 1", 1, "one\ntwo\n"),
    ("good", "terminationMessagePolicy: FallbackToLogsOnError", "echo DONE", 0, ""),
    (
        "told",
        "terminationMessagePolicy: FallbackToLogsOnError",
        "echo no; printf OK > /dev/termination-log; exit 3",
        3,
        "OK",
    ),
    ("mute", "", "echo said in vain; exit 1", 1, ""),
];

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let containers: String = ENDINGS
        .iter()
        .map(|(name, fields, script, ..)| {
            let fields = if fields.is_empty() { String::new() } else { format!(", {fields}") };
            format!("    - {{ name: {name}, image: {TOOLS}, command: [sh, -c, '{script}']{fields} }}\n")
        })
        .collect();
    scene.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: endings }}
spec:
  restartPolicy: Never
  containers:
{containers}
---
apiVersion: v1
kind: Pod
metadata: {{ name: long }}
spec:
  restartPolicy: Never
  initContainers:
    - name: first
      image: {TOOLS}
      command: [sh, -c, 'printf begun > /dev/termination-log']
  containers:
    - name: file
      image: {TOOLS}
      command: [sh, -c, 'seq 10000 19999 > /dev/termination-log']
    - name: log
      image: {TOOLS}
      terminationMessagePolicy: FallbackToLogsOnError
      command: [sh, -c, 'for it in $(seq 100); do printf "%099d\n" $it; done; exit 1']
    - name: lines
      image: {TOOLS}
      terminationMessagePolicy: FallbackToLogsOnError
      command: [sh, -c, 'seq 1000; exit 1']
---
apiVersion: v1
kind: Pod
metadata: {{ name: again }}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{{ name: marks, emptyDir: {{}} }}]
  containers:
    - name: main
      image: {TOOLS}
      volumeMounts: [{{ name: marks, mountPath: /marks }}]
      command:
        - sh
        - -c
        - 'if mkdir /marks/been 2>/dev/null; then printf "once is not enough" > /dev/termination-log; exit 1; fi; wc -c < /dev/termination-log; sleep 600'
"#
    ))?;

    let pod = scene.until("endings", "has failed", |it| it["status"]["phase"] == "Failed")?;
    for (name, _, _, code, message) in ENDINGS {
        let end = terminated(&pod, name)?;
        ensure!(end["exitCode"] == *code, "{name} ended as {end}");
        ensure!(end["message"].as_str().unwrap_or_default() == *message, "{name} is said to have said {end}");
    }

    let pod = scene.until("long", "has failed", |it| it["status"]["phase"] == "Failed")?;
    ensure!(terminated(&pod, "first")?["message"] == "begun", "{pod}");
    // The end of the file in the pod's share of 12 kB for four containers, of which the beginning is told; the last bytes or lines of the log.
    let file = words(&pod, "file")?;
    let all: String = (10_000..20_000).map(|it| format!("{it}\n")).collect();
    ensure!(*file == all[all.len() - 4_096..][..3_072], "{} bytes: {file}", file.len());
    let log = words(&pod, "log")?;
    let wide: String = (1..=100).map(|it| format!("{it:099}\n")).collect();
    ensure!(*log == wide[wide.len() - 2_048..], "{} bytes: {log}", log.len());
    let lines = words(&pod, "lines")?;
    let last: String = (921..=1_000).map(|it| format!("{it}\n")).collect();
    ensure!(lines == last, "{lines}");

    let pod = scene.until("again", "runs again", |it| {
        let main = container(it, "main");
        main["restartCount"] == 1 && main["ready"] == true
    })?;
    let last = &container(&pod, "main")["lastState"]["terminated"];
    ensure!(last["message"] == "once is not enough", "{pod}");
    // Each attempt begins with an empty file.
    wait::until("the new file is empty", POD_LIMIT, || {
        let said = scene.logs("again", &[])?;
        ensure!(said.trim() == "0", "{said:?} bytes are in it");
        Ok(())
    })
}

fn terminated<'a>(pod: &'a Value, name: &str) -> Result<&'a Value> {
    Some(&container(pod, name)["state"]["terminated"])
        .filter(|it| it.is_object())
        .with_context(|| format!("{name} has not ended: {pod}"))
}

fn words<'a>(pod: &'a Value, name: &str) -> Result<&'a str> {
    terminated(pod, name)?["message"].as_str().with_context(|| format!("{name} said nothing: {pod}"))
}
