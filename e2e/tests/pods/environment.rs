//! Environment from literals, ConfigMaps, Secrets, the pod's own fields and resources, and what is missing.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, address, container, expect_words};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{ name: settings }}
data: {{ color: blue, shape: round }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: keys }}
stringData: {{ password: "hush, hush" }}
---
apiVersion: v1
kind: Pod
metadata:
  name: env
  labels: {{ tier: "front" }}
  annotations: {{ note: "as said" }}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, 'env | sort; echo "argument $0"; echo "and $1"', $(COLOR)/$(UNKNOWN)/$$(COLOR)]
      args: ["$(LATER)/$(POD)"]
      resources:
        requests: {{ cpu: 20m, memory: 16Mi }}
        limits: {{ cpu: 1500m, memory: 64Mi }}
      envFrom:
        - configMapRef: {{ name: settings }}
          prefix: CFG_
        - secretRef: {{ name: keys }}
        - configMapRef: {{ name: absent, optional: true }}
      env:
        - {{ name: COLOR, valueFrom: {{ configMapKeyRef: {{ name: settings, key: color }} }} }}
        - {{ name: PASSWORD, valueFrom: {{ secretKeyRef: {{ name: keys, key: password }} }} }}
        - {{ name: OPTIONAL, valueFrom: {{ secretKeyRef: {{ name: keys, key: absent, optional: true }} }} }}
        - {{ name: EXPANDED, value: "$(COLOR)ish $$(COLOR) $(LATER)" }}
        - {{ name: LATER, value: later }}
        - {{ name: POD, valueFrom: {{ fieldRef: {{ fieldPath: metadata.name }} }} }}
        - {{ name: NAMESPACE, valueFrom: {{ fieldRef: {{ fieldPath: metadata.namespace }} }} }}
        - {{ name: TIER, valueFrom: {{ fieldRef: {{ fieldPath: "metadata.labels['tier']" }} }} }}
        - {{ name: NOTE, valueFrom: {{ fieldRef: {{ fieldPath: "metadata.annotations['note']" }} }} }}
        - {{ name: UID_, valueFrom: {{ fieldRef: {{ fieldPath: metadata.uid }} }} }}
        - {{ name: NODE, valueFrom: {{ fieldRef: {{ fieldPath: spec.nodeName }} }} }}
        - {{ name: ACCOUNT, valueFrom: {{ fieldRef: {{ fieldPath: spec.serviceAccountName }} }} }}
        - {{ name: POD_IP, valueFrom: {{ fieldRef: {{ fieldPath: status.podIP }} }} }}
        - {{ name: HOST_IP, valueFrom: {{ fieldRef: {{ fieldPath: status.hostIP }} }} }}
        - {{ name: CPUS, valueFrom: {{ resourceFieldRef: {{ resource: limits.cpu }} }} }}
        - {{ name: MILLIS, valueFrom: {{ resourceFieldRef: {{ resource: requests.cpu, divisor: 1m }} }} }}
        - {{ name: MEGS, valueFrom: {{ resourceFieldRef: {{ resource: limits.memory, divisor: 1Mi }} }} }}
        - {{ name: BYTES, valueFrom: {{ resourceFieldRef: {{ resource: requests.memory }} }} }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: lacking }}
spec:
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, 'echo "$SIZE"; sleep 600']
      env:
        - {{ name: SIZE, valueFrom: {{ configMapKeyRef: {{ name: settings, key: size }} }} }}
"#
    ))?;
    let pod = scene.succeeded("env")?;
    let text = scene.logs("env", &[])?;
    let lines: Vec<&str> = text.lines().collect();
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let (uid, ip) = (pod["metadata"]["uid"].as_str().unwrap_or_default(), address(&pod)?);
    let host = pod["status"]["hostIP"].as_str().unwrap_or_default();
    let expected = [
        "CFG_color=blue",
        "CFG_shape=round",
        "password=hush, hush",
        "COLOR=blue",
        "PASSWORD=hush, hush",
        "EXPANDED=blueish $(COLOR) $(LATER)",
        "POD=env",
        "HOSTNAME=env",
        &format!("NAMESPACE={}", scene.namespace),
        "TIER=front",
        "NOTE=as said",
        &format!("UID_={uid}"),
        &format!("NODE={node}"),
        "ACCOUNT=default",
        &format!("POD_IP={ip}"),
        &format!("HOST_IP={host}"),
        "CPUS=2",
        "MILLIS=20",
        "MEGS=64",
        "BYTES=16777216",
        "argument blue/$(UNKNOWN)/$(COLOR)",
        "and later/env",
    ];
    for it in expected {
        ensure!(lines.contains(&it), "{it} is not in the container's environment:\n{text}");
    }
    ensure!(!text.contains("OPTIONAL="), "what is optional and absent is not set:\n{text}");

    // What is required and absent holds the container up, in words, until it is there.
    let pod = scene.until("lacking", "says what is missing", |it| {
        container(it, "main")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    })?;
    let message = container(&pod, "main")["state"]["waiting"]["message"].as_str().unwrap_or_default().to_owned();
    expect_words(&message, &[&format!("couldn't find key size in ConfigMap {}/settings", scene.namespace)])?;
    expect_words(&scene.run(&["get", "pod", "lacking"])?, &["CreateContainerConfigError"])?;
    scene.run(&["patch", "configmap", "settings", "-p", r#"{"data": {"size": "large"}}"#])?;
    scene.ready("lacking")?;
    let said = || expect_words(&scene.logs("lacking", &[])?, &["large"]);
    orlop_e2e::wait::until("the value is printed", orlop_e2e::scene::POD_LIMIT, said)
}
