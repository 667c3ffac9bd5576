//! The pod's own fields and resources as files, by themselves, projected, and beside a ConfigMap and a Secret.
//!
//! Stands for "Downward API volume" and "Projected downwardAPI" (eleven tests each), "Projected combined should project all components", and, of
//! the environment, "Downward API should provide default limits.cpu/memory from node allocatable".

use anyhow::{Context, Result, ensure};
use orlop_api::quantity::Quantity;
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene};
use orlop_e2e::wait;
use serde_json::Value;

use super::ways::{manifest, objects};

/// The volumes of fields: from a `downwardAPI` volume, and from a projected one.
const VOLUMES: [&str; 2] = ["own", "projected"];

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest(&objects("data", &[("data-1", "value-1")])))?;
    // Not applied, which would annotate it.
    scene.kubectl.run_with(&["-n", &scene.namespace, "create", "-f", "-"], &text())?;
    let pod = scene.ready("fields")?;
    let inside = |container: &str, command: &str| scene.inside("fields", container, &["sh", "-c", command]);

    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let node = scene.api.get(&format!("/api/v1/nodes/{node}"))?;
    let [cpu, memory] = ["cpu", "memory"].map(|it| allocatable(&node, it));
    let (cpu, memory) = (cpu?, memory?);
    for volume in VOLUMES {
        let show = format!("cd /{volume}; for it in *; do echo \"$it $(stat -L -c %a $it) $(cat $it)\"; done");
        let shown = inside("main", &show)?;
        let expected = [
            ("annotations", "builder=\"bar\"\ngoes=\"soon\""),
            ("cpu-limit", "2"),
            ("cpu-request", "1"),
            ("free-cpu", &cpu),
            ("free-memory", &memory),
            ("labels", "key1=\"value1\"\nkey2=\"value2\""),
            ("memory-limit", "67108864"),
            ("memory-request", "33554432"),
            ("millis", "250"),
            ("name", "fields"),
            ("strict-name", "fields"),
        ];
        let mode = |name: &str| if name == "strict-name" { 400 } else { 644 };
        let lines = expected.iter().map(|(name, text)| format!("{name} {} {text}\n", mode(name)));
        let expected: String = lines.collect();
        ensure!(shown == expected, "in {volume} is\n{shown}instead of\n{expected}");
        let shown = inside("main", &format!("stat -L -c %a /strict-{volume}/name; cat /strict-{volume}/name"))?;
        ensure!(shown == "400\nfields", "with a default mode: {shown:?}");
    }
    let shown = inside("main", "cd /combined; for it in $(ls); do echo $it $(cat $it); done")?;
    let expected = "config value-1\ncpu-limit 2\ncpu-request 1\nmemory-limit 67108864\nmemory-request 33554432\nname fields\n\
                    secret secret-value-1\n";
    ensure!(shown == expected, "combined: {shown:?}");
    let shown = inside("free", "tr '\\0' '\\n' < /proc/1/environ | grep ^FREE_ | sort")?;
    let expected = format!("FREE_CPU={cpu}\nFREE_MEMORY={memory}\nFREE_OTHER=33554432\n");
    ensure!(shown == expected, "its environment says {shown:?}");

    scene.run(&["label", "pod", "fields", "key3=value3"])?;
    scene.run(&["annotate", "pod", "fields", "builder=foo", "goes-", "quoted=a \"b\"\\\té", "--overwrite"])?;
    let labels = "key1=\"value1\"\nkey2=\"value2\"\nkey3=\"value3\"";
    let expected = format!("builder=\"foo\"\nquoted=\"a \\\"b\\\"\\\\\\té\"\n{labels}\n");
    wait::until("labels and annotations follow", POD_LIMIT, || {
        for it in VOLUMES {
            let shown = inside("main", &format!("cat /{it}/annotations; echo; cat /{it}/labels; echo"))?;
            ensure!(shown == expected, "in {it} is\n{shown}instead of\n{expected}");
        }
        Ok(())
    })
}

/// What the node has for pods, in whole units: what stands for the limit of a container without one.
fn allocatable(node: &Value, resource: &str) -> Result<String> {
    let text = node["status"]["allocatable"][resource].as_str().context("a node says what it has for pods")?;
    Ok(Quantity::parse(text)?.value_ceil().to_string())
}

fn text() -> String {
    let field =
        |path: &str, field: &str, more: &str| format!("{{ path: {path}, {more}fieldRef: {{ fieldPath: {field} }} }}");
    let of = |container: &str, path: &str, what: &str, more: &str| {
        format!("{{ path: {path}, resourceFieldRef: {{ containerName: {container}, resource: {what}{more} }} }}")
    };
    let name = field("name", "metadata.name", "");
    let amounts = [
        of("main", "cpu-limit", "limits.cpu", ""),
        of("main", "cpu-request", "requests.cpu", ""),
        of("main", "memory-limit", "limits.memory", ""),
        of("main", "memory-request", "requests.memory", ""),
    ]
    .join(", ");
    let items = [
        &name,
        &amounts,
        &field("strict-name", "metadata.name", "mode: 0400, "),
        &field("labels", "metadata.labels", ""),
        &field("annotations", "metadata.annotations", ""),
        &of("main", "millis", "requests.cpu", ", divisor: 1m"),
        &of("free", "free-cpu", "limits.cpu", ""),
        &of("free", "free-memory", "limits.memory", ""),
    ]
    .map(String::as_str)
    .join(", ");
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: fields
  labels: {{ key1: value1, key2: value2 }}
  annotations: {{ builder: bar, goes: soon }}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
    - {{ name: own, downwardAPI: {{ items: [{items}] }} }}
    - {{ name: projected, projected: {{ sources: [{{ downwardAPI: {{ items: [{items}] }} }}] }} }}
    - {{ name: strict-own, downwardAPI: {{ defaultMode: 0400, items: [{name}] }} }}
    - {{ name: strict-projected, projected: {{ defaultMode: 0400, sources: [{{ downwardAPI: {{ items: [{name}] }} }}] }} }}
    - name: combined
      projected:
        sources:
          - configMap: {{ name: data, items: [{{ key: data-1, path: config }}] }}
          - secret: {{ name: data, items: [{{ key: data-1, path: secret }}] }}
          - downwardAPI: {{ items: [{name}, {amounts}] }}
  containers:
    - name: main
      image: {TOOLS}
      command: [sleep, "600"]
      resources:
        requests: {{ cpu: 250m, memory: 32Mi }}
        limits: {{ cpu: 1250m, memory: 64Mi }}
      volumeMounts:
        - {{ name: own, mountPath: /own }}
        - {{ name: projected, mountPath: /projected }}
        - {{ name: strict-own, mountPath: /strict-own }}
        - {{ name: strict-projected, mountPath: /strict-projected }}
        - {{ name: combined, mountPath: /combined }}
    - name: free
      image: {TOOLS}
      command: [sleep, "600"]
      env:
        - {{ name: FREE_CPU, valueFrom: {{ resourceFieldRef: {{ resource: limits.cpu }} }} }}
        - {{ name: FREE_MEMORY, valueFrom: {{ resourceFieldRef: {{ resource: limits.memory }} }} }}
        - {{ name: FREE_OTHER, valueFrom: {{ resourceFieldRef: {{ containerName: main, resource: requests.memory }} }} }}
"#
    )
}
