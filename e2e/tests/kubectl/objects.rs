//! Objects by the commands that make, change and take them away one by one.

use anyhow::{Result, ensure};
use orlop_e2e::case::Case;
use orlop_e2e::expect;

use super::{ROLL_LIMIT, WEB};

pub fn objects(it: &Case) -> Result<()> {
    it.prints("create configmap a --from-literal=k=1 --from-literal=l=2", "configmap/a created")?;
    it.prints("label configmap a tier=back", "configmap/a labeled")?;
    it.prints("label configmap a tier=back", "configmap/a not labeled")?;
    it.refused(
        "label configmap a tier=front",
        "",
        "error: 'tier' already has a value (back), and --overwrite is false",
    )?;
    it.prints("label configmap a tier=front --overwrite", "configmap/a labeled")?;
    // 1.27 says "annotate" itself.
    it.prints("annotate configmap a note=x", "configmap/a annotate*")?;
    it.prints("get configmap a --show-labels", "NAME DATA AGE LABELS\na 2 * tier=front")?;
    it.prints("label configmap a tier-", "configmap/a unlabeled")?;
    it.prints("get configmap a -o name", "configmap/a")?;
    it.refused("create configmap a", "", "error: failed to create configmap: configmaps \"a\" already exists")?;
    it.refused("get configmap none", "", "Error from server (NotFound): configmaps \"none\" not found")?;
    it.refused("get nothings", "", "error: the server doesn't have a resource type \"nothings\"")?;
    it.prints("delete configmap a", "configmap \"a\" deleted*")?;
    it.refused("delete configmap a", "", "Error from server (NotFound): configmaps \"a\" not found")
}

pub fn simple_kinds(it: &Case) -> Result<()> {
    it.prints("create deployment d --image=registry.local/d:1 --replicas=1", "deployment.apps/d created")?;
    it.prints("create secret generic s --from-literal=p=q", "secret/s created")?;
    it.prints("get secret s", "NAME TYPE DATA AGE\ns Opaque 1 *")?;
    it.prints("create service clusterip c --tcp=80:8080", "service/c created")?;
    it.prints("get service c", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE\nc ClusterIP 10.96.* <none> 80/TCP *")?;
    it.prints("create service nodeport n --tcp=80", "service/n created")?;
    it.prints("get service n --no-headers", "n NodePort 10.96.* <none> 80:3*/TCP *")?;
    it.prints("create serviceaccount bot", "serviceaccount/bot created")?;
    ensure!(it.run("create token bot")?.trim().split('.').count() == 3, "a token has three parts");
    it.prints("create role r --verb=get,list --resource=pods", "role.rbac.authorization.k8s.io/r created")?;
    it.prints(
        &format!("create rolebinding b --role=r --serviceaccount={}:bot", it.namespace),
        "rolebinding.rbac.authorization.k8s.io/b created",
    )?;
    it.prints("get rolebinding b", "NAME ROLE AGE\nb Role/r *")?;
    it.prints(&format!("auth can-i list pods --as=system:serviceaccount:{}:bot", it.namespace), "yes")?;
    it.prints(
        &format!("create clusterrole {}-r --verb=get --resource=nodes", it.namespace),
        "clusterrole.rbac.authorization.k8s.io/* created",
    )?;
    it.prints("expose deployment d --port=80 --target-port=8080", "service/d exposed")?;
    it.prints("get service d -o jsonpath={.spec.selector}", "{\"app\":\"d\"}")?;
    it.comes_to("get endpoints d --no-headers", "d *:8080 *")?;
    it.comes_to("get endpointslices -l kubernetes.io/service-name=d --no-headers", "d-* IPv4 8080 * *")?;
    it.prints("run one --image=registry.local/one:1 --restart=Never", "pod/one created")?;
    it.comes_to("get pod one --no-headers", "one 1/1 Running 0 *")?;
    it.prints("create configmap dry --dry-run=server", "configmap/dry created (server dry run)")?;
    it.refused("get configmap dry", "", "Error from server (NotFound): configmaps \"dry\" not found")?;
    it.refused("create secret generic Bad_Name", "", "error: failed to create secret Secret \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of*")
}

pub fn edit(it: &Case) -> Result<()> {
    it.run("create configmap e --from-literal=k=old")?;
    let edit = |script: &str| -> Result<String> {
        let mut command = it.kubectl.command(&it.arguments("edit configmap e"));
        let output = command.env("KUBE_EDITOR", format!("sed -i {script}")).output()?;
        ensure!(output.status.success(), "edit {script}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    expect::check("configmap/e edited", &edit("s/old/new/")?)?;
    it.prints("get configmap e -o jsonpath={.data.k}", "new")?;
    expect::check("Edit cancelled, no changes made.", &edit("s/absent/new/")?)
        .or_else(|_| edit("s/absent/new/").map(drop))
}

pub fn deletion(it: &Case) -> Result<()> {
    it.run_with("create -f -", WEB)?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.prints("delete deployment web --cascade=foreground --timeout=100s", "deployment.apps \"web\" deleted*")?;
    it.prints("get rs,pods", "")?;
    it.run_with("create -f -", WEB)?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.prints("delete deployment web --cascade=orphan", "deployment.apps \"web\" deleted*")?;
    it.prints("get rs --no-headers", "web-* 2 2 2 *")?;
    it.prints("get rs -o jsonpath={.items[0].metadata.ownerReferences}", "")?;
    // A Deployment of the same selector adopts what was left.
    it.run_with("create -f -", WEB)?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.prints("get rs --no-headers", "web-* 2 2 2 *")?;
    it.run("create configmap one")?;
    it.run("label cm one x=y")?;
    it.prints("delete cm -l x=y", "configmap \"one\" deleted*")?;
    it.prints(
        "delete pods --all --wait --grace-period=0 --force",
        "pod \"web-*\" force deleted*\npod \"web-*\" force deleted*",
    )?;
    it.prints("delete cm none --ignore-not-found", "")?;
    // A namespace takes everything with it.
    it.prints(&format!("delete namespace {} --timeout=100s", it.namespace), "namespace \"*\" deleted*")?;
    it.refused(
        &format!("get namespace {}", it.namespace),
        "",
        "Error from server (NotFound): namespaces \"*\" not found",
    )
}
