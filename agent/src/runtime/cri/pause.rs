//! The sandboxes' image: containerd wants one by the name in its configuration. Where that name is ours, we have the image.

use std::sync::OnceLock;

use serde_json::Value;

use super::endpoint::{Endpoint, QUICK};
use super::load;
use crate::runtime::RuntimeError;
use crate::runtime::docker::{archive, pause_program};
use k8s_cri::v1 as cri;

/// What names of ours begin with. Others are the runtime's to pull.
const OURS: &str = "orlop.dev/pause:";

/// The image's id, and it as an archive. The name is that of the first runtime that was asked: one agent has one.
static MADE: OnceLock<Result<(String, Vec<u8>), String>> = OnceLock::new();

fn made(name: &str) -> std::io::Result<(String, Vec<u8>)> {
    let files = [archive::File { path: "pause", mode: 0o755, bytes: pause_program() }];
    // Not root: it needs nothing, and it shares the pod's namespaces.
    let config = archive::Config { entrypoint: &["/pause"], user: "65535:65535", ..Default::default() };
    let bytes = archive::image(name, &files, &config)?;
    let id = archive::id(&bytes).ok_or_else(|| std::io::Error::other("the archive has no image"))?;
    Ok((id, bytes))
}

/// Makes sure that the runtime has the image, if it is ours to give.
///
/// # Errors
/// It cannot be made or loaded.
pub async fn ensure(endpoint: &Endpoint) -> Result<(), RuntimeError> {
    let Some(name) = configured(&endpoint.about().await?).filter(|it| it.starts_with(OURS)) else { return Ok(()) };
    let image = Some(cri::ImageSpec { image: name.clone(), ..Default::default() });
    let request = cri::ImageStatusRequest { image, verbose: false };
    let found = endpoint.image_call("ImageStatus", QUICK, |mut it| async move { it.image_status(request).await });
    let found = found.await?.image;
    let failed = |it: std::io::Error| RuntimeError::Other(format!("the pause image could not be made: {it}"));
    let made = MADE.get_or_init(|| made(&name).map_err(|it| it.to_string()));
    let (id, bytes) = made.as_ref().map_err(|it| failed(std::io::Error::other(it.clone())))?;
    if found.is_some_and(|it| it.id == *id) {
        return Ok(());
    }
    // There is none, or one with another version's program.
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    tokio::fs::write(file.path(), bytes).await.map_err(failed)?;
    load::file(endpoint, file.path()).await?;
    tracing::info!(image = name, "made the pause image");
    Ok(())
}

/// The name in containerd's configuration, as it tells it.
fn configured(about: &std::collections::HashMap<String, String>) -> Option<String> {
    let config: Value = serde_json::from_str(about.get("config")?).ok()?;
    config["sandboxImage"].as_str().map(str::to_owned)
}
