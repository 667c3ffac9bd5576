//! What a volume holds that is filled from the API: ConfigMaps, Secrets, the pod's fields, tokens, and projections of them.
//!
//! Pure: the objects come in as a snapshot, tokens as text.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume};

use super::{File, Files};
use crate::environment::{Place, field, resource};
use crate::machine::ending::find;
use crate::references::{Kind, Snapshot};

/// The mode of files that name none.
const DEFAULT_MODE: i32 = 0o644;

/// Tokens of the pod's service account, by audience (empty for the API server's) and lifetime in seconds.
pub type Tokens = BTreeMap<(String, i64), String>;

/// How long a token lives that names no lifetime.
pub const TOKEN_SECONDS: i64 = 3600;

/// The tokens that a pod's volumes want.
pub fn tokens_of(pod: &Pod) -> Vec<(String, i64)> {
    let volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
    let sources = volumes.filter_map(|it| it.projected.as_ref()).flat_map(|it| it.sources.iter().flatten());
    sources.filter_map(|it| it.service_account_token.as_ref()).map(token_key).collect()
}

fn token_key(it: &ServiceAccountTokenProjection) -> (String, i64) {
    (it.audience.clone().unwrap_or_default(), it.expiration_seconds.unwrap_or(TOKEN_SECONDS))
}

/// Whether the volume's content is secret, and belongs into memory.
pub fn is_secret(volume: &Volume) -> bool {
    let projected = |it: &k8s_openapi::api::core::v1::ProjectedVolumeSource| {
        it.sources.iter().flatten().any(|it| it.secret.is_some() || it.service_account_token.is_some())
    };
    volume.secret.is_some() || volume.projected.as_ref().is_some_and(projected)
}

/// The word for a volume's type, for the message about one that is not supported.
pub fn kind(volume: &Volume) -> String {
    let fields = serde_json::to_value(volume).ok().and_then(|it| it.as_object().cloned()).unwrap_or_default();
    fields.keys().find(|it| *it != "name").cloned().unwrap_or_else(|| "a volume without a source".into())
}

/// The files of a volume, or none where it is not filled from the API.
///
/// # Errors
/// An object or key that is not optional is missing, or a path leads out of the volume.
pub fn of(
    pod: &Pod,
    volume: &Volume,
    found: &Snapshot,
    place: &Place,
    tokens: &Tokens,
) -> Result<Option<Files>, String> {
    let mut files = Filling { pod, found, place, files: Files::new() };
    if let Some(it) = &volume.config_map {
        files.object(Kind::ConfigMap, &it.name, it.items.as_deref(), it.optional, it.default_mode)?;
    } else if let Some(it) = &volume.secret {
        let name = it.secret_name.as_deref().unwrap_or_default();
        files.object(Kind::Secret, name, it.items.as_deref(), it.optional, it.default_mode)?;
    } else if let Some(it) = &volume.downward_api {
        files.fields(it.items.as_deref().unwrap_or_default(), it.default_mode)?;
    } else if let Some(it) = &volume.projected {
        for source in it.sources.iter().flatten() {
            if let Some(from) = &source.config_map {
                files.object(Kind::ConfigMap, &from.name, from.items.as_deref(), from.optional, it.default_mode)?;
            } else if let Some(from) = &source.secret {
                files.object(Kind::Secret, &from.name, from.items.as_deref(), from.optional, it.default_mode)?;
            } else if let Some(from) = &source.downward_api {
                files.fields(from.items.as_deref().unwrap_or_default(), it.default_mode)?;
            } else if let Some(from) = &source.service_account_token {
                let token = tokens.get(&token_key(from)).ok_or("failed to fetch token: none was issued")?;
                // A token is for its user only, and for the pod's group, where either is named; or else for whoever an image runs as.
                let (owner, grouped) = (user_of(pod), group_of(pod).is_some());
                let mode = if owner.is_some() || grouped { 0o600 } else { it.default_mode.unwrap_or(DEFAULT_MODE) };
                files.put_for(&from.path, token.clone().into_bytes(), mode, owner)?;
            } else {
                return Err("a projected source that this node does not support".into());
            }
        }
    } else {
        return Ok(None);
    }
    Ok(Some(files.files))
}

fn group_of(pod: &Pod) -> Option<i64> {
    pod.spec.as_ref()?.security_context.as_ref()?.fs_group
}

/// The user as whom all containers of a pod run; none where they differ, or one leaves it to its image. Source: `securitycontext.FsUserFrom`.
fn user_of(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let shared = spec.security_context.as_ref().and_then(|it| it.run_as_user);
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut users = all.map(|it| it.security_context.as_ref().and_then(|it| it.run_as_user).or(shared));
    let first = users.next()??;
    if users.all(|it| it == Some(first)) { u32::try_from(first).ok() } else { None }
}

struct Filling<'a> {
    pod: &'a Pod,
    found: &'a Snapshot,
    place: &'a Place,
    files: Files,
}

impl Filling<'_> {
    fn object(
        &mut self,
        kind: Kind,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<(), String> {
        let optional = optional == Some(true);
        let mode = mode.unwrap_or(DEFAULT_MODE);
        let Some(data) = self.found.get(kind, name) else {
            return if optional { Ok(()) } else { Err(format!("{} {name:?} not found", kind.word())) };
        };
        let Some(items) = items.filter(|it| !it.is_empty()) else {
            for (key, value) in &data.entries {
                self.put(key, value.clone(), mode)?;
            }
            return Ok(());
        };
        for it in items {
            match data.entries.get(&it.key) {
                Some(value) => self.put(&it.path, value.clone(), it.mode.unwrap_or(mode))?,
                None if optional => {}
                None => {
                    // The kubelet's words differ, too.
                    let words = match kind {
                        Kind::ConfigMap => "configmap references non-existent config key",
                        Kind::Secret => "references non-existent secret key",
                    };
                    return Err(format!("{words}: {}", it.key));
                }
            }
        }
        Ok(())
    }

    fn fields(&mut self, items: &[DownwardAPIVolumeFile], mode: Option<i32>) -> Result<(), String> {
        for it in items {
            let text = match (&it.field_ref, &it.resource_field_ref) {
                (Some(from), _) => field(self.pod, &from.field_path, self.place),
                (_, Some(from)) => {
                    let name = from.container_name.as_deref().unwrap_or_default();
                    let own = find(self.pod, name).ok_or_else(|| format!("container {name:?} not found"))?;
                    resource(self.pod, own, from, self.place)
                }
                _ => continue,
            };
            let text = text.map_err(|it| it.to_string())?;
            self.put(&it.path, text.into_bytes(), it.mode.or(mode).unwrap_or(DEFAULT_MODE))?;
        }
        Ok(())
    }

    fn put(&mut self, path: &str, content: Vec<u8>, mode: i32) -> Result<(), String> {
        self.put_for(path, content, mode, None)
    }

    fn put_for(&mut self, path: &str, content: Vec<u8>, mode: i32, owner: Option<u32>) -> Result<(), String> {
        let safe = !path.is_empty() && Path::new(path).components().all(|it| matches!(it, Component::Normal(_)));
        if !safe || path.starts_with("..") {
            return Err(format!("invalid path {path:?}: it must stay in its volume"));
        }
        let mode = u32::try_from(mode & 0o777).unwrap_or(0o644);
        self.files.insert(path.to_owned(), File { content, mode, owner });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::references::Data;

    fn check(volume: serde_json::Value, expected: Result<&[(&str, &str, u32)], &str>) {
        let pod: Pod =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "labels": {"a": "b"}}})).unwrap();
        let mut volume = volume;
        volume["name"] = "v".into();
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let mut found = Snapshot::default();
        let data = Data { entries: [("k".into(), b"v".to_vec()), ("l".into(), b"w".to_vec())].into(), kind: None };
        found.0.insert((Kind::ConfigMap, "here".into()), Some(Arc::new(data.clone())));
        found.0.insert((Kind::Secret, "here".into()), Some(Arc::new(data)));
        let files = of(&pod, &volume, &found, &Place::default(), &Tokens::new());
        let told = files.map(|it| {
            let it = it.expect("it is filled from the API").into_iter();
            it.map(|(path, it)| (path, String::from_utf8(it.content).unwrap(), it.mode)).collect::<Vec<_>>()
        });
        let expected =
            expected.map(|it| it.iter().map(|(p, c, m)| ((*p).to_owned(), (*c).to_owned(), *m)).collect::<Vec<_>>());
        assert_eq!(told, expected.map_err(str::to_owned));
    }

    #[test]
    fn volumes_hold_what_they_name() {
        check(serde_json::json!({"configMap": {"name": "here"}}), Ok(&[("k", "v", 0o644), ("l", "w", 0o644)]));
        check(
            serde_json::json!({"configMap": {"name": "here", "defaultMode": 0o400, "items": [{"key": "k", "path": "d/x"}]}}),
            Ok(&[("d/x", "v", 0o400)]),
        );
        check(serde_json::json!({"secret": {"secretName": "gone", "optional": true}}), Ok(&[]));
        check(serde_json::json!({"secret": {"secretName": "gone"}}), Err("secret \"gone\" not found"));
        check(
            serde_json::json!({"configMap": {"name": "here", "items": [{"key": "k", "path": "../x"}]}}),
            Err("invalid path \"../x\": it must stay in its volume"),
        );
        let absent = serde_json::json!([{"key": "z", "path": "z"}]);
        check(
            serde_json::json!({"configMap": {"name": "here", "items": absent}}),
            Err("configmap references non-existent config key: z"),
        );
        check(
            serde_json::json!({"projected": {"sources": [{"secret": {"name": "here", "items": absent}}]}}),
            Err("references non-existent secret key: z"),
        );
        check(serde_json::json!({"secret": {"secretName": "here", "optional": true, "items": absent}}), Ok(&[]));
        check(
            serde_json::json!({"projected": {"sources": [{"configMap": {"name": "here", "items": [{"key": "l", "path": "l"}]}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}),
            Ok(&[("l", "w", 0o644), ("labels", "a=\"b\"", 0o644)]),
        );
    }

    #[test]
    fn tokens_are_for_whom_the_pod_runs_as() {
        let check = |spec: serde_json::Value, mode: u32, owner: Option<u32>| {
            let pod: Pod =
                serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
            let source = serde_json::json!({"serviceAccountToken": {"path": "t"}});
            let volume = serde_json::json!({"name": "v", "projected": {"sources": [source]}});
            let tokens = Tokens::from([((String::new(), TOKEN_SECONDS), "token".to_owned())]);
            let volume: Volume = serde_json::from_value(volume).unwrap();
            let files = of(&pod, &volume, &Snapshot::default(), &Place::default(), &tokens).unwrap().unwrap();
            assert_eq!((files["t"].mode, files["t"].owner), (mode, owner), "{spec}");
        };
        let container = |user: Option<i64>| serde_json::json!({"name": "c", "securityContext": {"runAsUser": user}});
        let of_pod = |user: Option<i64>, group: Option<i64>| serde_json::json!({"runAsUser": user, "fsGroup": group});
        let spec = |of_pod, containers: &[serde_json::Value]| serde_json::json!({"securityContext": of_pod, "containers": containers});
        check(spec(of_pod(None, None), &[container(None)]), 0o644, None);
        check(spec(of_pod(Some(1000), None), &[container(None)]), 0o600, Some(1000));
        check(spec(of_pod(None, Some(10_000)), &[container(None)]), 0o600, None);
        check(spec(of_pod(Some(1000), None), &[container(None), container(Some(1001))]), 0o644, None);
        check(spec(of_pod(None, None), &[container(Some(7)), container(Some(7))]), 0o600, Some(7));
    }
}
