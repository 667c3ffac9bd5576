//! Service accounts and what every namespace has: their life as the conformance tests tell it, whose pods get a token, and the CA that comes back.

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use orlop_e2e::cluster::Cluster;
use serde_json::{Value, json};

use crate::LIMIT;

const NAMESPACE: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const TOKEN_AT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn account(name: &str, automount: Option<bool>) -> Result<ServiceAccount> {
    let metadata = json!({"name": name, "labels": {"test-serviceaccount-static": "true"}});
    Ok(serde_json::from_value(json!({"metadata": metadata, "automountServiceAccountToken": automount}))?)
}

/// The life of an account, watched.
pub async fn lifecycle(client: &kube::Client) -> Result<()> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let made = api.create(&PostParams::default(), &account("lively", None)?).await?;
    ensure!(api.get("lively").await?.metadata.uid == made.metadata.uid, "it is another");
    let mine = "test-serviceaccount-static=true";
    let mut events = api.watch(&WatchParams::default().labels(mine).timeout(180), "").await?.boxed();
    let mut next = async || match tokio::time::timeout(LIMIT, events.try_next()).await?? {
        Some(event) => Ok(event),
        None => bail!("the watch has ended"),
    };
    ensure!(matches!(next().await?, WatchEvent::Added(_)), "it is there");

    let patch = Patch::Strategic(json!({"automountServiceAccountToken": false}));
    api.patch("lively", &PatchParams::default(), &patch).await?;
    let changed = next().await?;
    ensure!(
        matches!(&changed, WatchEvent::Modified(it) if it.automount_service_account_token == Some(false)),
        "it is {changed:?}"
    );
    let everywhere: Api<ServiceAccount> = Api::all(client.clone());
    let found = everywhere.list(&ListParams::default().labels(mine)).await?.items;
    ensure!(found.len() == 1 && found[0].automount_service_account_token == Some(false), "{found:?}");
    // Of which kind the items are, the list says.
    let request = http::Request::get(format!("/api/v1/serviceaccounts?labelSelector={mine}")).body(Vec::new())?;
    let list: Value = client.request(request).await?;
    ensure!(list["kind"] == "ServiceAccountList" && list["items"][0]["kind"].is_null(), "{list}");

    let mut renewed = api.get("lively").await?;
    renewed.automount_service_account_token = Some(true);
    let renewed = api.replace("lively", &PostParams::default(), &renewed).await?;
    ensure!(renewed.automount_service_account_token == Some(true), "{renewed:?}");
    ensure!(matches!(next().await?, WatchEvent::Modified(_)), "it was replaced");
    api.delete_collection(&DeleteParams::default(), &ListParams::default().labels(mine)).await?;
    ensure!(matches!(next().await?, WatchEvent::Deleted(_)), "it is gone");
    Ok(())
}

/// Whose pods get a token: the pod has the last word, then the account.
pub async fn automount(client: &kube::Client) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    for (name, mount) in [("mount", true), ("nomount", false)] {
        accounts.create(&PostParams::default(), &account(name, Some(mount))?).await?;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    for (of, account_says) in [("default", true), ("mount", true), ("nomount", false)] {
        for pod_says in [None, Some(true), Some(false)] {
            let name = format!("{of}-{}", pod_says.map_or("unset".to_owned(), |it| it.to_string()));
            let spec = json!({
                "serviceAccountName": of, "automountServiceAccountToken": pod_says, "schedulerName": "nobody",
                "containers": [{"name": "a", "image": "registry.local/a:1"}],
            });
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
            let made = pods.create(&PostParams::default(), &pod).await?;
            let mounts =
                made.spec.iter().flat_map(|it| &it.containers).flat_map(|it| it.volume_mounts.iter().flatten());
            let mounted = mounts.filter(|it| it.mount_path == TOKEN_AT).count() == 1;
            ensure!(mounted == pod_says.unwrap_or(account_says), "{name}: mounted is {mounted}");
            pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
        }
    }
    // Accounts have no secrets of their own since 1.24.
    ensure!(accounts.get("default").await?.secrets.is_none(), "nobody asked for a secret");
    Ok(())
}

/// The CA is in every namespace, comes back where it was deleted, and is right again where it was changed.
pub async fn root_ca(cluster: &Cluster, client: &kube::Client) -> Result<()> {
    let expected = std::fs::read_to_string(cluster.data_dir().join("pki/ca.crt"))?;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "fresh"}}))?).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "fresh");
    let comes = async |uid: Option<&String>| -> Result<ConfigMap> {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let found = maps.get_opt(ROOT_CA).await?;
            let fits = |it: &ConfigMap| {
                let data = it.data.iter().flatten().collect::<Vec<_>>();
                it.metadata.uid.as_ref() != uid && data == [(&"ca.crt".to_owned(), &expected)]
            };
            match found {
                Some(found) if fits(&found) => return Ok(found),
                found if tokio::time::Instant::now() > deadline => bail!("it is {found:?}"),
                _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    };
    let first = comes(None).await.context("it comes")?;
    maps.delete(ROOT_CA, &DeleteParams::default().grace_period(0)).await?;
    comes(first.metadata.uid.as_ref()).await.context("it comes back")?;
    let emptied = json!({"metadata": {"name": ROOT_CA}, "data": {"ca.crt": ""}});
    let emptied = maps.replace(ROOT_CA, &PostParams::default(), &serde_json::from_value(emptied)?).await?;
    ensure!(emptied.data.is_some_and(|it| it["ca.crt"].is_empty()), "it was emptied");
    comes(None).await.context("it is right again")?;
    Ok(())
}
