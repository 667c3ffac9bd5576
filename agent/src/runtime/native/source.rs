//! What the runtime asks of images, and the store of this machine as that which answers. A test has another.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use oci_spec::image::ImageConfiguration;
use tokio::sync::mpsc;

use super::images::ImageStore;
use crate::runtime::{Image, PullProgress, RegistryAuth, RuntimeError};

/// Where images come from. All methods may be called again after a death in between.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// The image under this reference or id, if it is here.
    async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError>;

    /// All images that are here.
    async fn images(&self) -> Result<Vec<Image>, RuntimeError>;

    /// Pulls an image; progress goes to `progress`.
    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<Image, RuntimeError>;

    /// What an image says about the program in it.
    async fn config(&self, id: &str) -> Result<ImageConfiguration, RuntimeError>;

    /// Mounts the writable root of a container at a folder.
    async fn mount(&self, id: &str, container: &str, at: &Path) -> Result<(), RuntimeError>;

    /// Takes it away, with what the container wrote.
    async fn unmount(&self, container: &str, at: &Path) -> Result<(), RuntimeError>;

    /// Removes an image; gone already is fine.
    async fn remove(&self, id: &str) -> Result<(), RuntimeError>;

    /// Where a container's root keeps what it writes; none if that is nowhere apart.
    fn written(&self, container: &str) -> Option<PathBuf>;

    /// The folder in which everything is.
    fn root(&self) -> PathBuf;
}

#[async_trait]
impl Images for ImageStore {
    async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        Self::image(self, reference).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Self::images(self).await
    }

    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<Image, RuntimeError> {
        Self::pull(self, reference, auth, progress).await
    }

    async fn config(&self, id: &str) -> Result<ImageConfiguration, RuntimeError> {
        Self::config(self, id).await
    }

    async fn mount(&self, id: &str, container: &str, at: &Path) -> Result<(), RuntimeError> {
        Self::mount(self, id, container, at).await
    }

    async fn unmount(&self, container: &str, at: &Path) -> Result<(), RuntimeError> {
        Self::unmount(self, container, at).await
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        Self::remove(self, id).await
    }

    fn written(&self, container: &str) -> Option<PathBuf> {
        Self::written(self, container)
    }

    fn root(&self) -> PathBuf {
        Self::root(self)
    }
}
