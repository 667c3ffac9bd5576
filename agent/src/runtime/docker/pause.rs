//! The pause image: made from the program embedded in this binary, loaded into the Engine once, pulled from nowhere.

use bollard::body_full;
use bollard::models::BuildInfo;
use bollard::query_parameters::ImportImageOptions;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::archive::{self, Config, File};
use super::engine::{Engine, QUICK, SLOW};
use crate::runtime::RuntimeError;

/// The static binary that `build.rs` made.
pub static PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// The image's name: its tag changes with the program.
pub fn reference() -> String {
    format!("orlop.dev/pause:{}", &archive::hex(&Sha256::digest(PAUSE))[..12])
}

/// Makes sure that the Engine has the image, and returns its name.
pub async fn ensure(engine: &Engine) -> Result<String, RuntimeError> {
    let reference = reference();
    let name = reference.as_str();
    match engine.call("inspect image", QUICK, |docker| async move { docker.inspect_image(name).await }).await {
        Ok(_) => return Ok(reference),
        Err(RuntimeError::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    let files = [File { path: "pause", mode: 0o755, bytes: PAUSE }];
    // Not root: it needs nothing, and it shares the pod's namespaces.
    let config = Config { entrypoint: &["/pause"], user: "65535:65535", ..Config::default() };
    let archive = archive::image(name, &files, &config)
        .map_err(|it| RuntimeError::Other(format!("the pause image could not be made: {it}")))?;
    let load = |docker: bollard::Docker| async move {
        let answer = docker.import_image(ImportImageOptions::default(), body_full(archive.into()), None);
        answer.try_collect::<Vec<BuildInfo>>().await
    };
    engine.call("load the pause image", SLOW, load).await?;
    tracing::info!(image = name, "made the pause image");
    Ok(reference)
}
