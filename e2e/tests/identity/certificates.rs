//! Certificates: asked for, approved and used by kubectl; refused where another CA has made them; and every verb of their requests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use orlop_e2e::cluster::Cluster;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::wait;
use rcgen::{BasicConstraints, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::credentials::{as_somebody, says, subject};

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

pub fn play(cluster: &Cluster, admin: &Kubectl) -> Result<()> {
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

/// Every verb of the requests and of their two subresources, in the order of the conformance test.
pub async fn operations(client: &kube::Client) -> Result<()> {
    let read =
        async |path: &str| -> Result<Value> { Ok(client.request(http::Request::get(path).body(Vec::new())?).await?) };
    let groups = read("/apis").await?;
    let group = groups["groups"].as_array().into_iter().flatten().find(|it| it["name"] == "certificates.k8s.io");
    ensure!(group.is_some_and(|it| it["versions"][0]["version"] == "v1"), "{groups}");
    ensure!(read("/apis/certificates.k8s.io").await?["preferredVersion"]["version"] == "v1", "the group has v1");
    let resources = read("/apis/certificates.k8s.io/v1").await?;
    for (sub, verbs) in [
        ("", json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"])),
        ("/approval", json!(["get", "patch", "update"])),
        ("/status", json!(["get", "patch", "update"])),
    ] {
        let name = format!("certificatesigningrequests{sub}");
        let found = resources["resources"].as_array().into_iter().flatten().find(|it| it["name"] == *name);
        ensure!(found.is_some_and(|it| it["verbs"] == verbs), "{name}: {found:?}");
    }

    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let signer = "example.com/e2e";
    let pem = subject("e2e.example.com", "x").serialize_request(&KeyPair::generate()?)?.pem()?;
    let template = json!({
        "metadata": {"generateName": "e2e-example-csr-"},
        "spec": {"request": STANDARD.encode(pem), "signerName": signer, "expirationSeconds": 3600,
            "usages": ["digital signature", "key encipherment", "server auth"]},
    });
    let template: CertificateSigningRequest = serde_json::from_value(template)?;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(api.create(&PostParams::default(), &template).await?);
    }
    let uid = made[2].metadata.uid.clone();
    let name = made[2].metadata.name.clone().context("a name was made")?;
    let got = api.get(&name).await?;
    ensure!(got.metadata.uid == uid && got.spec.expiration_seconds == Some(3600), "{got:?}");
    let of_signer = ListParams::default().fields(&format!("spec.signerName={signer}"));
    let list = api.list(&of_signer).await?;
    ensure!(list.items.len() == 3, "{list:?}");

    let only = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(120);
    let revision = list.metadata.resource_version.context("a list has a version")?;
    let mut events = api.watch(&only, &revision).await?.boxed();
    let merge = async |sub: Option<&str>, patch: Value| -> Result<CertificateSigningRequest> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        Ok(match sub {
            None => api.patch(&name, &params, &patch).await?,
            Some(sub) => api.patch_subresource(sub, &name, &params, &patch).await?,
        })
    };
    let annotated = |it: &CertificateSigningRequest, key: &str| {
        it.metadata.annotations.as_ref().and_then(|it| it.get(key)).is_some_and(|it| it == "true")
    };
    let mut patched = merge(None, json!({"metadata": {"annotations": {"patched": "true"}}})).await?;
    ensure!(annotated(&patched, "patched"), "{patched:?}");
    patched.metadata.annotations.get_or_insert_default().insert("updated".to_owned(), "true".to_owned());
    let updated = api.replace(&name, &PostParams::default(), &patched).await?;
    ensure!(annotated(&updated, "updated"), "{updated:?}");
    loop {
        match tokio::time::timeout(LIMIT, events.try_next()).await?? {
            Some(WatchEvent::Modified(it)) if annotated(&it, "updated") => break,
            Some(WatchEvent::Modified(_)) => {}
            other => bail!("it should have been modified: {other:?}"),
        }
    }

    ensure!(api.get_subresource("approval", &name).await?.metadata.uid == uid, "approval is of another");
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "Set from an e2e test"});
    let conditions = |it: &CertificateSigningRequest| -> Vec<String> {
        it.status.iter().flat_map(|it| it.conditions.iter().flatten()).map(|it| it.type_.clone()).collect()
    };
    let annotation = |key: &str| json!({"annotations": {key: "true"}});
    let of_patch = json!({"conditions": [condition("ApprovalPatch")]});
    let mut approval =
        merge(Some("approval"), json!({"metadata": annotation("patchedapproval"), "status": of_patch})).await?;
    ensure!(conditions(&approval) == ["ApprovalPatch"] && annotated(&approval, "patchedapproval"), "{approval:?}");
    let more = approval.status.get_or_insert_default().conditions.get_or_insert_default();
    more.push(serde_json::from_value(condition("Approved"))?);
    let approved =
        api.replace_subresource("approval", &name, &PostParams::default(), &approval).await?;
    ensure!(conditions(&approved) == ["ApprovalPatch", "Approved"], "{approved:?}");

    ensure!(api.get_subresource("status", &name).await?.metadata.uid == uid, "status is of another");
    let key = KeyPair::generate()?;
    let certificate = subject("e2e.example.com", "x").self_signed(&key)?.pem();
    let of_patch = json!({"certificate": STANDARD.encode(&certificate)});
    let mut status =
        merge(Some("status"), json!({"metadata": annotation("patchedstatus"), "status": of_patch})).await?;
    let kept = status.status.as_ref().and_then(|it| it.certificate.clone());
    ensure!(kept == Some(ByteString(certificate.into_bytes())) && annotated(&status, "patchedstatus"), "{status:?}");
    let more = status.status.get_or_insert_default().conditions.get_or_insert_default();
    more.push(serde_json::from_value(condition("StatusUpdate"))?);
    let status = api.replace_subresource("status", &name, &PostParams::default(), &status).await?;
    ensure!(conditions(&status).last().is_some_and(|it| it == "StatusUpdate"), "{status:?}");

    api.delete(&name, &DeleteParams::default()).await?;
    ensure!(api.get_opt(&name).await?.is_none(), "it is still there");
    ensure!(api.list(&of_signer).await?.items.len() == 2, "two are left");
    api.delete_collection(&DeleteParams::default(), &of_signer).await?;
    ensure!(api.list(&of_signer).await?.items.is_empty(), "all are gone");
    Ok(())
}
