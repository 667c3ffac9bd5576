//! Huge pages: the node tells what its machine has set aside, a pod has its share in a volume, and no more is handed out than there is.

use std::fs;

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::Cluster;
use orlop_e2e::image::TOOLS;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::scene::POD_LIMIT;
use serde_json::Value;

/// Where the kernel is told how many pages of 2 MiB it is to set aside.
const KERNEL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// What it sets aside here, and what that is in the API.
const PAGES: u64 = 8;
const ALL: &str = "16Mi";

/// Pages that this machine sets aside as long as it is held.
pub struct SetAside(String);

impl SetAside {
    /// # Errors
    /// The kernel has not so many in one piece.
    pub fn begin() -> Result<Self> {
        let held = SetAside(read()?);
        fs::write(KERNEL, PAGES.to_string()).with_context(|| format!("writing {KERNEL}"))?;
        ensure!(read()? == PAGES.to_string(), "the kernel has set aside {} pages of {PAGES}", read()?);
        Ok(held)
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = fs::write(KERNEL, &self.0);
    }
}

fn read() -> Result<String> {
    Ok(fs::read_to_string(KERNEL).with_context(|| format!("reading {KERNEL}"))?.trim().to_owned())
}

pub fn play(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl()?;
    let node = &kubectl.items(&["nodes"])?[0];
    for field in ["capacity", "allocatable"] {
        ensure!(node["status"][field]["hugepages-2Mi"] == ALL, "{field} of {node}");
    }
    // A page is taken as soon as a file of the volume has it.
    let script =
        "mount | grep hugetlbfs; fallocate -l 2097152 /huge/one && grep HugePages_Free /proc/meminfo; echo $PAGES";
    kubectl.apply(&pod("user", "4Mi", "HugePages", script))?;
    kubectl.until(&["pod", "user"], POD_LIMIT, |it| it["status"]["phase"] == "Succeeded")?;
    let said = kubectl.run(&["logs", "user"])?;
    let free: u64 =
        said.lines().find_map(|it| it.strip_prefix("HugePages_Free:")).context("free pages")?.trim().parse()?;
    ensure!(said.contains(" on /huge type hugetlbfs ") && said.contains("pagesize=2M"), "{said}");
    ensure!(free < PAGES && said.trim_end().ends_with("\n4"), "{said}");

    // Pods that are over give back what they had; one that has no end keeps it.
    kubectl.apply(&pod("holder", "12Mi", "HugePages-2Mi", "sleep 600"))?;
    kubectl.until(&["pod", "holder"], POD_LIMIT, |it| it["status"]["phase"] == "Running")?;
    kubectl.apply(&pod("late", "6Mi", "HugePages", "true"))?;
    waits(&kubectl, "late")?;
    kubectl.run(&["delete", "pod", "holder", "user", "--wait", "--timeout=60s"])?;
    kubectl.until(&["pod", "late"], POD_LIMIT, |it| it["status"]["phase"] == "Succeeded")?;
    ensure!(!fs::read_to_string("/proc/mounts")?.contains("hugetlbfs /tmp/orlop"), "a volume is still mounted");
    Ok(())
}

fn waits(kubectl: &Kubectl, name: &str) -> Result<()> {
    let refused = |it: &Value| {
        let conditions = it["status"]["conditions"].as_array().into_iter().flatten();
        let messages = conditions.filter(|it| it["type"] == "PodScheduled").filter_map(|it| it["message"].as_str());
        messages.into_iter().any(|it| it.contains("1 Insufficient hugepages-2Mi"))
    };
    kubectl.until(&["pod", name], POD_LIMIT, refused).map(drop)
}

fn pod(name: &str, pages: &str, medium: &str, script: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  tolerations: [{{ operator: Exists }}]
  volumes: [{{ name: huge, emptyDir: {{ medium: {medium} }} }}]
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, '{script}']
      env:
        - {{ name: PAGES, valueFrom: {{ resourceFieldRef: {{ resource: limits.hugepages-2Mi, divisor: 1Mi }} }} }}
      resources: {{ limits: {{ memory: 32Mi, cpu: 100m, hugepages-2Mi: {pages} }} }}
      volumeMounts: [{{ name: huge, mountPath: /huge }}]
"#
    )
}
