//! The pods that the tests ask: one a node, which say who they are, who asks them, and how much they were sent.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::condition;
use orlop_e2e::image::TOOLS;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::{inside, nodes::Nodes, tool, wait};
use serde_json::Value;

/// How long a pod or a rule may take, with other clusters on both cores.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The port of every node that leads to the pods.
pub const NODE_PORT: u16 = 30080;
/// Questions until each of three pods has answered: that one has not after so many is as good as impossible (3 × (2/3)^100).
const QUESTIONS: usize = 100;

/// Makes `web-1` to `web-<count>`, one a node, and the Service `web`.
pub fn make(kubectl: &Kubectl, names: &[String]) -> Result<Vec<Value>> {
    let script = "mkdir -p /www/cgi-bin; cd /www; head -c 300000 /dev/zero > big; \
        printf 'Content-Type: text/plain\\r\\n\\r\\n' > head; \
        printf '#!/bin/sh\\ncat /www/head; echo $POD ${REMOTE_ADDR}\\n' > cgi-bin/who; \
        printf '#!/bin/sh\\ncat /www/head; head -c $CONTENT_LENGTH | wc -c\\n' > cgi-bin/count; \
        chmod +x cgi-bin/*; exec httpd -f -p 8080 -h /www";
    for (at, node) in names.iter().enumerate() {
        let name = format!("web-{}", at + 1);
        kubectl.apply(&format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ app: web }} }}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: {TOOLS}
      env: [{{ name: POD, value: {name} }}]
      command: [sh, -c, "{}"]
      readinessProbe: {{ tcpSocket: {{ port: 8080 }}, periodSeconds: 1 }}
      volumeMounts: [{{ name: data, mountPath: /data }}]
  volumes: [{{ name: data, emptyDir: {{}} }}]
"#,
            script.replace('\\', "\\\\")
        ))?;
    }
    kubectl.apply(&format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{ name: web }}
spec:
  type: NodePort
  selector: {{ app: web }}
  ports: [{{ port: 80, targetPort: 8080, nodePort: {NODE_PORT} }}]
"#
    ))?;
    (1..=names.len()).map(|it| ready(kubectl, &format!("web-{it}"))).collect()
}

/// Waits until a pod is ready.
pub fn ready(kubectl: &Kubectl, pod: &str) -> Result<Value> {
    kubectl.until(&["pod", pod], LIMIT, |it| condition(it, "Ready") == Some("True"))
}

/// A pod's address.
pub fn address(pod: &Value) -> Result<&str> {
    pod["status"]["podIP"].as_str().context("a pod that is ready has an address")
}

/// Runs a program of the machine in a pod's network: what is asked for is the way, not the container's tools.
pub fn from(cluster: &Nodes, pod: &Value, words: &[&str]) -> Result<String> {
    let pid = inside::pid(id(pod)?, &agent_dir(cluster, pod))?.to_string();
    let mut command = Command::new(tool::machine("nsenter", "util-linux")?);
    tool::run(command.args(["--target", &pid, "--net", "--"]).args(words))
}

/// Runs a command of the container's own in it.
pub fn within(cluster: &Nodes, pod: &Value, words: &[&str]) -> Result<String> {
    inside::run(id(pod)?, &agent_dir(cluster, pod), words)
}

/// `GET`, from wherever `curl` runs.
pub const CURL: [&str; 5] = ["curl", "--silent", "--show-error", "--max-time", "5"];

/// Asks until everybody of `count` has answered, and gives what they said of who asked.
pub fn everybody(count: usize, mut ask: impl FnMut() -> Result<String>) -> Result<BTreeSet<String>> {
    let (mut pods, mut clients) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..QUESTIONS {
        let text = ask()?;
        let (pod, client) = text.trim().split_once(' ').with_context(|| format!("no answer of ours: {text:?}"))?;
        pods.insert(pod.to_owned());
        clients.insert(plain(client));
        if pods.len() == count {
            return Ok(clients);
        }
    }
    ensure!(pods.len() == count, "only {pods:?} answer");
    Ok(clients)
}

/// Waits until everybody answers at an address of the host's.
pub fn until_everybody(count: usize, at: &str) -> Result<()> {
    let ask = || {
        let answer = orlop_e2e::load::get(at, "/cgi-bin/who", Duration::from_secs(5))?;
        ensure!(answer.code == 200, "{answer:?}");
        Ok(answer.body)
    };
    wait::until(&format!("{at} leads to all pods"), LIMIT, || everybody(count, ask).map(drop))
}

/// An address as busybox writes it: `[::ffff:10.244.0.2]` is 10.244.0.2.
pub fn plain(client: &str) -> String {
    client.trim_matches(['[', ']']).trim_start_matches("::ffff:").to_owned()
}

fn id(pod: &Value) -> Result<&str> {
    pod["status"]["containerStatuses"][0]["containerID"].as_str().context("a pod that is ready has a container")
}

fn agent_dir(cluster: &Nodes, pod: &Value) -> std::path::PathBuf {
    cluster.folder().join("nodes").join(pod["spec"]["nodeName"].as_str().unwrap_or_default())
}
