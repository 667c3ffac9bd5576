//! Files of one volume that get in each other's way: two at one path, or one where another needs a directory.
//!
//! Source: `warningsForOverlappingVirtualPaths` in `k8s.io/kubernetes/pkg/api/pod/warnings.go`. Where Kubernetes meets the paths in the
//! order of a Go map, they are met here in the order in which they are written.

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection};

/// How many paths of one volume, and how many sources of one, are compared: with each other, which a hostile pod's hundred thousand cannot be.
const PATHS_MAX: usize = 500;
const SOURCES_MAX: usize = 100;

/// Adds what is to be told of the volumes of a pod.
pub fn of_volumes(volumes: &[Volume], out: &mut Vec<String>) {
    for it in volumes {
        let name = &it.name;
        if let Some(map) = &it.config_map
            && let Some(items) = &map.items
        {
            overlaps(&keys(items), &format!("volume {name:?} (ConfigMap {:?})", map.name), out);
        }
        if let Some(secret) = &it.secret
            && let Some(items) = &secret.items
        {
            let called = secret.secret_name.as_deref().unwrap_or_default();
            overlaps(&keys(items), &format!("volume {name:?} (Secret {called:?})"), out);
        }
        if let Some(items) = it.downward_api.as_ref().and_then(|it| it.items.as_ref()) {
            overlaps(&files(items), &format!("volume {name:?} (DownwardAPI)"), out);
        }
        let mut all: Vec<String> = Vec::new();
        for source in it.projected.iter().flat_map(|it| &it.sources).flatten().take(SOURCES_MAX) {
            if *source == VolumeProjection::default() {
                out.push(format!("volume {name:?} (Projected) has no sources provided"));
                continue;
            }
            let Some((paths, what)) = projected(source) else { continue };
            let what = format!("volume {name:?} (Projected {what})");
            overlaps(&paths, &what, out);
            let mut own = paths;
            own.sort_unstable();
            own.dedup();
            let mut together: Vec<String> = own.iter().chain(&all).cloned().collect();
            together.sort_unstable();
            overlaps(&together, &what, out);
            all.extend(own);
            all.sort_unstable();
            all.dedup();
        }
    }
}

/// The paths at which a source puts files, as far as it says them, and how it is called.
fn projected(it: &VolumeProjection) -> Option<(Vec<String>, String)> {
    if let Some((map, items)) = it.config_map.as_ref().and_then(|it| Some((it, it.items.as_ref()?))) {
        return Some((keys(items), format!("ConfigMap {:?}", map.name)));
    }
    if let Some((secret, items)) = it.secret.as_ref().and_then(|it| Some((it, it.items.as_ref()?))) {
        return Some((keys(items), format!("Secret {:?}", secret.name)));
    }
    if let Some(items) = it.downward_api.as_ref().and_then(|it| it.items.as_ref()) {
        return Some((files(items), "DownwardAPI".to_owned()));
    }
    if let Some(token) = &it.service_account_token {
        return Some((vec![token.path.clone()], "ServiceAccountToken".to_owned()));
    }
    let bundle = it.cluster_trust_bundle.as_ref()?;
    let called = bundle.name.as_ref().or(bundle.signer_name.as_ref())?;
    Some((vec![bundle.path.clone()], format!("ClusterTrustBundle {called:?}")))
}

fn keys(items: &[KeyToPath]) -> Vec<String> {
    items.iter().map(|it| it.path.clone()).collect()
}

fn files(items: &[DownwardAPIVolumeFile]) -> Vec<String> {
    items.iter().map(|it| it.path.clone()).collect()
}

fn overlaps(paths: &[String], what: &str, out: &mut Vec<String>) {
    let mut met: Vec<&str> = Vec::new();
    for path in paths.iter().take(PATHS_MAX) {
        let path = path.trim_end_matches('/');
        let holds = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let other = met.iter().find(|it| holds(it, path) || holds(path, it));
        if let Some(other) = other.filter(|it| !it.is_empty() && !path.is_empty()) {
            out.push(format!("{what}: overlapping paths: {path:?} with {other:?}"));
        }
        if !met.contains(&path) {
            met.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(volume: Value, expected: &[&str]) {
        let mut out = Vec::new();
        of_volumes(&[serde_json::from_value(volume).unwrap()], &mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn files_in_each_others_way_are_told() {
        let items = |paths: &[&str]| paths.iter().map(|it| json!({"key": "k", "path": it})).collect::<Vec<_>>();
        check(json!({"name": "v", "configMap": {"name": "m", "items": items(&["a", "ab", "b/c"])}}), &[]);
        check(
            json!({"name": "v", "configMap": {"name": "m", "items": items(&["a", "a/", "a/b"])}}),
            &[
                "volume \"v\" (ConfigMap \"m\"): overlapping paths: \"a\" with \"a\"",
                "volume \"v\" (ConfigMap \"m\"): overlapping paths: \"a/b\" with \"a\"",
            ],
        );
        check(
            json!({"name": "v", "projected": {"sources": [
                {}, {"secret": {"name": "s", "items": items(&["t"])}}, {"serviceAccountToken": {"path": "t/u"}}, {"configMap": {"name": "m"}}]}}),
            &[
                "volume \"v\" (Projected) has no sources provided",
                "volume \"v\" (Projected ServiceAccountToken): overlapping paths: \"t/u\" with \"t\"",
            ],
        );
    }
}
