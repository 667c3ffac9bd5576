//! Removes the folders of this node's volumes when the volumes go.
//!
//! In: the volumes that carry this node's label, by watch. Out: a folder removed, and then the node's finalizer taken off its volume; each
//! is done again until both are, so that a death between them leaves nothing. What a volume wants is decided by [`wish`], purely. A
//! folder that a pod of this node still uses waits for it. What no volume says is never removed.

use orlop_client::events::{Recorder, Severity};
use orlop_client::storage::{LOCAL_FINALIZER, LOCAL_NODE, VOLUME_PROTECTION, VolumeView};
use orlop_client::write::{Action, Refused};
use orlop_client::{Informer, Key, Queue, Store};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::claims::VOLUMES;
use super::{Volumes, disk::Disk};

/// What is to be done about a volume.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    /// The folder at this path goes, and then the volume may.
    Remove(std::path::PathBuf),
    /// The volume may go; what is stored stays.
    LetGo,
}

fn wish(volume: &VolumeView, node: &str, volumes: &Volumes) -> Wish {
    let going = volume.metadata.deletion_timestamp.is_some();
    if !going || !volume.is_held_by(LOCAL_FINALIZER) || volume.local_node() != Some(node) {
        return Wish::Nothing;
    }
    // Bound still: somebody deleted a volume that is used, and it goes when it is not.
    if volume.is_held_by(VOLUME_PROTECTION) {
        return Wish::Nothing;
    }
    if volume.spec.persistent_volume_reclaim_policy != "Delete" {
        return Wish::LetGo;
    }
    let path = volume.spec.local.as_ref().map(|it| it.path.as_str()).unwrap_or_default();
    match volumes.folders().of(volume.name(), path) {
        Some(folder) => Wish::Remove(folder),
        None => Wish::LetGo,
    }
}

/// Keeps one node's folders.
pub struct Keeper {
    pub node: String,
    pub client: kube::Client,
    pub volumes: Volumes,
    pub recorder: Recorder,
}

impl Keeper {
    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let queue: Queue<Key> = Queue::new();
        let informer = Informer::<VolumeView>::new(self.client.clone()).labels(&format!("{LOCAL_NODE}={}", self.node));
        let (store, woken) = (informer.store(), queue.clone());
        store.listen(move |change| {
            woken.add(change.key.clone());
            true
        });
        informer.start(shutdown.clone());
        while let Some(Some(key)) = shutdown.run_until_cancelled(queue.next()).await {
            match self.look_after(&key, &store).await {
                Ok(()) => queue.forget(&key),
                Err(why) => {
                    let wait = queue.add_after_failure(key.clone());
                    tracing::warn!(
                        volume = key.name(),
                        why,
                        ?wait,
                        "a volume's folder was not removed; it is tried again"
                    );
                }
            }
            queue.done(&key);
        }
        queue.close();
    }

    async fn look_after(&self, key: &Key, store: &Store<VolumeView>) -> Result<(), String> {
        let Some(volume) = store.get(key) else { return Ok(()) };
        match wish(&volume, &self.node, &self.volumes) {
            Wish::Nothing => return Ok(()),
            Wish::LetGo => {}
            Wish::Remove(folder) => {
                let (volumes, name) = (self.volumes.clone(), key.name().to_owned());
                let removing = tokio::task::spawn_blocking(move || remove(&volumes, &name, &folder));
                if let Err(why) = removing.await.map_err(|it| it.to_string())? {
                    self.tell(&volume, &why);
                    return Err(why);
                }
            }
        }
        let rest: Vec<&String> =
            volume.metadata.finalizers.iter().flatten().filter(|it| *it != LOCAL_FINALIZER).collect();
        let action = Action::Patch {
            resource: VOLUMES,
            key: key.clone(),
            sub: None,
            uid: volume.metadata.uid.clone().unwrap_or_default(),
            revision: volume.metadata.resource_version.clone(),
            patch: json!({ "metadata": { "finalizers": Some(&rest).filter(|it| !it.is_empty()) } }),
        };
        match action.apply(&self.client).await {
            // Somebody else changed it, and that wakes us again; or it is gone.
            Ok(_) | Err(Refused::Conflict(_) | Refused::NotFound(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn tell(&self, volume: &VolumeView, why: &str) {
        let about = k8s_openapi::api::core::v1::ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("PersistentVolume".into()),
            name: volume.metadata.name.clone(),
            uid: volume.metadata.uid.clone(),
            ..Default::default()
        };
        self.recorder.note(about, Severity::Warning, "VolumeFailedDelete", why);
    }
}

fn remove(volumes: &Volumes, name: &str, folder: &std::path::Path) -> Result<(), String> {
    let uses = |pod: &String| Disk::all(&volumes.of_pod(pod)).iter().any(|it| it.volume == name);
    if let Some(pod) = volumes.pods().iter().find(|it| uses(it)) {
        return Err(format!("the volume is still used by pod {pod}"));
    }
    volumes.folders().remove(name, folder).map_err(|it| it.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn volume(data: &std::path::Path, changes: &[(&str, Value)]) -> VolumeView {
        let mut it = json!({ "metadata": { "name": "v", "uid": "u", "finalizers": [LOCAL_FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z",
            "labels": { LOCAL_NODE: "n1" }, "annotations": { "pv.kubernetes.io/provisioned-by": "orlop.dev/local" } },
            "spec": { "persistentVolumeReclaimPolicy": "Delete", "local": { "path": data.join("volumes/v") } } });
        for (path, value) in changes {
            *it.pointer_mut(path).unwrap() = value.clone();
        }
        serde_json::from_value(it).unwrap()
    }

    #[test]
    fn only_what_is_ours_and_goes_is_removed() {
        let data = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(data.path());
        let check = |changes: &[(&str, Value)], expected: Wish| {
            assert_eq!(wish(&volume(data.path(), changes), "n1", &volumes), expected, "{changes:?}");
        };
        check(&[], Wish::Remove(data.path().join("volumes/v")));
        check(&[("/metadata/deletionTimestamp", Value::Null)], Wish::Nothing);
        check(&[("/metadata/finalizers", json!([]))], Wish::Nothing);
        check(&[("/metadata/finalizers", json!([LOCAL_FINALIZER, VOLUME_PROTECTION]))], Wish::Nothing);
        check(&[("/metadata/labels", json!({ LOCAL_NODE: "n2" }))], Wish::Nothing);
        check(&[("/metadata/annotations", json!({}))], Wish::Nothing);
        check(&[("/spec/persistentVolumeReclaimPolicy", "Retain".into())], Wish::LetGo);
        check(&[("/spec/local/path", "/etc".into())], Wish::LetGo);
    }

    #[test]
    fn a_folder_that_is_used_waits() {
        let data = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(data.path());
        let folder = data.path().join("volumes/v");
        volumes.folders().make(&folder).unwrap();
        let disk =
            Disk { volume: "v".into(), path: folder.clone(), read_only: false, is_ownable: true, host_path: None };
        disk.keep(&volumes.of_pod("p"), "data").unwrap();
        assert!(remove(&volumes, "v", &folder).unwrap_err().contains("still used by pod p") && folder.exists());
        volumes.remove("p").unwrap();
        remove(&volumes, "v", &folder).unwrap();
        assert!(!folder.exists());
    }
}
