//! Credentials for a registry, from the Secrets that a pod names in `imagePullSecrets`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use crate::machine::world::spec;
use crate::references::{Data, Kind, Snapshot};
use crate::runtime::RegistryAuth;

/// The registry of names that give none.
const DEFAULT_REGISTRY: &str = "docker.io";

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

/// The credentials that fit an image, the closest match first.
pub fn for_image(pod: &Pod, image: &str, found: &Snapshot) -> Vec<RegistryAuth> {
    let mut fitting: Vec<(usize, RegistryAuth)> = Vec::new();
    for secret in spec(pod).and_then(|it| it.image_pull_secrets.as_ref()).into_iter().flatten() {
        let Some(data) = found.get(Kind::Secret, &secret.name) else { continue };
        for (registry, entry) in entries(data) {
            if let (Some(depth), Some(auth)) = (fits(&registry, image), login(&entry)) {
                fitting.push((depth, auth));
            }
        }
    }
    fitting.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
    fitting.into_iter().map(|(_, it)| it).collect()
}

/// The entries of a Secret in either of the two forms. One that cannot be read has none.
fn entries(data: &Data) -> BTreeMap<String, Entry> {
    if let Some(raw) = data.entries.get(".dockerconfigjson") {
        return serde_json::from_slice::<ConfigJson>(raw).map(|it| it.auths).unwrap_or_default();
    }
    data.entries.get(".dockercfg").and_then(|it| serde_json::from_slice(it).ok()).unwrap_or_default()
}

fn login(entry: &Entry) -> Option<RegistryAuth> {
    if !entry.username.is_empty() {
        return Some(RegistryAuth { username: entry.username.clone(), password: entry.password.clone() });
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(&entry.auth).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(RegistryAuth { username: username.to_owned(), password: password.trim_end_matches('\0').to_owned() })
}

/// How many parts of the image's name an entry matches, if it fits: `registry:5000/team` fits `registry:5000/team/app`.
fn fits(registry: &str, image: &str) -> Option<usize> {
    let entry = registry.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let entry = entry.trim_end_matches("/v1").trim_end_matches("/v2");
    let entry = if entry == "index.docker.io" { DEFAULT_REGISTRY } else { entry };
    let name = full(image);
    let mut name = name.split('/');
    let mut depth = 0;
    for part in entry.split('/') {
        if name.next() != Some(part) {
            return None;
        }
        depth += 1;
    }
    Some(depth)
}

/// The image's name with its registry.
fn full(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => image.to_owned(),
        _ => format!("{DEFAULT_REGISTRY}/{image}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fit_by_registry_and_path() {
        let check = |registry: &str, image: &str, expected: Option<usize>| {
            assert_eq!(fits(registry, image), expected, "{registry} for {image}");
        };
        check("https://index.docker.io/v1/", "nginx", Some(1));
        check("localhost:5000", "localhost:5000/a/b:1", Some(1));
        check("localhost:5000/a", "localhost:5000/a/b:1", Some(2));
        check("localhost:5000/c", "localhost:5000/a/b:1", None);
        check("example.com", "nginx", None);
    }

    #[test]
    fn a_login_is_read_from_either_form() {
        let entry = |it: serde_json::Value| serde_json::from_value::<Entry>(it).unwrap();
        let expected = RegistryAuth { username: "u".into(), password: "p:q".into() };
        assert_eq!(login(&entry(serde_json::json!({"auth": "dTpwOnE="}))), Some(expected.clone()));
        assert_eq!(login(&entry(serde_json::json!({"username": "u", "password": "p:q"}))), Some(expected));
        assert_eq!(login(&entry(serde_json::json!({"auth": "!"}))), None);
    }
}
