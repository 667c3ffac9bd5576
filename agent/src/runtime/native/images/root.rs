//! A container's writable root: its folder in the store, and the mount over its image's layers.
//!
//! The folder is made whole and then put in its place, so that whoever finds it finds all of it; from then on the image is in use.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use super::digest::Digest;
use super::fault::Fault;
use super::layer::Layer;
use super::layout::make_folder;
use super::overlay::{self, Overlay};
use super::store::{Store, Used};

/// Permission bits of a root without layers.
const BARE_MODE: u32 = 0o755;

/// The folder of what a container writes, in its own in the store.
pub const UPPER: &str = "upper";

/// Mounts a container's root at `at`, which is made if it is not there. Mounted already is fine.
///
/// # Errors
/// When the image is not here, the container has another, something else is mounted there, or the kernel refuses.
pub fn mount(store: &Store, image: &Digest, container: &str, at: &Path) -> Result<(), Fault> {
    if !overlay::is_place(at) {
        return Err(Fault::bad(format!("{} is no place for a root", at.display())));
    }
    let folder = store.layout.container(container)?;
    let _mounting = store.mounting.lock();
    let used = match store.used_by(container)? {
        Some(used) => used,
        None => make(store, image, container, &folder)?,
    };
    if used.image != *image {
        return Err(Fault::bad(format!("container {container} has a root of image {}, not {image}", used.image)));
    }
    make_folder(at)?;
    match overlay::mounted(at)? {
        Some((kind, source)) if kind == "overlay" && source == container => return Ok(()),
        Some((kind, _)) => return Err(Fault::bad(format!("{} has something of type {kind} mounted", at.display()))),
        None => {}
    }
    let mut layers: Vec<_> = used.layers.iter().map(|it| Layer::files(&store.layout, it)).collect();
    if layers.is_empty() {
        // The kernel wants something below.
        layers.push(folder.join("bare"));
    }
    let overlay =
        Overlay { source: container.to_owned(), layers, upper: folder.join(UPPER), work: folder.join("work") };
    overlay.mount(at)
}

/// Makes the container's folder and takes the image into use.
fn make(store: &Store, image: &Digest, container: &str, folder: &Path) -> Result<Used, Fault> {
    // While this is held, no image goes.
    let change = store.change();
    let record = change.index.record(image).ok_or_else(|| Fault::bad(format!("image {image} not found")))?;
    let used = Used { image: image.clone(), layers: record.layers.clone() };
    let temporary = store.layout.temporary();
    let failed = |it| Fault::io(format!("make the root of {container}"), it);
    let make = |name: &str| {
        let path = temporary.path().join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map(|()| path)
    };
    let upper = make(UPPER).map_err(failed)?;
    make("work").map_err(failed)?;
    // The root of the union has the attributes of the topmost folder in it.
    match used.layers.last() {
        Some(top) => {
            let top = fs::metadata(Layer::files(&store.layout, top)).map_err(failed)?;
            chown(&upper, Some(top.uid()), Some(top.gid())).map_err(failed)?;
            let mode = fs::Permissions::from_mode(top.mode() & 0o7777);
            fs::set_permissions(&upper, mode).map_err(failed)?;
        }
        None => {
            make("bare").map_err(failed)?;
            fs::set_permissions(&upper, fs::Permissions::from_mode(BARE_MODE)).map_err(failed)?;
        }
    }
    let text = serde_json::to_vec(&used).map_err(|it| Fault::bad(it.to_string()))?;
    // Not synced: what runs ends with the machine, and a container is made anew then.
    fs::write(temporary.path().join("image.json"), text).map_err(failed)?;
    // A folder without a readable record is a power failure's.
    drop(store.layout.discard(folder)?);
    temporary.put(folder)?;
    Ok(used)
}

/// Unmounts a container's root and removes what it wrote. Gone already is fine.
///
/// # Errors
/// When the kernel refuses.
pub fn unmount(store: &Store, container: &str, at: &Path) -> Result<(), Fault> {
    let folder = store.layout.container(container)?;
    let mounting = store.mounting.lock();
    overlay::unmount(container, at)?;
    let written = store.layout.discard(&folder)?;
    // Removing takes as long as the container wrote much.
    drop(mounting);
    drop(written);
    Ok(())
}
