//! `ServiceAccount`: a pod runs as a service account of its namespace, `default` if it names none, and that account must exist.
//!
//! It also gives the pod's containers a token of the account, the cluster's CA and the namespace's name, in a volume
//! `kube-api-access-xxxxx`, and the account's `imagePullSecrets` where the pod has none. Source: `plugin/pkg/admission/serviceaccount`.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, LocalObjectReference,
    ObjectFieldSelector, ObjectReference, Pod, PodSpec, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume,
    VolumeMount, VolumeProjection,
};
use orlop_api::draft::Draft;
use orlop_api::status;
use orlop_client::random;
use serde::Deserialize;

use super::{Sight, forbidden, is};
use crate::authenticate::Found;
use crate::stage::{Admission, Operation, Plugin, Subject};

const DEFAULT: &str = "default";

/// Marks the mirror pods of static pods, which belong to their node.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Marks accounts whose pods may use only the secrets that the account lists.
const ENFORCED: &str = "kubernetes.io/enforce-mountable-secrets";

/// The account `default` is made by a controller right after its namespace: it is waited for, as in Kubernetes, ten times this long.
const DEFAULT_PAUSE: Duration = Duration::from_millis(100);
const DEFAULT_TRIES: usize = 10;

/// Where containers look for the token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";

/// An hour, as old tokens had, and a little, by which these are told apart from others.
const TOKEN_SECONDS: i64 = 60 * 60 + 7;
const FILE_MODE: i32 = 0o644;

/// See the file's header.
pub struct ServiceAccount {
    sight: Sight,
}

/// What the plugin reads of an account.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Account {
    metadata: Annotated,
    image_pull_secrets: Option<Vec<LocalObjectReference>>,
    secrets: Vec<ObjectReference>,
    automount_service_account_token: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotated {
    name: String,
    annotations: std::collections::BTreeMap<String, String>,
}

impl ServiceAccount {
    /// Looks accounts up there.
    pub fn new(sight: Sight) -> Self {
        ServiceAccount { sight }
    }

    async fn account(&self, write: &Admission<'_>, name: &str) -> status::Result<Account> {
        let namespace = write.namespace;
        let tries = if name == DEFAULT { DEFAULT_TRIES } else { 1 };
        for attempt in 0..tries {
            if attempt > 0 {
                tokio::time::sleep(DEFAULT_PAUSE).await;
            }
            if let Some(Found { json, .. }) = self.sight.find("ServiceAccount", namespace, name).await? {
                return serde_json::from_slice(&json).map_err(status::Status::internal);
            }
            // Where there is no namespace there will be no account.
            if self.sight.find("Namespace", "", namespace).await?.is_none() {
                break;
            }
        }
        let missing = format!("serviceaccount \"{name}\" not found");
        Err(forbidden(write, &format!("error looking up service account {namespace}/{name}: {missing}")))
    }

    fn concerns(write: &Admission<'_>) -> bool {
        write.operation == Operation::Create && write.sub.is_none() && is(write.kind, "", "Pod")
    }
}

fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(MIRROR))
}

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        Self::concerns(write)
    }

    async fn admit(&self, write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(pod) = draft.and_then(Draft::get_mut::<Pod>) else { return Ok(()) };
        if is_mirror(pod) {
            return Ok(());
        }
        let Some(spec) = pod.spec.as_mut() else { return Ok(()) };
        let given = [&spec.service_account_name, &spec.service_account];
        let given = given.into_iter().flatten().find(|it| !it.is_empty()).cloned();
        let name = given.unwrap_or_else(|| DEFAULT.to_owned());
        let account = self.account(write, &name).await?;
        spec.service_account_name = Some(name.clone());
        spec.service_account = Some(name);
        let automount = spec.automount_service_account_token.or(account.automount_service_account_token);
        if automount != Some(false) {
            mount_token(spec, &random::suffix());
        }
        if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
            spec.image_pull_secrets = account.image_pull_secrets.filter(|it| !it.is_empty());
        }
        Ok(())
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        Self::concerns(write)
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let Some(pod) = subject.draft.and_then(Draft::get::<Pod>) else { return Ok(()) };
        let Some(spec) = &pod.spec else { return Ok(()) };
        let name = spec.service_account_name.as_deref().unwrap_or_default();
        if is_mirror(pod) {
            return judge_mirror(spec).map_err(|why| forbidden(write, why));
        }
        if name.is_empty() {
            let why = format!("no service account specified for pod {}/{}", write.namespace, write.name);
            return Err(forbidden(write, &why));
        }
        let account = self.account(write, name).await?;
        if account.metadata.annotations.get(ENFORCED).is_some_and(|it| it == "true") {
            judge_secrets(spec, &account).map_err(|why| forbidden(write, &why))?;
        }
        Ok(())
    }
}

/// Mounts the account's token wherever nothing else is mounted there.
fn mount_token(spec: &mut PodSpec, suffix: &str) {
    let present = spec.volumes.iter().flatten().find(|it| it.name.starts_with(VOLUME_PREFIX)).map(|it| it.name.clone());
    let name = present.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{suffix}"));
    let mut mounted = false;
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if container.volume_mounts.iter().flatten().any(|it| it.mount_path == MOUNT_PATH) {
            continue;
        }
        let (read_only, mount_path) = (Some(true), MOUNT_PATH.to_owned());
        let mount = VolumeMount { name: name.clone(), read_only, mount_path, ..VolumeMount::default() };
        container.volume_mounts.get_or_insert_default().push(mount);
        mounted = true;
    }
    if mounted && present.is_none() {
        spec.volumes.get_or_insert_default().push(token_volume(name));
    }
}

fn token_volume(name: String) -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(TOKEN_SECONDS),
        ..ServiceAccountTokenProjection::default()
    };
    let ca = "ca.crt".to_owned();
    let items = Some(vec![KeyToPath { key: ca.clone(), path: ca, ..KeyToPath::default() }]);
    let ca = ConfigMapProjection { name: "kube-root-ca.crt".to_owned(), items, ..ConfigMapProjection::default() };
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "metadata.namespace".to_owned() };
    let file = DownwardAPIVolumeFile {
        path: "namespace".to_owned(),
        field_ref: Some(field),
        ..DownwardAPIVolumeFile::default()
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(ca), ..VolumeProjection::default() },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection { items: Some(vec![file]) }),
            ..VolumeProjection::default()
        },
    ];
    let projected = ProjectedVolumeSource { default_mode: Some(FILE_MODE), sources: Some(sources) };
    Volume { name, projected: Some(projected), ..Volume::default() }
}

/// A mirror pod stands for a pod that its node knows from elsewhere: it has no rights of its own.
fn judge_mirror(spec: &PodSpec) -> Result<(), &'static str> {
    if spec.service_account_name.as_deref().is_some_and(|it| !it.is_empty()) {
        return Err("a mirror pod may not reference service accounts");
    }
    let in_volumes = spec.volumes.iter().flatten().any(|it| {
        let projected = it.projected.iter().flat_map(|it| it.sources.iter().flatten());
        it.secret.is_some() || projected.into_iter().any(|it| it.secret.is_some())
    });
    let in_containers = containers(spec).any(|(_, it)| secrets_of(it).next().is_some());
    if in_volumes || in_containers || spec.image_pull_secrets.as_ref().is_some_and(|it| !it.is_empty()) {
        return Err("a mirror pod may not reference secrets");
    }
    let tokens = spec.volumes.iter().flatten().filter_map(|it| it.projected.as_ref());
    if tokens.flat_map(|it| it.sources.iter().flatten()).any(|it| it.service_account_token.is_some()) {
        return Err("a mirror pod may not use service account token volume projections");
    }
    Ok(())
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = (&'static str, &Container)> {
    let init = spec.init_containers.iter().flatten().map(|it| ("init container", it));
    init.chain(spec.containers.iter().map(|it| ("container", it)))
}

/// The secrets in a container's environment, each with its variable; those that come whole have none.
fn secrets_of(container: &Container) -> impl Iterator<Item = (Option<&str>, &str)> {
    let one = container.env.iter().flatten().filter_map(|it| {
        let reference = it.value_from.as_ref()?.secret_key_ref.as_ref()?;
        Some((Some(it.name.as_str()), reference.name.as_str()))
    });
    let whole =
        container.env_from.iter().flatten().filter_map(|it| Some((None, it.secret_ref.as_ref()?.name.as_str())));
    one.chain(whole)
}

fn judge_secrets(spec: &PodSpec, account: &Account) -> Result<(), String> {
    let may = |secret: &str| account.secrets.iter().any(|it| it.name.as_deref() == Some(secret));
    let owner = &account.metadata.name;
    let not_that = format!("is not allowed because service account {owner} does not reference that secret");
    for volume in spec.volumes.iter().flatten() {
        let name = volume.secret.as_ref().and_then(|it| it.secret_name.as_deref());
        if let Some(name) = name.filter(|it| !may(it)) {
            return Err(format!("volume with secret.secretName=\"{name}\" {not_that}"));
        }
    }
    for (word, container) in containers(spec) {
        if let Some((variable, secret)) = secrets_of(container).find(|(_, it)| !may(it)) {
            let of = match variable {
                Some(variable) => format!("with envVar {variable} referencing secret.secretName"),
                None => "with envFrom referencing secret.secretName".to_owned(),
            };
            return Err(format!("{word} {} {of}=\"{secret}\" {not_that}", container.name));
        }
    }
    let pull = account.image_pull_secrets.as_deref().unwrap_or_default();
    for (at, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if !pull.contains(secret) {
            return Err(format!(
                "imagePullSecrets[{at}].name=\"{}\" is not allowed because service account {owner} does not reference that imagePullSecret",
                secret.name
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_container_gets_the_token_once() {
        let mut it = spec(json!({"containers": [{"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}], "initContainers": [{"name": "i"}]}));
        mount_token(&mut it, "abcde");
        let made = serde_json::to_value(&it).unwrap();
        let mount = json!([{"name": "kube-api-access-abcde", "readOnly": true, "mountPath": MOUNT_PATH}]);
        assert_eq!(
            (&made["containers"][0]["volumeMounts"], &made["initContainers"][0]["volumeMounts"]),
            (&mount, &mount)
        );
        assert_eq!(made["containers"][1]["volumeMounts"][0]["name"], "own");
        assert_eq!(
            made["volumes"],
            json!([{"name": "kube-api-access-abcde", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ]}}])
        );
        let before = it.clone();
        mount_token(&mut it, "other");
        assert_eq!(it, before);
    }

    #[test]
    fn mirror_pods_have_no_rights_and_enforced_accounts_list_secrets() {
        for (pod, why) in [
            (json!({"containers": []}), None),
            (
                json!({"containers": [], "serviceAccountName": "a"}),
                Some("a mirror pod may not reference service accounts"),
            ),
            (
                json!({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]}),
                Some("a mirror pod may not reference secrets"),
            ),
            (
                json!({"containers": [], "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
                Some("a mirror pod may not use service account token volume projections"),
            ),
        ] {
            assert_eq!(judge_mirror(&spec(pod)).err(), why);
        }
        let account: Account =
            serde_json::from_value(json!({"metadata": {"name": "bot"}, "secrets": [{"name": "mine"}]})).unwrap();
        let of = |name: &str| {
            spec(
                json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]}]}),
            )
        };
        assert_eq!(judge_secrets(&of("mine"), &account), Ok(()));
        assert_eq!(
            judge_secrets(&of("other"), &account).unwrap_err(),
            "container c with envVar E referencing secret.secretName=\"other\" is not allowed because service account bot does not reference that secret"
        );
    }
}
