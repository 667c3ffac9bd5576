//! hostPath: the node's folder with its own mode, read and written, as a whole and below.
//!
//! Stands for "HostPath should support r/w", "should support subPath" and "should give a volume the correct mode".

use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::Scene;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let host = scene.cluster.folder().join("host-paths");
    std::fs::create_dir_all(host.join("below"))?;
    std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o1777))?;
    std::fs::write(host.join("below/told"), "by the host\n")?;
    scene.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: host }}
spec:
  restartPolicy: Never
  volumes: [{{ name: host, hostPath: {{ path: {} }} }}]
  containers:
    - name: main
      image: {TOOLS}
      command:
        - sh
        - -c
        - |
          stat -c %A /whole
          cat /below/told
          echo by the pod > /below/told
          cat /whole/below/told
          echo new > /new/file
          stat -c %A /new
      volumeMounts:
        - {{ name: host, mountPath: /whole }}
        - {{ name: host, mountPath: /below, subPath: below }}
        - {{ name: host, mountPath: /new, subPath: made/new }}
"#,
        host.display()
    ))?;
    scene.succeeded("host")?;
    let shown = scene.logs("host", &[])?;
    ensure!(shown == "drwxrwxrwt\nby the host\nby the pod\ndrwxrwxrwt\n", "it shows\n{shown}");
    for (path, expected) in [("below/told", "by the pod\n"), ("made/new/file", "new\n")] {
        let text = std::fs::read_to_string(host.join(path))?;
        ensure!(text == expected, "the host's {path} says {text:?}");
    }
    Ok(())
}
