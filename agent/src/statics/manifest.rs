//! A static pod from its file: read, named after its node, given an id that says what is in it, completed and judged as the API server would. Pure.

use std::path::Path;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use orlop_api::field::Errors;
use orlop_api::kind::{Part, Strategy};
use orlop_api::name;
use orlop_client::Key;
use orlop_manifests::document;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::machine::world::spec;
use crate::references::{Kind, named_by};

/// Where a pod comes from: `file`.
const SOURCE: &str = "kubernetes.io/config.source";
/// What is in its file, as a number: the pod's id on its node.
const HASH: &str = "kubernetes.io/config.hash";

/// How much of a digest an id is, in digits: as many as the kubelet's.
const HASH_DIGITS: usize = 32;

/// The pod of a file.
///
/// # Errors
/// In words, why there is none.
pub fn read(path: &Path, bytes: &[u8], node: &str) -> Result<Pod, String> {
    let value = document::read_one(&path.display().to_string(), bytes).map_err(|it| it.to_string())?;
    if value["apiVersion"] != "v1" || value["kind"] != "Pod" {
        return Err(format!("it is no v1 Pod but {} {}", value["apiVersion"], value["kind"]));
    }
    let uid = uid(path, &value, node);
    let mut pod: Pod = serde_json::from_value(value).map_err(|it| it.to_string())?;
    let meta = &mut pod.metadata;
    let own = meta.name.take().filter(|it| !it.is_empty()).ok_or("metadata.name: Required value")?;
    meta.name = Some(format!("{own}-{}", node.to_lowercase()));
    meta.namespace.get_or_insert_with(|| "default".to_owned());
    meta.uid = Some(uid.clone());
    (meta.resource_version, meta.owner_references, meta.generate_name) = (None, None, None);
    (meta.creation_timestamp, meta.deletion_timestamp, meta.deletion_grace_period_seconds) = (None, None, None);
    let notes = meta.annotations.get_or_insert_default();
    notes.insert(SOURCE.to_owned(), "file".to_owned());
    notes.insert(HASH.to_owned(), uid);
    pod.status = None;
    pod.default();
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    // Nothing that befalls its node is a reason to go: nobody would bring it elsewhere.
    let stays = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&stays) {
        tolerations.push(stays);
    }
    judge(&pod)?;
    Ok(pod)
}

/// Of the node, the file's path and what is in it.
fn uid(path: &Path, value: &Value, node: &str) -> String {
    let text = format!("host:{node},file:{},pod:{value}", path.display());
    let digest = Sha256::digest(text.as_bytes());
    let digits: String = digest.iter().map(|it| format!("{it:02x}")).collect();
    digits[..HASH_DIGITS].to_owned()
}

fn judge(pod: &Pod) -> Result<(), String> {
    let complaints = [
        ("metadata.name", name::dns1123_subdomain(pod.metadata.name.as_deref().unwrap_or_default())),
        ("metadata.namespace", name::dns1123_label(pod.metadata.namespace.as_deref().unwrap_or_default())),
    ];
    for (field, complaints) in complaints {
        if let Some(it) = complaints.first() {
            return Err(format!("{field}: Invalid value: {it}"));
        }
    }
    let mut errors = Errors::default();
    pod.validate(Part::Main, None, &mut errors);
    if !errors.is_empty() {
        return Err(errors.list().iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    match referenced(pod) {
        Some(what) => Err(format!("static pods may not reference {what}")),
        None => Ok(()),
    }
}

/// What of the API a pod refers to: it could not be had without one.
fn referenced(pod: &Pod) -> Option<&'static str> {
    let spec = spec(pod)?;
    let volumes = || spec.volumes.iter().flatten();
    let sources = || volumes().filter_map(|it| it.projected.as_ref()).flat_map(|it| it.sources.iter().flatten());
    let named = named_by(pod);
    let account = |it: &Option<String>| it.as_deref().is_some_and(|it| !it.is_empty());
    match () {
        () if account(&spec.service_account_name) || sources().any(|it| it.service_account_token.is_some()) => {
            Some("serviceaccounts")
        }
        () if named.iter().any(|it| it.0 == Kind::Secret) => Some("secrets"),
        () if named.iter().any(|it| it.0 == Kind::ConfigMap) => Some("configmaps"),
        () if volumes().any(|it| it.persistent_volume_claim.is_some() || it.ephemeral.is_some()) => {
            Some("persistentvolumeclaims")
        }
        () if sources().any(|it| it.cluster_trust_bundle.is_some()) => Some("clustertrustbundles"),
        () if spec.resource_claims.as_ref().is_some_and(|it| !it.is_empty()) => Some("resourceclaims"),
        () => None,
    }
}

/// A pod's namespace and name.
pub fn key(pod: &Pod) -> Key {
    let meta = &pod.metadata;
    Key::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: x}]}\n";

    fn made(text: &str) -> Result<Pod, String> {
        read(Path::new("/m/web.yaml"), text.as_bytes(), "n1")
    }

    #[test]
    fn a_file_is_a_pod_of_its_node() {
        let pod = made(PLAIN).unwrap();
        assert_eq!(key(&pod), Key::new("default", "web-n1"));
        let notes = pod.metadata.annotations.clone().unwrap();
        assert_eq!(Some(&notes[HASH]), pod.metadata.uid.as_ref());
        assert_eq!(notes[SOURCE], "file");
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!((spec.node_name.as_deref(), spec.restart_policy.as_deref()), (Some("n1"), Some("Always")));
        assert_eq!(spec.tolerations.as_ref().map(Vec::len), Some(1));
        // Other content is another pod; a comment is none.
        let uid = |text: &str| made(text).unwrap().metadata.uid;
        assert_eq!(uid(&format!("# a note\n{PLAIN}")), pod.metadata.uid);
        assert_ne!(uid(&PLAIN.replace("image: x", "image: z")), pod.metadata.uid);
    }

    #[test]
    fn what_cannot_be_a_static_pod_says_why() {
        let check = |text: &str, expected: &str| {
            let why = made(text).unwrap_err();
            assert!(why.contains(expected), "{why}");
        };
        check(&PLAIN.replace("Pod", "Service"), "it is no v1 Pod");
        check(&PLAIN.replace("name: web", "labels: {}"), "metadata.name: Required value");
        check(&PLAIN.replace("{name: web}", "{name: We_b}"), "metadata.name: Invalid value");
        check(&PLAIN.replace(", image: x", ""), "spec.containers[0].image: Required value");
        check(&format!("{PLAIN}---\n{PLAIN}"), "one document was expected");
        let with = |field: &str| PLAIN.replace("spec: {", &format!("spec: {{{field}, "));
        check(&with("serviceAccountName: a"), "static pods may not reference serviceaccounts");
        check(&with("volumes: [{name: v, secret: {secretName: s}}]"), "static pods may not reference secrets");
        check(&with("volumes: [{name: v, configMap: {name: s}}]"), "static pods may not reference configmaps");
        let claim = "volumes: [{name: v, persistentVolumeClaim: {claimName: s}}]";
        check(&with(claim), "static pods may not reference persistentvolumeclaims");
    }
}
