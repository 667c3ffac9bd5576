//! What images and containers take of the disk: measured in the store's folders, and in those of the logs.

use std::path::Path;
use std::sync::Arc;

use orlop_shim::record::LOG;

use super::names::ContainerName;
use super::{Node, inventory};
use crate::runtime::{ContainerRoom, DiskUse, Room, RuntimeError};
use crate::usage::files;

/// What is taken now. Images count as long as their files are together, so that a layer of several counts for each.
pub async fn disk(node: &Arc<Node>) -> Result<DiskUse, RuntimeError> {
    let images = node.images.images().await?;
    let bytes = images.iter().map(|it| it.size_bytes).sum();
    let containers = inventory::list(node, None).await?.containers;
    let node = Arc::clone(node);
    let measuring = move || {
        let of = |id: &str| ContainerRoom {
            root: node.images.written(id).and_then(|it| files::measure(&it).ok()).unwrap_or_default(),
            log: ContainerName::parse(id).map(|it| log(&it.folder(&node.pods))).unwrap_or_default(),
        };
        DiskUse {
            images_at: Some(node.images.root()),
            images: Room { bytes, inodes: None },
            containers: containers.into_iter().map(|it| (it.id.clone(), of(&it.id))).collect(),
        }
    };
    tokio::task::spawn_blocking(measuring).await.map_err(|it| RuntimeError::Other(it.to_string()))
}

/// The files of a container's log: `log`, `log.1` and so on.
fn log(folder: &Path) -> Room {
    files::those_named(folder, |it| it == LOG || it.strip_prefix(LOG).is_some_and(|it| it.starts_with('.')))
}
