//! Volumes: shared folders, the host's, and files out of ConfigMaps and Secrets, which follow them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, expect_words};
use orlop_e2e::{tool, wait};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let host = scene.cluster.folder().join("host-path");
    scene.apply(&manifest(&host))?;
    let pod = scene.ready("volumes")?;
    let inside = |container: &str, command: &str| scene.inside("volumes", container, &["sh", "-c", command]);

    // Two containers, one folder; in memory where asked for.
    wait::until("the reader sees what the writer wrote", POD_LIMIT, || {
        let text = inside("reader", "cat /in/line")?;
        ensure!(text == "from the writer\n", "it is {text:?}");
        Ok(())
    })?;
    let mounts = inside("writer", "cat /proc/mounts")?;
    for folder in ["/mem", "/keys"] {
        let memory = mounts.lines().any(|it| it.contains(&format!(" {folder} tmpfs ")));
        ensure!(memory, "{folder} is not in memory:\n{mounts}");
    }
    let refused = inside("reader", "echo no > /in/line 2>&1");
    ensure!(refused.is_err(), "a read-only mount was written to: {refused:?}");

    // The host's own folder, made where it was missing.
    inside("writer", "echo kept > /host/file")?;
    ensure!(std::fs::read_to_string(host.join("file"))? == "kept\n", "the host sees another file");

    // Files with the names and modes asked for, and no others.
    let files = inside("writer", "cd /config && find -L . -name '..*' -prune -o -type f -print | sort")?;
    ensure!(files == "./a/renamed\n./b\n", "the items are {files:?}");
    let modes = inside("writer", "stat -L -c '%a' /config/a/renamed /config/b /keys/password")?;
    ensure!(modes == "400\n640\n444\n", "the modes are {modes:?}");
    let texts = inside("writer", "cat /config/a/renamed /config/b /keys/password /sub")?;
    ensure!(texts == "first\nsecond\nhush\nfirst\n", "the files say {texts:?}");
    let fields = inside("writer", "cat /fields/labels /fields/name")?;
    ensure!(fields == "tier=\"back\"volumes", "the pod's fields say {fields:?}");

    // Tokens: one for the API, and one for somebody else in particular. Both are the pod's, and good.
    let claims = |path: &str| -> Result<(String, serde_json::Value)> {
        let token = inside("writer", &format!("cat {path}"))?;
        let middle = token.split('.').nth(1).context("a token has three parts")?;
        Ok((token.clone(), serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle)?)?))
    };
    let (token, own) = claims("/var/run/secrets/kubernetes.io/serviceaccount/token")?;
    let subject = format!("system:serviceaccount:{}:default", scene.namespace);
    ensure!(own["sub"] == subject && own["kubernetes.io"]["pod"]["name"] == "volumes", "{own}");
    let (_, other) = claims("/tokens/vault")?;
    ensure!(other["aud"] == serde_json::json!(["vault"]) && other["sub"] == subject, "{other}");
    let life = other["exp"].as_i64().unwrap_or_default() - other["iat"].as_i64().unwrap_or_default();
    ensure!(life == 1200, "it was asked for 1200 s and lives {life} s");
    ensure!(inside("writer", "stat -L -c '%a' /tokens/vault")? == "644\n", "nobody is named whose it is");
    let beside = inside("writer", "cat /tokens/one; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace")?;
    ensure!(beside == format!("first\n{}", scene.namespace), "beside the tokens: {beside:?}");
    let ca = std::fs::read_to_string(scene.cluster.data_dir().join("pki/ca.crt"))?;
    let inside_ca = inside("writer", "cat /var/run/secrets/kubernetes.io/serviceaccount/ca.crt")?;
    ensure!(inside_ca.trim() == ca.trim(), "the CA is another");
    let asked = tool::run(
        std::process::Command::new(tool::machine("curl", "curl")?)
            .args(["-sS", "-H", &format!("Authorization: Bearer {token}"), "--cacert"])
            .arg(scene.cluster.data_dir().join("pki/ca.crt"))
            .arg(format!("{}/api/v1/nodes", scene.cluster.url())),
    )?;
    // Known, and not allowed that: who is not known reads `Unauthorized`.
    expect_words(&asked, &[&format!("User \\\"{subject}\\\" cannot list resource")])?;

    // They follow the API, under the eyes of a container that runs; a subPath stays as it was.
    scene.run(&["patch", "configmap", "files", "-p", r#"{"data": {"one": "changed\n"}}"#])?;
    scene.run(&["patch", "secret", "keys", "-p", r#"{"stringData": {"password": "loud\n"}}"#])?;
    scene.run(&["label", "pod", "volumes", "tier=front", "--overwrite"])?;
    wait::until("the files follow", POD_LIMIT, || {
        let texts = inside("writer", "cat /config/a/renamed /config/b /keys/password /sub /fields/labels")?;
        ensure!(texts == "changed\nsecond\nloud\nfirst\ntier=\"front\"", "they say {texts:?}");
        Ok(())
    })?;
    let restarts = &scene.pod("volumes")?["status"]["containerStatuses"];
    ensure!(restarts.as_array().is_some_and(|it| it.iter().all(|it| it["restartCount"] == 0)), "{restarts}");

    // A container's end does not empty its pod's folder; the pod's end takes it, and leaves the host's.
    inside("writer", "kill 1")?;
    scene.until("volumes", "has its writer back", |it| {
        orlop_e2e::scene::container(it, "writer")["restartCount"] == 1
            && orlop_e2e::scene::container(it, "writer")["ready"] == true
    })?;
    wait::until("the folder has what it had, and more", POD_LIMIT, || {
        let text = inside("reader", "cat /in/line")?;
        ensure!(text == "from the writer\nfrom the writer\n", "it has {text:?}");
        Ok(())
    })?;
    let uid = pod["metadata"]["uid"].as_str().context("a pod has a uid")?;
    let folder = scene.agent_dir(&pod).join("pods").join(uid);
    ensure!(folder.is_dir(), "{} should be the pod's", folder.display());
    scene.run(&["delete", "pod", "volumes", "--grace-period=1"])?;
    ensure!(!folder.exists(), "{} was left behind", folder.display());
    ensure!(host.join("file").is_file(), "the host's file went with the pod");
    Ok(())
}

fn manifest(host: &Path) -> String {
    let host = host.display();
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{ name: files }}
data: {{ one: "first\n", two: "second\n", three: "third\n" }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: keys }}
stringData: {{ password: "hush\n" }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: volumes, labels: {{ tier: back }} }}
spec:
  volumes:
    - {{ name: shared, emptyDir: {{}} }}
    - {{ name: memory, emptyDir: {{ medium: Memory, sizeLimit: 1Mi }} }}
    - {{ name: host, hostPath: {{ path: {host}, type: DirectoryOrCreate }} }}
    - name: config
      configMap:
        name: files
        defaultMode: 0640
        items:
          - {{ key: one, path: a/renamed, mode: 0400 }}
          - {{ key: two, path: b }}
    - {{ name: keys, secret: {{ secretName: keys, defaultMode: 0444 }} }}
    - {{ name: whole, configMap: {{ name: files }} }}
    - name: tokens
      projected:
        sources:
          - serviceAccountToken: {{ path: vault, audience: vault, expirationSeconds: 1200 }}
          - configMap: {{ name: files, items: [{{ key: one, path: one }}] }}
    - name: access
      projected:
        sources:
          - serviceAccountToken: {{ path: token, expirationSeconds: 3607 }}
          - configMap: {{ name: kube-root-ca.crt, items: [{{ key: ca.crt, path: ca.crt }}] }}
          - downwardAPI: {{ items: [{{ path: namespace, fieldRef: {{ apiVersion: v1, fieldPath: metadata.namespace }} }}] }}
    - name: fields
      downwardAPI:
        items:
          - {{ path: labels, fieldRef: {{ fieldPath: metadata.labels }} }}
          - {{ path: name, fieldRef: {{ fieldPath: metadata.name }} }}
  containers:
    - name: writer
      image: {TOOLS}
      command: [sh, -c, "trap 'exit 0' TERM; echo from the writer >> /out/line; while true; do sleep 0.2; done"]
      volumeMounts:
        - {{ name: shared, mountPath: /out }}
        - {{ name: memory, mountPath: /mem }}
        - {{ name: host, mountPath: /host }}
        - {{ name: config, mountPath: /config }}
        - {{ name: keys, mountPath: /keys }}
        - {{ name: whole, mountPath: /sub, subPath: one }}
        - {{ name: fields, mountPath: /fields }}
        - {{ name: tokens, mountPath: /tokens }}
        - {{ name: access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true }}
    - name: reader
      image: {TOOLS}
      command: [sleep, "600"]
      volumeMounts:
        - {{ name: shared, mountPath: /in, readOnly: true }}
"#
    )
}
