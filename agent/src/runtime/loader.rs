//! What takes images from files: the node's own store, the Docker Engine, or nothing.
//!
//! Beside [`super::Runtime`] because the pod machine never loads: a person does, or the agent at its start.

use std::path::Path;

use async_trait::async_trait;

use super::hollow::Hollow;
use super::native::images::ImageStore;
use super::{Image, RuntimeError};

/// A place that takes images from files and says which it has.
#[async_trait]
pub trait Loader: Send + Sync + 'static {
    /// Loads all images of a file: what `docker save` writes, or an archive of an OCI image layout; plain, gzipped or zstd. Loading what is here
    /// already changes nothing.
    ///
    /// # Errors
    /// The file is neither, is damaged or too large, or the place is away or full.
    async fn load(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError>;

    /// All images that are here.
    ///
    /// # Errors
    /// The place is away.
    async fn images(&self) -> Result<Vec<Image>, RuntimeError>;
}

#[async_trait]
impl Loader for ImageStore {
    async fn load(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        Self::load(self, archive).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Self::images(self).await
    }
}

/// A hollow node would take anything and keep nothing: it says so instead.
#[async_trait]
impl Loader for Hollow {
    async fn load(&self, _archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        Err(no_images())
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Err(no_images())
    }
}

fn no_images() -> RuntimeError {
    RuntimeError::Other("the runtime hollow has no images: it runs no containers".to_owned())
}
