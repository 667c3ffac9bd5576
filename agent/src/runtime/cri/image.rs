//! Images: which are here, and getting those that are not.

use std::time::Duration;

use k8s_cri::v1 as cri;
use tokio::sync::mpsc;

use super::endpoint::{Endpoint, QUICK, SLOW};
use crate::runtime::reference::Reference;
use crate::runtime::{Image, PullProgress, RegistryAuth, RuntimeError};

/// How long a whole pull may take. A gigabyte at 1 MB/s is a quarter of an hour.
const PULL: Duration = Duration::from_secs(3600);

/// The image under a reference or id, if it is here.
pub async fn inspect(endpoint: &Endpoint, reference: &str) -> Result<Option<Image>, RuntimeError> {
    let name = if is_id(reference) { reference.to_owned() } else { parse(reference)?.full() };
    let request = cri::ImageStatusRequest { image: Some(spec(&name)), verbose: false };
    let call = endpoint.image_call("ImageStatus", QUICK, |mut it| async move { it.image_status(request).await });
    match call.await {
        Ok(found) => Ok(found.image.map(image)),
        Err(RuntimeError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All images that have a name.
pub async fn list(endpoint: &Endpoint) -> Result<Vec<Image>, RuntimeError> {
    let request = cri::ListImagesRequest { filter: None };
    let found = endpoint.image_call("ListImages", QUICK, |mut it| async move { it.list_images(request).await }).await?;
    let named = |it: &Image| !it.tags.is_empty() || !it.digests.is_empty();
    Ok(found.images.into_iter().map(image).filter(named).collect())
}

/// Removes an image.
pub async fn remove(endpoint: &Endpoint, image: &Image) -> Result<(), RuntimeError> {
    let request = cri::RemoveImageRequest { image: Some(spec(&image.id)) };
    let call = endpoint.image_call("RemoveImage", SLOW, |mut it| async move { it.remove_image(request).await });
    match call.await {
        Ok(_) | Err(RuntimeError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Pulls an image. Dropping the future stops the waiting; what has come is the runtime's to keep. The CRI tells nothing of the progress.
pub async fn pull(
    endpoint: &Endpoint,
    reference: &str,
    auth: Option<&RegistryAuth>,
    _progress: mpsc::Sender<PullProgress>,
) -> Result<Image, RuntimeError> {
    let parsed = parse(reference)?;
    let auth = auth.map(|it| cri::AuthConfig {
        username: it.username.clone(),
        password: it.password.clone(),
        ..Default::default()
    });
    let request = cri::PullImageRequest { image: Some(spec(&parsed.full())), auth, sandbox_config: None };
    let call = endpoint.image_call("PullImage", PULL, |mut it| async move { it.pull_image(request).await });
    let pulled = match call.await {
        Ok(it) => it.image_ref,
        Err(RuntimeError::NotFound(why) | RuntimeError::Other(why)) => return Err(RuntimeError::ImagePull(why)),
        Err(error) => return Err(error),
    };
    let image = inspect(endpoint, &parsed.full()).await?;
    image.ok_or_else(|| RuntimeError::ImagePull(format!("image {reference:?} was pulled as {pulled} but is not here")))
}

fn spec(name: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: name.to_owned(), ..Default::default() }
}

fn image(it: cri::Image) -> Image {
    let user = it.uid.map(|it| it.value.to_string()).or(Some(it.username)).filter(|it| !it.is_empty());
    Image { id: it.id, tags: it.repo_tags, digests: it.repo_digests, size_bytes: it.size, user }
}

fn parse(reference: &str) -> Result<Reference, RuntimeError> {
    Reference::parse(reference).map_err(|it| RuntimeError::InvalidImageName(reference.to_owned(), it.to_owned()))
}

/// Whether this is an image's id and not its name.
fn is_id(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    hex.len() == 64 && hex.bytes().all(|it| it.is_ascii_hexdigit())
}
