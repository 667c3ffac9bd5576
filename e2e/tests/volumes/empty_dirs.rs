//! emptyDir on the disk and in memory: what the volume is, and files of three modes in it, written by root and by another user.
//!
//! Stands for "EmptyDir volumes should support (root|non-root,0644|0666|0777,default|tmpfs)", which are twelve tests, and "volume on default
//! medium" and "volume on tmpfs should have the correct mode".

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::Scene;

/// Where the two volumes are.
const MEDIA: [&str; 2] = ["/disk", "/memory"];

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest())?;
    scene.succeeded("empty")?;
    let shown = ["root", "user", "other"].map(|it| scene.logs("empty", &["-c", it]));
    let [root, user, other] = shown;
    for (whose, text, id) in [("root", root?, 0), ("user", user?, 1001)] {
        let mut expected = String::new();
        for medium in MEDIA {
            expected += &format!("drwxrwxrwx {medium}\n");
            for (mode, shown) in [("0644", "-rw-r--r--"), ("0666", "-rw-rw-rw-"), ("0777", "-rwxrwxrwx")] {
                let path = format!("{medium}/{whose}-{mode}");
                expected += &format!("{shown} {id} {path}\nmount-tester new file\n");
            }
        }
        ensure!(text == expected, "{whose} shows\n{text}instead of\n{expected}");
    }
    // The same files for somebody else: read by all, written by those who may.
    let written = "mount-tester new file\nmore\n";
    let mut expected = String::new();
    for medium in MEDIA {
        let kind = if medium == "/memory" { "in memory" } else { "on disk" };
        let closed = format!("can't create {medium}/user-0644: Permission denied\nmount-tester new file\n");
        expected += &format!("{medium} {kind}\n{closed}{written}{written}");
    }
    let other = other?.replace("sh: ", "");
    ensure!(other == expected, "another user shows\n{other}instead of\n{expected}");
    Ok(())
}

fn manifest() -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: empty }}
spec:
  restartPolicy: Never
  volumes:
    - {{ name: disk, emptyDir: {{}} }}
    - {{ name: memory, emptyDir: {{ medium: Memory }} }}
  initContainers:
    - name: root
      image: {TOOLS}
      command: &write
        - sh
        - -c
        - |
          for medium in /disk /memory; do
            stat -c '%A %n' $medium
            for mode in 0644 0666 0777; do
              it=$medium/$WHO-$mode
              echo mount-tester new file > $it
              chmod $mode $it
              stat -c '%A %u %n' $it
              cat $it
            done
          done
      env: [{{ name: WHO, value: root }}]
      volumeMounts: &mounts
        - {{ name: disk, mountPath: /disk }}
        - {{ name: memory, mountPath: /memory }}
    - name: user
      image: {TOOLS}
      command: *write
      env: [{{ name: WHO, value: user }}]
      securityContext: {{ runAsUser: 1001 }}
      volumeMounts: *mounts
  containers:
    - name: other
      image: {TOOLS}
      command:
        - sh
        - -c
        - |
          for medium in /disk /memory; do
            [ $(stat -f -c %T $medium) = tmpfs ] && echo $medium in memory || echo $medium on disk
            for mode in 0644 0666 0777; do
              (echo more >> $medium/user-$mode) 2>&1
              cat $medium/user-$mode
            done
          done
      securityContext: {{ runAsUser: 1002 }}
      volumeMounts: *mounts
"#
    )
}
