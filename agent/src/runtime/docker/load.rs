//! Images from files, into the Engine.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::BuildInfo;
use bollard::query_parameters::ImportImageOptions;
use futures::StreamExt;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use super::DockerRuntime;
use super::engine::Engine;
use super::image::{inspect, list};
use crate::runtime::loader::Loader;
use crate::runtime::{Image, RuntimeError};

/// How long the Engine may say nothing: it unpacks what it has read before it says a word.
const SILENCE: Duration = Duration::from_secs(300);
/// How long a whole archive may take. Ten gigabytes at 10 MB/s of a slow disk are a quarter of an hour.
const WITHIN: Duration = Duration::from_secs(3600);
/// Read from the file at once.
const CHUNK_BYTES: usize = 256 << 10;
/// The most that is kept of what the Engine says, in lines: one an image and one a layer.
const LINES: usize = 10_000;

#[async_trait]
impl Loader for DockerRuntime {
    async fn load(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        let loading = load(&self.engine, archive);
        tokio::time::timeout(WITHIN, loading).await.map_err(|_| RuntimeError::Timeout("docker: load".to_owned()))?
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        list(&self.engine).await
    }
}

async fn load(engine: &Engine, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
    let opened = File::open(archive).await;
    let file = opened.map_err(|it| RuntimeError::Other(format!("read {}: {it}", archive.display())))?;
    let body = ReaderStream::with_capacity(file, CHUNK_BYTES);
    let docker = engine.client(SILENCE).await?;
    let mut lines = std::pin::pin!(docker.import_image_stream(ImportImageOptions::default(), body, None));
    let mut names = Vec::new();
    loop {
        let line = match tokio::time::timeout(SILENCE, lines.next()).await {
            Err(_) => return Err(RuntimeError::Timeout("docker: load made no progress".to_owned())),
            Ok(None) => break,
            Ok(Some(line)) => line.map_err(|it| engine.explain("load", it))?,
        };
        if let Some(why) = &line.error_detail {
            return Err(RuntimeError::Other(why.message.clone().unwrap_or_else(|| "the Engine refused it".to_owned())));
        }
        if names.len() < LINES {
            names.extend(loaded(&line));
        }
    }
    let mut images = Vec::new();
    for name in names {
        images.extend(inspect(engine, &name).await?);
    }
    if images.is_empty() {
        return Err(RuntimeError::Other("the Engine found no image in the file".to_owned()));
    }
    Ok(images)
}

/// The image that a line of the Engine's answer speaks of: `Loaded image: name:tag`, or `Loaded image ID: sha256:…` for one without a name.
fn loaded(line: &BuildInfo) -> Option<String> {
    let text = line.stream.as_deref()?.trim();
    let name = text.strip_prefix("Loaded image: ").or_else(|| text.strip_prefix("Loaded image ID: "))?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_names_what_it_loaded() {
        let check = |text: &str, expected: Option<&str>| {
            let line = BuildInfo { stream: Some(text.to_owned()), ..BuildInfo::default() };
            assert_eq!(loaded(&line).as_deref(), expected, "{text}");
        };
        check("Loaded image: orlop.local/web:1\n", Some("orlop.local/web:1"));
        check("Loaded image ID: sha256:0a\n", Some("sha256:0a"));
        check("The image orlop.local/web:1 already exists, renaming the old one", None);
    }
}
