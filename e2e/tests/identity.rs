//! Who one is, with the real kubectl: tokens, certificates that are asked for and approved, what one may do, and a drain that respects a budget.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::wait;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

/// How long a controller may take while both cores are busy.
const LIMIT: Duration = Duration::from_secs(60);
const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: registry.local/web:1}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guard}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: web}}
"#;

/// A kubectl whose kubeconfig knows the cluster and these credentials, and nothing else.
fn as_somebody(cluster: &Cluster, name: &str, credentials: &[&str]) -> Result<Kubectl> {
    let path: PathBuf = cluster.folder().join(name).join("kubeconfig");
    std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    let kubectl = Kubectl::with_program(cluster.kubectl()?.program().to_owned(), &path)?;
    let authority = cluster.data_dir().join("pki/ca.crt");
    let authority = authority.to_str().context("a path of text")?;
    kubectl.run(&["config", "set-cluster", "c", "--server", &cluster.url(), "--certificate-authority", authority])?;
    kubectl.run(&[&["config", "set-credentials", "u"], credentials].concat())?;
    kubectl.run(&["config", "set-context", "x", "--cluster", "c", "--user", "u"])?;
    kubectl.run(&["config", "use-context", "x"])?;
    Ok(kubectl)
}

fn subject(user: &str, group: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.distinguished_name.push(DnType::CommonName, user);
    params
}

/// The manifest of a certificate request, and the file with its key.
fn request(folder: &Path, name: &str) -> Result<(String, PathBuf)> {
    let key = KeyPair::generate()?;
    let path = folder.join(format!("{name}.key"));
    std::fs::write(&path, key.serialize_pem())?;
    let pem = subject(name, "dev").serialize_request(&key)?.pem()?;
    let manifest = format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\nspec:\n  \
         signerName: kubernetes.io/kube-apiserver-client\n  expirationSeconds: 3600\n  usages: [client auth]\n  request: {}\n",
        STANDARD.encode(pem)
    );
    Ok((manifest, path))
}

fn says(text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "it should say {part:?}:\n{text}");
    Ok(())
}

fn tokens(cluster: &Cluster, admin: &Kubectl) -> Result<()> {
    admin.run(&["create", "serviceaccount", "bot"])?;
    let token = admin.run(&["create", "token", "bot", "--duration", "10m"])?;
    let bot = as_somebody(cluster, "bot", &["--token", token.trim()])?;
    let who = bot.run(&["auth", "whoami"])?;
    says(&who, "system:serviceaccount:default:bot")?;
    says(&who, "system:serviceaccounts:default")?;
    says(
        &bot.fails(&["get", "pods"], "")?,
        "cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
    )?;
    let keys = bot.run(&["get", "--raw", "/openid/v1/jwks"])?;
    says(&keys, "\"alg\":\"ES256\"")?;
    let other = admin.run(&["create", "token", "bot", "--audience", "vault"])?;
    let other = as_somebody(cluster, "other", &["--token", other.trim()])?;
    says(&other.fails(&["get", "pods"], "")?, "the server has asked for the client to provide credentials")?;
    let short = admin.fails(&["create", "token", "bot", "--duration", "1m"], "")?;
    says(&short, "may not specify a duration less than 10 minutes")
}

fn certificates(cluster: &Cluster, admin: &Kubectl) -> Result<()> {
    let (manifest, key) = request(cluster.folder(), "ann")?;
    admin.run_with(&["apply", "-f", "-"], &manifest)?;
    let row = admin.run(&["get", "csr", "ann"])?;
    says(&row, "kubernetes.io/kube-apiserver-client")?;
    says(&row, "Pending")?;
    says(
        &admin.run(&["certificate", "approve", "ann"])?,
        "certificatesigningrequest.certificates.k8s.io/ann approved",
    )?;
    let certificate = wait::until("the certificate is there", LIMIT, || {
        let text = admin.run(&["get", "csr", "ann", "-o", "jsonpath={.status.certificate}"])?;
        ensure!(!text.is_empty(), "there is none");
        Ok(STANDARD.decode(text.trim())?)
    })?;
    says(&admin.run(&["get", "csr", "ann"])?, "Approved,Issued")?;
    let path = cluster.folder().join("ann.crt");
    std::fs::write(&path, certificate)?;
    let file = |path: &Path| path.to_str().map(str::to_owned).context("a path of text");
    let ann = as_somebody(cluster, "ann", &["--client-certificate", &file(&path)?, "--client-key", &file(&key)?])?;
    let who = ann.run(&["auth", "whoami"])?;
    says(&who, "ann")?;
    says(&who, "dev")?;
    says(&ann.run(&["auth", "can-i", "--list"])?, "selfsubjectreviews.authentication.k8s.io")?;
    says(&ann.output(&["auth", "can-i", "list", "pods"], "")?.stdout, "no")?;
    admin.run(&["create", "rolebinding", "ann", "--clusterrole", "view", "--user", "ann"])?;
    wait::until("the binding counts", LIMIT, || {
        says(&ann.output(&["auth", "can-i", "list", "pods"], "")?.stdout, "yes")
    })?;

    let (manifest, _) = request(cluster.folder(), "eve")?;
    admin.run_with(&["apply", "-f", "-"], &manifest)?;
    says(&admin.run(&["certificate", "deny", "eve"])?, "certificatesigningrequest.certificates.k8s.io/eve denied")?;
    says(&admin.run(&["get", "csr", "eve"])?, "Denied")?;

    // A certificate of another CA proves nothing, whatever it says.
    let (ca, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut params = subject("kubernetes", "x");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = Issuer::from_params(&params, ca);
    let forged = subject("kubernetes-admin", "system:masters").signed_by(&key, &ca)?;
    let (certificate, key_path) = (cluster.folder().join("forged.crt"), cluster.folder().join("forged.key"));
    std::fs::write(&certificate, forged.pem())?;
    std::fs::write(&key_path, key.serialize_pem())?;
    let credentials = ["--client-certificate", &file(&certificate)?, "--client-key", &file(&key_path)?];
    let stranger = as_somebody(cluster, "stranger", &credentials)?;
    says(&stranger.fails(&["get", "pods"], "")?, "the server has asked for the client to provide credentials")
}

/// A role that is labelled for `view` becomes part of it.
fn aggregation(admin: &Kubectl) -> Result<()> {
    let role = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "view-widgets", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}]}"#;
    admin.run_with(&["apply", "-f", "-"], role)?;
    let rules = |role: &str| admin.run(&["get", "clusterrole", role, "-o", "jsonpath={.rules[*].resources}"]);
    for role in ["view", "edit", "admin"] {
        wait::until("the rules are collected", LIMIT, || says(&rules(role)?, "widgets"))?;
    }
    admin.run(&["delete", "clusterrole", "view-widgets"])?;
    wait::until("the rules are gone", LIMIT, || {
        ensure!(!rules("view")?.contains("widgets"), "they are still there");
        Ok(())
    })
}

fn drain(admin: &Kubectl) -> Result<()> {
    admin.run_with(&["apply", "-f", "-"], WEB)?;
    admin.run(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let allowed = |expected: &str| {
        wait::until("the budget is counted", LIMIT, || {
            let text = admin.run(&[
                "get",
                "pdb",
                "guard",
                "-o",
                "jsonpath={.status.currentHealthy}/{.status.disruptionsAllowed}",
            ])?;
            ensure!(text.trim() == expected, "it is {text}");
            Ok(())
        })
    };
    allowed("2/0")?;
    let node = admin.run(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].spec.nodeName}"])?;
    let node = node.trim();
    let refused = admin.fails(&["drain", node, "--ignore-daemonsets", "--timeout=8s"], "")?;
    says(&refused, "Cannot evict pod as it would violate the pod's disruption budget.")?;
    admin.run(&["patch", "pdb", "guard", "--type", "merge", "-p", r#"{"spec":{"minAvailable":1}}"#])?;
    allowed("2/1")?;
    let done = admin.run(&["drain", node, "--ignore-daemonsets", "--timeout=90s"])?;
    says(&done, "drained")?;
    let left = admin.run(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"])?;
    ensure!(!left.split_whitespace().any(|it| it == node), "{left} should not name {node}");
    allowed("2/1")
}

#[test]
fn identities_are_given_used_and_respected() -> Result<()> {
    Cluster::with(Options { hollow_nodes: 2, ..Options::default() }, |cluster| {
        let admin = cluster.kubectl()?;
        tokens(cluster, &admin).context("tokens")?;
        certificates(cluster, &admin).context("certificates")?;
        aggregation(&admin).context("aggregation")?;
        drain(&admin).context("drain")
    })
}
