//! Single files and folders out of a volume: of those filled from the API, over a file that is there already, and of what is not there yet.
//!
//! Stands for "Subpath Atomic writer volumes should support subpaths with secret, configmap, downward and projected pod" and "with configmap pod with
//! mountPath of existing file".

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::Scene;

use super::ways::{manifest, objects};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest(&objects("data", &[("data-1", "value-1"), ("data-2", "value-2")])))?;
    scene.apply(&text())?;
    scene.succeeded("sub-paths")?;
    let shown = scene.logs("sub-paths", &["-c", "reader"])?;
    let expected = "/file value-1\n/etc/resolv.conf value-2\n/folder/data-2 value-2\n/secret secret-value-1\n/name sub-paths\n/projected value-1\n";
    ensure!(shown == expected, "it shows\n{shown}instead of\n{expected}");

    // What is missing is made with the rights of its volume, for whoever runs there.
    let shown = scene.logs("sub-paths", &["-c", "writer"])?;
    ensure!(shown == "777 0 /made\n777 0 /memory\nwritten\nwritten\n", "it shows\n{shown}");
    scene.succeeded("grouped")?;
    let shown = scene.logs("grouped", &[])?;
    ensure!(shown == "2777 1001 /made\n1001 written\n", "with a group it shows\n{shown}");
    Ok(())
}

fn text() -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: sub-paths }}
spec:
  restartPolicy: Never
  volumes:
    - {{ name: config, configMap: {{ name: data }} }}
    - {{ name: mapped, configMap: {{ name: data, items: [{{ key: data-2, path: path/to/data-2 }}] }} }}
    - {{ name: secret, secret: {{ secretName: data }} }}
    - {{ name: fields, downwardAPI: {{ items: [{{ path: downward/name, fieldRef: {{ fieldPath: metadata.name }} }}] }} }}
    - name: projected
      projected: {{ sources: [{{ configMap: {{ name: data, items: [{{ key: data-1, path: projected/data-1 }}] }} }}] }}
    - {{ name: disk, emptyDir: {{}} }}
    - {{ name: memory, emptyDir: {{ medium: Memory }} }}
  containers:
    - name: reader
      image: {TOOLS}
      command:
        - sh
        - -c
        - for it in /file /etc/resolv.conf /folder/data-2 /secret /name /projected; do echo $it $(cat $it); done
      volumeMounts:
        - {{ name: config, mountPath: /file, subPath: data-1 }}
        - {{ name: config, mountPath: /etc/resolv.conf, subPath: data-2 }}
        - {{ name: mapped, mountPath: /folder, subPath: path/to }}
        - {{ name: secret, mountPath: /secret, subPath: data-1 }}
        - {{ name: fields, mountPath: /name, subPath: downward/name }}
        - {{ name: projected, mountPath: /projected, subPath: projected/data-1 }}
    - name: writer
      image: {TOOLS}
      command:
        - sh
        - -c
        - |
          stat -c '%a %g %n' /made /memory
          for it in /made/file /memory/file; do echo written > $it; cat $it; done
      securityContext: {{ runAsUser: 1000 }}
      volumeMounts:
        - {{ name: disk, mountPath: /made, subPath: not/there }}
        - {{ name: memory, mountPath: /memory, subPath: not/there }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: grouped }}
spec:
  restartPolicy: Never
  securityContext: {{ runAsUser: 1000, fsGroup: 1001 }}
  volumes: [{{ name: disk, emptyDir: {{}} }}]
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, "stat -c '%a %g %n' /made; echo written > /made/file; echo $(stat -c %g /made/file) $(cat /made/file)"]
      volumeMounts: [{{ name: disk, mountPath: /made, subPath: not/there }}]
"#
    )
}
