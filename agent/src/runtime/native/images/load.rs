//! The images of an archive put into the store.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::{Descriptor, ImageIndex};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::archive::{Archive, Slice};
use super::blocking;
use super::digest::Digest;
use super::fault::Fault;
use super::index::Record;
use super::layer::Wanted;
use super::manifest::{Blob, Described, Manifest};
use super::pull::layer;
use super::store::Store;
use super::stream::StopOnDrop;
use crate::runtime::reference::Reference;

/// The most images in an archive.
const MAX_IMAGES: usize = 1000;
/// Bytes of all configurations together: they are read before the first image is loaded.
const MAX_CONFIGS_BYTES: usize = 64 << 20;
/// Indexes within indexes.
const MAX_INDEXES: usize = 3;
/// Read from the archive at once.
const BUFFER_BYTES: usize = 256 << 10;

/// An image in an archive.
#[derive(Debug)]
struct Found {
    config: Vec<u8>,
    /// The files of its layers, the lowest first; with the blob where the archive says what it is.
    layers: Vec<(String, Option<Blob>)>,
    names: Vec<String>,
}

/// `manifest.json` of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Loads all images of an archive; gives their ids. Those before one that is refused stay.
///
/// # Errors
/// When it is no archive of images, or one is not what it says, or the disk is full.
pub async fn load(store: &Arc<Store>, path: &Path) -> Result<Vec<Digest>, Fault> {
    let stop = StopOnDrop::default();
    let (path, opening, stopped) = (PathBuf::from(path), Arc::clone(store), stop.0.clone());
    let (archive, found) = blocking(move || {
        let archive = Archive::open(&opening.layout, &path, stopped)?;
        let found = find(&archive)?;
        Ok((Arc::new(archive), found))
    })
    .await?;
    let mut ids = Vec::new();
    for image in found {
        let loaded = load_one(store, &archive, image).await;
        if let Err(Fault::Full(_)) = &loaded {
            let store = Arc::clone(store);
            if let Err(error) = blocking(move || store.collect()).await {
                tracing::warn!(%error, "the disk is full, and what no image uses could not be removed");
            }
        }
        ids.push(loaded?);
    }
    drop(stop);
    Ok(ids)
}

async fn load_one(store: &Arc<Store>, archive: &Arc<Archive>, image: Found) -> Result<Digest, Fault> {
    let id = Digest::of(&image.config);
    let described = Described::parse(&image.config, image.layers.len())?;
    let mut held = described.chain_ids.clone();
    held.push(id.clone());
    let chain = Arc::new(store.pins.hold(held));
    let mut size_bytes = image.config.len() as u64;
    for (at, (file, blob)) in image.layers.into_iter().enumerate() {
        let wanted = Wanted {
            diff_id: described.diff_ids[at].clone(),
            chain_id: described.chain_ids[at].clone(),
            below: described.chain_ids[..at].to_vec(),
        };
        let archive = Arc::clone(archive);
        let source = move || {
            let (slice, bytes) = archive.read(&file)?;
            if let Some(blob) = blob {
                verify(slice.clone(), bytes, &blob)?;
            }
            Ok((slice, bytes))
        };
        size_bytes += layer(store, wanted, &chain, source).await?.size_bytes;
    }
    let record = Record { layers: described.chain_ids, size_bytes, user: described.user };
    let store = Arc::clone(store);
    blocking(move || {
        let mut change = store.change();
        store.layout.write(&store.layout.blob(&id), &image.config)?;
        change.index.put(id.clone(), record, image.names);
        change.commit()?;
        drop((change, chain));
        Ok(id)
    })
    .await
}

fn find(archive: &Archive) -> Result<Vec<Found>, Fault> {
    let mut found = Vec::new();
    if archive.has("manifest.json") {
        let unreadable = |it| Fault::bad(format!("manifest.json cannot be read: {it}"));
        let saved: Vec<Saved> = serde_json::from_slice(&archive.json("manifest.json")?).map_err(unreadable)?;
        for it in saved.into_iter().take(MAX_IMAGES + 1) {
            let names = it.repo_tags.unwrap_or_default().iter().map(|it| name(it)).collect::<Result<_, _>>()?;
            let layers = it.layers.unwrap_or_default().into_iter().map(|it| (it, None)).collect();
            note(&mut found, Found { config: archive.json(&it.config)?, layers, names })?;
        }
    } else if archive.has("index.json") {
        let unreadable = |it| Fault::bad(format!("index.json cannot be read: {it}"));
        let index: ImageIndex = serde_json::from_slice(&archive.json("index.json")?).map_err(unreadable)?;
        for it in index.manifests().iter().take(MAX_IMAGES + 1) {
            note(&mut found, of_layout(archive, it)?)?;
        }
    } else {
        return Err(Fault::bad("the file is neither what docker save writes nor an OCI image layout"));
    }
    match found.len() {
        0 => Err(Fault::bad("the archive has no image")),
        1..=MAX_IMAGES => Ok(found),
        _ => Err(Fault::bad(format!("the archive has more than {MAX_IMAGES} images"))),
    }
}

fn note(found: &mut Vec<Found>, image: Found) -> Result<(), Fault> {
    found.push(image);
    match found.iter().map(|it| it.config.len()).sum::<usize>() {
        ..=MAX_CONFIGS_BYTES => Ok(()),
        _ => Err(Fault::bad(format!("the configurations of the archive have more than {MAX_CONFIGS_BYTES} bytes"))),
    }
}

/// An image of an OCI layout (OCI image specification, "Image Layout").
fn of_layout(archive: &Archive, descriptor: &Descriptor) -> Result<Found, Fault> {
    let asked = Digest::parse(descriptor.digest().as_ref())?;
    let mut digest = asked.clone();
    for _ in 0..=MAX_INDEXES {
        match Manifest::parse(&verified(archive, &digest)?)? {
            Manifest::Index(chosen) => digest = chosen,
            Manifest::Image { config, layers } => {
                let config = verified(archive, &config.digest)?;
                let layers = layers.into_iter().map(|it| (blob(&it.digest), Some(it))).collect();
                return Ok(Found { config, layers, names: names(descriptor, &asked)? });
            }
        }
    }
    Err(Fault::bad(format!("the archive has more than {MAX_INDEXES} indexes within each other")))
}

/// The names of an image in a layout: containerd's annotation has the whole one, OCI's often only a tag.
fn names(descriptor: &Descriptor, digest: &Digest) -> Result<Vec<String>, Fault> {
    let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|it| it.get(key)).map(String::as_str);
    let whole = annotation("io.containerd.image.name");
    let whole = whole.or_else(|| annotation("org.opencontainers.image.ref.name").filter(|it| it.contains([':', '/'])));
    let Some(whole) = whole else { return Ok(Vec::new()) };
    let (registry, path) = parse(whole)?.registry_and_path();
    Ok(vec![name(whole)?, format!("{registry}/{path}@{digest}")])
}

fn name(text: &str) -> Result<String, Fault> {
    Ok(parse(text)?.canonical())
}

fn parse(text: &str) -> Result<Reference, Fault> {
    Reference::parse(text).map_err(|it| Fault::bad(format!("the archive names an image {text:?}: {it}")))
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A small blob of a layout.
fn verified(archive: &Archive, digest: &Digest) -> Result<Vec<u8>, Fault> {
    let bytes = archive.json(&blob(digest))?;
    match Digest::of(&bytes) {
        found if found == *digest => Ok(bytes),
        found => Err(Fault::bad(format!("blob {digest} of the archive has the digest {found}"))),
    }
}

/// That a blob is what its descriptor says.
fn verify(slice: Slice, bytes: u64, blob: &Blob) -> Result<(), Fault> {
    if bytes != blob.size_bytes {
        let text = format!("blob {} of the archive has {bytes} bytes, not {}", blob.digest, blob.size_bytes);
        return Err(Fault::bad(text));
    }
    let mut hash = Sha256::new();
    let (mut slice, mut buffer) = (slice, vec![0; BUFFER_BYTES]);
    loop {
        match slice.read(&mut buffer).map_err(|it| Fault::io("read the archive", it))? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    match Digest::finish(hash) {
        found if found == blob.digest => Ok(()),
        found => Err(Fault::bad(format!("blob {} of the archive has the digest {found}", blob.digest))),
    }
}
