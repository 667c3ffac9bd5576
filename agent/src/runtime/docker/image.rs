//! Images: which are here, and getting those that are not.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::query_parameters::{CreateImageOptions, ListImagesOptions, RemoveImageOptions};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::engine::{Engine, QUICK, SLOW};
use super::progress::Layers;
use crate::runtime::reference::Reference;
use crate::runtime::{Image, PullProgress, RegistryAuth, RuntimeError};

/// How long a pull may say nothing: the kubelet's own `image-pull-progress-deadline` was one minute; a slow disk unpacks longer.
const PULL_SILENCE: Duration = Duration::from_secs(180);

/// How long a whole pull may take. A gigabyte at 1 MB/s is a quarter of an hour.
const PULL: Duration = Duration::from_secs(3600);

/// The image under a reference or id, if it is here.
pub async fn inspect(engine: &Engine, reference: &str) -> Result<Option<Image>, RuntimeError> {
    let name = if is_id(reference) { reference.to_owned() } else { parse(reference)?.full() };
    let name = name.as_str();
    match engine.call("inspect image", QUICK, |docker| async move { docker.inspect_image(name).await }).await {
        Ok(found) => Ok(Some(Image {
            id: found.id.unwrap_or_default(),
            tags: found.repo_tags.unwrap_or_default(),
            digests: found.repo_digests.unwrap_or_default(),
            size_bytes: found.size.and_then(|it| u64::try_from(it).ok()).unwrap_or_default(),
            user: found.config.and_then(|it| it.user).filter(|it| !it.is_empty()),
        })),
        Err(RuntimeError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All images that have a name.
pub async fn list(engine: &Engine) -> Result<Vec<Image>, RuntimeError> {
    let options = ListImagesOptions { digests: true, ..ListImagesOptions::default() };
    let found =
        engine.call("list images", QUICK, |docker| async move { docker.list_images(Some(options)).await }).await?;
    // `<none>` stands for a name that has moved on to another image.
    let named = |it: Vec<String>| it.into_iter().filter(|it| !it.contains("<none>")).collect::<Vec<_>>();
    Ok(found
        .into_iter()
        .map(|it| Image {
            id: it.id,
            tags: named(it.repo_tags),
            digests: named(it.repo_digests),
            size_bytes: u64::try_from(it.size).unwrap_or_default(),
            user: None,
        })
        .filter(|it| !it.tags.is_empty() || !it.digests.is_empty())
        .collect())
}

/// Removes an image: name by name, since the Engine refuses an id that has several.
pub async fn remove(engine: &Engine, image: &Image) -> Result<(), RuntimeError> {
    let names: Vec<&String> = image.tags.iter().chain(&image.digests).collect();
    for name in if names.is_empty() { vec![&image.id] } else { names } {
        let options = RemoveImageOptions { force: false, noprune: false, platforms: None };
        let call = engine
            .call("remove image", SLOW, |docker| async move { docker.remove_image(name, Some(options), None).await });
        match call.await {
            // Gone with the name before it.
            Ok(_) | Err(RuntimeError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Pulls an image. Dropping the future stops the pull.
pub async fn pull(
    engine: &Engine,
    reference: &str,
    auth: Option<&RegistryAuth>,
    progress: mpsc::Sender<PullProgress>,
) -> Result<Image, RuntimeError> {
    let parsed = parse(reference)?;
    tokio::time::timeout(PULL, pull_layers(engine, &parsed, auth, progress))
        .await
        .map_err(|_| RuntimeError::Timeout(format!("pull of {reference} took longer than {} s", PULL.as_secs())))??;
    let image = inspect(engine, &parsed.full()).await?;
    image.ok_or_else(|| RuntimeError::ImagePull(format!("image {reference:?} was pulled but is not here")))
}

async fn pull_layers(
    engine: &Engine,
    reference: &Reference,
    auth: Option<&RegistryAuth>,
    progress: mpsc::Sender<PullProgress>,
) -> Result<(), RuntimeError> {
    let docker = engine.client(PULL_SILENCE).await?;
    let options = CreateImageOptions {
        from_image: Some(reference.name.clone()),
        tag: Some(reference.version.clone()),
        ..CreateImageOptions::default()
    };
    let credentials = auth.map(|it| DockerCredentials {
        username: Some(it.username.clone()),
        password: Some(it.password.clone()),
        serveraddress: reference.registry.clone(),
        ..DockerCredentials::default()
    });
    let mut lines = std::pin::pin!(docker.create_image(Some(options), None, credentials));
    let mut layers = Layers::default();
    loop {
        let line = match tokio::time::timeout(PULL_SILENCE, lines.next()).await {
            Err(_) => {
                let text = format!("pull of {} made no progress for {} s", reference.full(), PULL_SILENCE.as_secs());
                return Err(RuntimeError::Timeout(text));
            }
            Ok(None) => return Ok(()),
            Ok(Some(Ok(line))) => line,
            Ok(Some(Err(error))) => return Err(refusal(engine, error)),
        };
        if let Some(step) = layers.note(&line) {
            // A receiver that is behind or gone misses a step; it gets the next.
            let _ = progress.try_send(step);
        }
    }
}

/// Why a pull failed. The Engine's own words tell an absent image from a registry that is away; both are the pull's failure. Only an Engine
/// that does not answer is another matter.
fn refusal(engine: &Engine, error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { message, .. } => RuntimeError::ImagePull(message),
        Error::DockerStreamError { error } => RuntimeError::ImagePull(error),
        other => engine.explain("pull", other),
    }
}

fn parse(reference: &str) -> Result<Reference, RuntimeError> {
    Reference::parse(reference).map_err(|it| RuntimeError::InvalidImageName(reference.to_owned(), it.to_owned()))
}

/// Whether this is an image's id and not its name.
fn is_id(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    hex.len() == 64 && hex.bytes().all(|it| it.is_ascii_hexdigit())
}
