//! The manifests of the scenarios, in parts.

use orlop_e2e::image::TOOLS;

/// A claim for a class; `spec` is further lines of its spec.
pub fn claim(name: &str, class: &str, size: &str, spec: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{ name: {name} }}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: {class:?}
  resources: {{ requests: {{ storage: {size} }} }}
{spec}
"#
    )
}

/// A pod that has a claim at `/data` and waits; `spec` is further lines of its spec.
pub fn pod(name: &str, claim: &str, spec: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{ name: data, persistentVolumeClaim: {{ claimName: {claim} }} }}]
  containers:
    - name: main
      image: {TOOLS}
      command: [sleep, "3600"]
      volumeMounts: [{{ name: data, mountPath: /data }}]
{spec}
"#
    )
}

/// A volume made by hand, out of a folder of this machine; `spec` is further lines of its spec.
pub fn volume(name: &str, class: &str, size: &str, spec: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: PersistentVolume
metadata: {{ name: {name} }}
spec:
  capacity: {{ storage: {size} }}
  accessModes: [ReadWriteOnce]
  storageClassName: {class:?}
{spec}
"#
    )
}
