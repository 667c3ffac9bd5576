//! What images and containers take of the disk, as the runtime tells it.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_cri::v1 as cri;

use super::container;
use super::endpoint::{Endpoint, QUICK, SLOW};
use crate::runtime::{ContainerRoom, DiskUse, Room, RuntimeError};
use crate::usage::files;

/// What is taken now.
pub async fn disk(endpoint: &Endpoint) -> Result<DiskUse, RuntimeError> {
    let request = cri::ImageFsInfoRequest {};
    let call = endpoint.image_call("ImageFsInfo", QUICK, |mut it| async move { it.image_fs_info(request).await });
    let images = call.await?.image_filesystems.into_iter().next();
    let filter = cri::ContainerStatsFilter { label_selector: endpoint.ours(), ..Default::default() };
    let request = cri::ListContainerStatsRequest { filter: Some(filter) };
    let call =
        endpoint.call("ListContainerStats", SLOW, |mut it| async move { it.list_container_stats(request).await });
    let mut containers = BTreeMap::new();
    for it in call.await?.stats {
        let Some(id) = it.attributes.map(|it| it.id) else { continue };
        let folder = container::status(endpoint, &id).await?.map(|it| it.log_path).unwrap_or_default();
        let folder = Path::new(&folder).parent().filter(|it| it.starts_with(endpoint.logs()));
        let log = folder.map(|it| files::those_named(it, |_| true)).unwrap_or_default();
        containers.insert(id, ContainerRoom { root: it.writable_layer.as_ref().map(room).unwrap_or_default(), log });
    }
    Ok(DiskUse {
        images_at: images.as_ref().and_then(|it| it.fs_id.as_ref()).map(|it| it.mountpoint.clone().into()),
        images: images.as_ref().map(room).unwrap_or_default(),
        containers,
    })
}

fn room(it: &cri::FilesystemUsage) -> Room {
    Room {
        bytes: it.used_bytes.as_ref().map(|it| it.value).unwrap_or_default(),
        inodes: it.inodes_used.as_ref().map(|it| it.value),
    }
}
