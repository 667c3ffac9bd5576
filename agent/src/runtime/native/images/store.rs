//! What the parts of the image store share: the folders, the index, and who is at work.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::fault::Fault;
use super::flight::{Flights, Pins};
use super::index::Index;
use super::layer::Layer;
use super::layout::{Layout, list};
use super::registry::Clients;

/// The store. Methods that change something block.
#[derive(Debug)]
pub struct Store {
    pub layout: Layout,
    pub flights: Flights,
    pub pins: Arc<Pins>,
    pub clients: Clients,
    /// Held while a root is looked for and mounted or unmounted, so that none is mounted twice.
    pub mounting: Mutex<()>,
    /// What is on disk, shared with readers who wait for nobody.
    index: RwLock<Arc<Index>>,
    /// Held while the index changes or what it does not name is removed.
    writing: Mutex<()>,
}

/// What a container's root is made of: `image.json` in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub image: Digest,
    /// Chain ids, the lowest first.
    pub layers: Vec<Digest>,
}

/// The right to change the index.
pub struct Change<'a> {
    store: &'a Store,
    _writing: MutexGuard<'a, ()>,
    pub index: Index,
}

impl Change<'_> {
    /// Writes the index, durably.
    ///
    /// # Errors
    /// When the kernel refuses; the index is as before then.
    pub fn commit(&mut self) -> Result<(), Fault> {
        let text = serde_json::to_vec(&self.index).map_err(|it| Fault::bad(format!("the index: {it}")))?;
        self.store.layout.write(&self.store.layout.index(), &text)?;
        *self.store.index.write() = Arc::new(self.index.clone());
        Ok(())
    }
}

impl Store {
    /// Opens a store and drops from the index what is not whole on disk.
    ///
    /// # Errors
    /// When another process has it open, or the kernel refuses.
    pub fn open(root: &Path) -> Result<Self, Fault> {
        let layout = Layout::open(root)?;
        let path = layout.index();
        let index = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                // The layers stay, and a pull finds them again.
                tracing::warn!(path = %path.display(), %error, "the index of images is damaged: they have to be pulled again");
                Index::default()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Index::default(),
            Err(error) => return Err(Fault::io(format!("read {}", path.display()), error)),
        };
        let index = whole(&layout, index);
        Ok(Store {
            layout,
            flights: Flights::default(),
            pins: Arc::default(),
            clients: Clients::default(),
            mounting: Mutex::default(),
            index: RwLock::new(Arc::new(index)),
            writing: Mutex::default(),
        })
    }

    /// The index as it is now.
    pub fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read())
    }

    /// Begins a change; others wait.
    pub fn change(&self) -> Change<'_> {
        let writing = self.writing.lock();
        Change { store: self, _writing: writing, index: (*self.index()).clone() }
    }

    /// What a container is mounted from, if it has a root. A record that a power failure cut off is none: nothing runs after that.
    ///
    /// # Errors
    /// When the name is no name for a container.
    pub fn used_by(&self, container: &str) -> Result<Option<Used>, Fault> {
        Ok(read_used(&self.layout.container(container)?))
    }

    /// A container that uses an image, if there is one.
    ///
    /// # Errors
    /// When containers cannot be listed.
    pub fn user_of(&self, image: &Digest) -> Result<Option<String>, Fault> {
        let containers = list(&self.layout.containers())?;
        let user = containers.iter().find(|it| read_used(it).is_some_and(|it| it.image == *image));
        Ok(user.and_then(|it| Some(it.file_name()?.to_string_lossy().into_owned())))
    }

    /// Removes blobs and layers that no image and no container is made of and nobody works with.
    ///
    /// # Errors
    /// When folders cannot be listed. What cannot be removed is told in the log, and tried again the next time.
    pub fn collect(&self) -> Result<(), Fault> {
        let change = self.change();
        let mut layers = change.index.layers();
        let used: Vec<Used> = list(&self.layout.containers())?.iter().filter_map(|it| read_used(it)).collect();
        layers.extend(used.iter().flat_map(|it| &it.layers));
        let mut out = Vec::new();
        for path in list(&self.layout.layers())? {
            let digest = path.file_name().and_then(|it| Digest::of_id(&it.to_string_lossy()));
            let gone = match digest {
                Some(it) if layers.contains(&it) => None,
                Some(it) => self.pins.unless_held(&it, || self.layout.discard(&path)),
                None => Some(self.layout.discard(&path)),
            };
            out.extend(gone);
        }
        for path in list(&self.layout.blobs())? {
            let digest = path.file_name().and_then(|it| Digest::of_id(&it.to_string_lossy()));
            let gone = match digest {
                Some(it) if change.index.record(&it).is_some() => None,
                Some(it) => self.pins.unless_held(&it, || self.layout.discard(&path)),
                None => Some(self.layout.discard(&path)),
            };
            out.extend(gone);
        }
        // Removing takes long and needs no lock: nobody finds it any more.
        drop(change);
        for it in out {
            if let Err(error) = it {
                tracing::warn!(%error, "something that no image uses stays");
            }
        }
        Ok(())
    }
}

fn read_used(container: &Path) -> Option<Used> {
    serde_json::from_slice(&fs::read(container.join("image.json")).ok()?).ok()
}

/// The images of an index that have all of their parts.
fn whole(layout: &Layout, mut index: Index) -> Index {
    let broken = |id: &&Digest| {
        let layers = index.record(id).map(|it| it.layers.as_slice()).unwrap_or_default();
        !layout.blob(id).is_file() || layers.iter().any(|it| Layer::find(layout, it).is_none())
    };
    let broken: Vec<Digest> = index.ids().filter(broken).cloned().collect();
    for id in broken {
        tracing::warn!(image = %id, "an image has lost parts: it has to be pulled again");
        index.remove(&id);
    }
    index
}
