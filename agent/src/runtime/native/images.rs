//! Images of this machine, kept without a daemon: pulled or loaded, unpacked layer by layer, and mounted as containers' roots.
//!
//! In: references, archives, and what registries send, none of which is trusted. Out: [`Image`]s, and overlay mounts. The way of a pull:
//! `registry → fetch → (blobs) → stream → tar → unpack → (layers) → index`; `root` and `overlay` make containers' roots of that. What is under its
//! name on disk is whole, verified and synced ([`layout`]); everything else is in `tmp` and goes at the next start. A layer is shared by all images
//! that have it with the same ones below, and goes with the last of them.
//!
//! It knows no pods and no pull policies, and never pulls because something is missing.

mod archive;
mod digest;
mod fault;
mod fetch;
mod flight;
mod index;
mod inside;
mod layer;
mod layout;
mod load;
mod manifest;
mod overlay;
mod progress;
mod pull;
mod registry;
mod root;
mod rubbish;
#[cfg(test)]
mod sample;
mod store;
mod stream;
mod tar;
mod tree;
mod unpack;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;
use tokio::sync::mpsc;
use tokio::task::JoinError;

use super::super::reference::Reference;
use super::super::{Image, PullProgress, RegistryAuth, RuntimeError};
use digest::Digest;
use fault::Fault;
use index::Index;
use store::Store;

/// The image store below one folder. Clones share it.
#[derive(Clone, Debug)]
pub struct ImageStore {
    store: Arc<Store>,
}

impl ImageStore {
    /// Opens the store below `root`, which is made if it is not there, and clears away what a crash left half-done.
    ///
    /// # Errors
    /// When another process has it open, or the disk refuses.
    pub fn open(root: &Path) -> Result<Self, RuntimeError> {
        let store = Store::open(root).map_err(Fault::storing)?;
        Ok(ImageStore { store: Arc::new(store) })
    }

    /// The image under a reference or an id, if it is here.
    ///
    /// # Errors
    /// When it is no reference.
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        let index = self.store.index();
        Ok(find(&index, reference)?.and_then(|it| index.image(&it)))
    }

    /// All images that are here.
    ///
    /// # Errors
    /// None: the index is in memory.
    pub async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        let index = self.store.index();
        Ok(index.ids().filter_map(|it| index.image(it)).collect())
    }

    /// Pulls an image. What is here already of it is not fetched again. Dropping the future stops the pull.
    ///
    /// # Errors
    /// `InvalidImageName`, `ImagePull` with the registry's words or what is wrong with the image, `Timeout`.
    pub async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<Image, RuntimeError> {
        let parsed = parse(reference)?;
        let id = Box::pin(pull::pull(&self.store, &parsed, auth, progress)).await.map_err(Fault::pulling)?;
        let gone = || RuntimeError::ImagePull(format!("image {reference:?} was pulled but is not here"));
        self.store.index().image(&id).ok_or_else(gone)
    }

    /// Loads the images of a file: what `docker save` writes, or an archive of an OCI image layout, compressed or not.
    ///
    /// # Errors
    /// When the file is neither, is damaged or is not what it says of itself, or the disk is full.
    pub async fn load(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        let ids = Box::pin(load::load(&self.store, archive)).await.map_err(Fault::storing)?;
        let index = self.store.index();
        Ok(ids.iter().filter_map(|it| index.image(it)).collect())
    }

    /// Removes an image with all its names, and what no other is made of. `id` may be a name, too. Gone already is fine.
    ///
    /// # Errors
    /// When a container uses it, or the disk refuses.
    pub async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let (store, id) = (Arc::clone(&self.store), id.to_owned());
        let Some(id) = find(&store.index(), &id)? else { return Ok(()) };
        let removing = move || {
            let mut change = store.change();
            if let Some(container) = store.user_of(&id)? {
                return Err(Fault::bad(format!("image {id} is in use by container {container}")));
            }
            if change.index.remove(&id) {
                change.commit()?;
            }
            drop(change);
            store.collect()
        };
        blocking(removing).await.map_err(Fault::storing)
    }

    /// An image's configuration: what it runs, its environment, its user.
    ///
    /// # Errors
    /// `NotFound`; or when it cannot be read.
    pub async fn config(&self, id: &str) -> Result<ImageConfiguration, RuntimeError> {
        let id = find(&self.store.index(), id)?.ok_or_else(|| RuntimeError::NotFound(format!("image {id}")))?;
        let path = self.store.layout.blob(&id);
        let read = move || {
            let text = std::fs::read(&path).map_err(|it| Fault::io(format!("read {}", path.display()), it))?;
            manifest::configuration(&text)
        };
        blocking(read).await.map_err(Fault::storing)
    }

    /// Makes the writable root of a container: an overlay over the image's layers, mounted at `at`. Idempotent. From here on the image cannot be
    /// removed.
    ///
    /// # Errors
    /// `NotFound` without the image; or when the container has a root of another, or the kernel refuses.
    pub async fn mount(&self, id: &str, container: &str, at: &Path) -> Result<(), RuntimeError> {
        let found = find(&self.store.index(), id)?;
        let id = found.ok_or_else(|| RuntimeError::NotFound(format!("image {id}")))?;
        let (store, container, at) = (Arc::clone(&self.store), container.to_owned(), PathBuf::from(at));
        aside(move || root::mount(&store, &id, &container, &at)).await.map_err(Fault::storing)
    }

    /// Unmounts a container's root from `at`, and removes what the container wrote. Idempotent.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn unmount(&self, container: &str, at: &Path) -> Result<(), RuntimeError> {
        let (store, container, at) = (Arc::clone(&self.store), container.to_owned(), PathBuf::from(at));
        aside(move || root::unmount(&store, &container, &at)).await.map_err(Fault::storing)
    }
}

impl ImageStore {
    /// Where a container's root keeps what it writes; none without one.
    pub fn written(&self, container: &str) -> Option<PathBuf> {
        self.store.layout.container(container).ok().map(|it| it.join(root::UPPER)).filter(|it| it.is_dir())
    }

    /// The store's folder.
    pub fn root(&self) -> PathBuf {
        self.store.layout.root().to_owned()
    }
}

/// The id of an image by its name or id.
fn find(index: &Index, reference: &str) -> Result<Option<Digest>, RuntimeError> {
    if let Some(id) = Digest::of_id(reference) {
        return Ok(index.record(&id).map(|_| id));
    }
    Ok(index.named(&parse(reference)?.canonical()).cloned())
}

fn parse(reference: &str) -> Result<Reference, RuntimeError> {
    Reference::parse(reference).map_err(|it| RuntimeError::InvalidImageName(reference.to_owned(), it.to_owned()))
}

/// Runs what waits for the disk for long where that holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    outcome(tokio::task::spawn_blocking(work).await)
}

/// Runs what is done soon ([`aside`](crate::aside)).
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    outcome(crate::aside::run(work).await)
}

fn outcome<T>(done: Result<Result<T, Fault>, JoinError>) -> Result<T, Fault> {
    done.unwrap_or_else(|error| Err(Fault::bad(format!("work on images ended: {error}"))))
}

#[cfg(test)]
mod tests;
