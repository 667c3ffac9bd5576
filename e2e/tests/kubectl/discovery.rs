//! What the server offers: kinds, versions, the meaning of fields, and what one may do.

use anyhow::{Result, ensure};
use orlop_e2e::case::Case;
use orlop_e2e::expect;

pub fn discovery(it: &Case) -> Result<()> {
    let resources = it.run("api-resources")?;
    for line in [
        "NAME SHORTNAMES APIVERSION NAMESPACED KIND",
        "configmaps cm v1 true ConfigMap",
        "endpoints ep v1 true Endpoints",
        "namespaces ns v1 false Namespace",
        "nodes no v1 false Node",
        "pods po v1 true Pod",
        "serviceaccounts sa v1 true ServiceAccount",
        "services svc v1 true Service",
        "deployments deploy apps/v1 true Deployment",
        "replicasets rs apps/v1 true ReplicaSet",
        "leases coordination.k8s.io/v1 true Lease",
        "endpointslices discovery.k8s.io/v1 true EndpointSlice",
        "events ev events.k8s.io/v1 true Event",
        "clusterroles rbac.authorization.k8s.io/v1 false ClusterRole",
    ] {
        expect::check(&format!("...\n{line}\n..."), &resources)?;
    }
    it.prints(
        "api-resources --namespaced=false --api-group= -o name --no-headers",
        "componentstatuses\nnamespaces\nnodes\npersistentvolumes",
    )?;
    let versions = it.run("api-versions")?;
    for version in [
        "apps/v1",
        "coordination.k8s.io/v1",
        "discovery.k8s.io/v1",
        "events.k8s.io/v1",
        "rbac.authorization.k8s.io/v1",
        "v1",
    ] {
        ensure!(versions.lines().any(|it| it == version), "{version} is not in {versions}");
    }
    let version = it.run("version -o yaml")?;
    ensure!(version.contains("serverVersion:") && version.contains("gitVersion: v1.35"), "{version}");
    ensure!(it.run("cluster-info")?.contains("Kubernetes control plane"), "cluster-info");
    it.prints("auth can-i create pods", "yes")?;
    it.prints("auth can-i create pods --as=nobody", "no").or_else(|_| {
        // Older versions say "no" and end with 1.
        let output = it.kubectl.output(&it.arguments("auth can-i create pods --as=nobody"), "")?;
        ensure!(output.stdout.trim() == "no" && output.code == 1, "{output:?}");
        Ok(())
    })?;
    Ok(())
}

pub fn explain(it: &Case) -> Result<()> {
    expect::check("...\nKIND: Deployment\nVERSION: v1\n...", &it.run("explain deployment")?).or_else(|_| {
        expect::check("GROUP: apps\nKIND: Deployment\nVERSION: v1\n...", &it.run("explain deployment")?)
    })?;
    let recursive = it.run("explain deployment --recursive")?;
    for field in ["progressDeadlineSeconds", "imagePullPolicy", "matchExpressions"] {
        ensure!(recursive.contains(field), "explain --recursive lacks {field}");
    }
    let field = it.run("explain pod.spec.containers.image")?;
    expect::check("...\nKIND: Pod\nVERSION: v1\n...\nFIELD: image <string>\n...", &field)?;
    ensure!(field.contains("Container image name"), "{field}");
    ensure!(it.run("explain cm.data")?.contains("<map[string]string>"), "explain cm.data");
    it.refused("explain pod.spec.none", "", "error: field \"none\" does not exist")
}
