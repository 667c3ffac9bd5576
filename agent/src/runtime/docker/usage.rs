//! What images and containers take of the disk, as the Engine measures it.

use std::collections::HashMap;
use std::path::Path;

use bollard::query_parameters::ListContainersOptions;
use futures::StreamExt;

use super::engine::{Engine, QUICK, SLOW};
use super::image;
use crate::runtime::{ContainerRoom, DiskUse, Room, RuntimeError, labels};
use crate::usage::files;

/// Containers inspected at once.
const INSPECTS: usize = 8;

/// What is taken now. The Engine walks through what containers have written, which takes long where that is much.
pub async fn disk(engine: &Engine) -> Result<DiskUse, RuntimeError> {
    let info = engine.call("info", QUICK, |docker| async move { docker.info().await }).await?;
    let images = image::list(engine).await?;
    let label = vec![format!("{}={}", labels::NODE, engine.node())];
    let options = ListContainersOptions {
        all: true,
        size: true,
        filters: Some(HashMap::from([("label".to_owned(), label)])),
        ..ListContainersOptions::default()
    };
    let listed = engine.call("list", SLOW, |docker| async move { docker.list_containers(Some(options)).await }).await?;
    let containers = futures::stream::iter(listed)
        .map(|it| async move {
            let id = it.id?;
            let log = match engine.owned(&id).await {
                Ok(Some(found)) => log(found.log_path.as_deref().unwrap_or_default()),
                _ => Room::default(),
            };
            let bytes = it.size_rw.and_then(|it| u64::try_from(it).ok()).unwrap_or_default();
            Some((id, ContainerRoom { root: Room { bytes, inodes: None }, log }))
        })
        .buffer_unordered(INSPECTS);
    Ok(DiskUse {
        images_at: info.docker_root_dir.map(Into::into),
        images: Room { bytes: images.iter().map(|it| it.size_bytes).sum(), inodes: None },
        containers: containers.filter_map(std::future::ready).collect().await,
    })
}

/// The files of a container's log: the current one, and those that were moved aside, which have a number behind.
fn log(path: &str) -> Room {
    let path = Path::new(path);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|it| it.to_str())) else {
        return Room::default();
    };
    files::those_named(folder, |it| it.starts_with(name))
}
