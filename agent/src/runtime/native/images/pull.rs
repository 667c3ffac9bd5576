//! An image got from a registry: manifest, configuration, and layers, which come a few at a time while those below are unpacked.
//!
//! Whatever was made stays if the pull is given up, and the next finds it. A full disk is another matter: then everything that no image uses goes.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::blocking;
use super::digest::Digest;
use super::fault::Fault;
use super::fetch::fetch;
use super::flight::{Hold, Piece};
use super::index::Record;
use super::layer::{Layer, Wanted};
use super::manifest::{Blob, Described, Manifest};
use super::progress::Progress;
use super::registry::Repository;
use super::store::Store;
use super::stream::StopOnDrop;
use crate::runtime::reference::Reference;
use crate::runtime::{PullProgress, RegistryAuth};

/// Layers of one image that come at one time.
const DOWNLOADS: usize = 3;
/// The longest a pull may take: a few gigabytes over a slow line.
const PULL_WITHIN: Duration = Duration::from_secs(3600);
/// Indexes within indexes.
const MAX_INDEXES: usize = 3;

/// Pulls an image; gives its id. Dropping the future stops the pull.
///
/// # Errors
/// As the registry, the image or the disk has it.
pub async fn pull(
    store: &Arc<Store>,
    reference: &Reference,
    auth: Option<&RegistryAuth>,
    progress: mpsc::Sender<PullProgress>,
) -> Result<Digest, Fault> {
    let pulling = tokio::time::timeout(PULL_WITHIN, pull_parts(store, reference, auth, Progress::new(progress)));
    let pulled = pulling.await.unwrap_or_else(|_| {
        let text = format!("pull of {} took longer than {} s", reference.full(), PULL_WITHIN.as_secs());
        Err(Fault::Slow(text))
    });
    if let Err(Fault::Full(_)) = &pulled {
        let store = Arc::clone(store);
        if let Err(error) = blocking(move || store.collect()).await {
            tracing::warn!(%error, "the disk is full, and what no image uses could not be removed");
        }
    }
    pulled
}

async fn pull_parts(
    store: &Arc<Store>,
    reference: &Reference,
    auth: Option<&RegistryAuth>,
    progress: Progress,
) -> Result<Digest, Fault> {
    let from = Arc::new(Repository::open(&store.clients, reference, auth)?);
    let progress = Arc::new(progress);
    let (asked, config, layers) = manifest(&from, reference).await?;

    let mut held = vec![config.digest.clone()];
    held.extend(layers.iter().map(|it| it.digest.clone()));
    let blobs = store.pins.hold(held);
    fetch(&store.layout, &store.flights, &from, &config, &progress).await?;
    let path = store.layout.blob(&config.digest);
    let text = tokio::fs::read(&path).await.map_err(|it| Fault::io(format!("read {}", path.display()), it))?;
    let described = Described::parse(&text, layers.len())?;
    let chain = Arc::new(store.pins.hold(described.chain_ids.clone()));

    progress.layers(layers.len());
    let sizes = unpack_all(store, &from, &described, &layers, &chain, &progress).await?;
    let record = Record {
        layers: described.chain_ids,
        size_bytes: sizes.iter().sum::<u64>() + config.size_bytes,
        user: described.user,
    };
    let mut names = vec![format!("{}@{asked}", name(reference))];
    if !reference.is_digest() {
        names.push(reference.canonical());
    }
    let (id, store) = (config.digest, Arc::clone(store));
    blocking(move || {
        let mut change = store.change();
        change.index.put(id.clone(), record, names);
        change.commit()?;
        drop((change, chain, blobs));
        // Their files are unpacked; somebody else may need them still.
        for it in &layers {
            if it.digest != id {
                drop(store.pins.unless_held(&it.digest, || store.layout.discard(&store.layout.blob(&it.digest))));
            }
        }
        Ok(id)
    })
    .await
}

/// The manifest for this machine: the digest of what was asked for, the configuration and the layers.
async fn manifest(from: &Repository, reference: &Reference) -> Result<(Digest, Blob, Vec<Blob>), Fault> {
    let mut version = reference.version.clone();
    let mut asked = None;
    for _ in 0..=MAX_INDEXES {
        let (bytes, digest) = from.manifest(&version).await?;
        let asked = asked.get_or_insert(digest);
        match Manifest::parse(&bytes)? {
            Manifest::Image { config, layers } => return Ok((asked.clone(), config, layers)),
            Manifest::Index(chosen) => version = chosen.to_string(),
        }
    }
    Err(Fault::bad(format!("{} has more than {MAX_INDEXES} indexes within each other", reference.full())))
}

/// Gets and unpacks all layers; gives the bytes of each.
async fn unpack_all(
    store: &Arc<Store>,
    from: &Arc<Repository>,
    described: &Described,
    layers: &[Blob],
    chain: &Arc<Hold>,
    progress: &Arc<Progress>,
) -> Result<Vec<u64>, Fault> {
    let places = Arc::new(Semaphore::new(DOWNLOADS));
    let downloads = described.chain_ids.iter().zip(layers).map(|(chain_id, blob)| {
        // Looked for again when its turn comes: another pull may be making it.
        if Layer::find(&store.layout, chain_id).is_some() {
            return None;
        }
        let (store, from, blob) = (Arc::clone(store), Arc::clone(from), blob.clone());
        let (places, progress) = (Arc::clone(&places), Arc::clone(progress));
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let _place = places.acquire_owned().await.map_err(|_| Fault::Canceled)?;
            fetch(&store.layout, &store.flights, &from, &blob, &progress).await
        })))
    });
    let mut downloads: Vec<Option<Download>> = downloads.collect();
    let mut sizes = Vec::with_capacity(layers.len());
    for (at, blob) in layers.iter().enumerate() {
        match unpack_one(store, described, at, blob, downloads[at].take(), chain).await {
            Ok(layer) => sizes.push(layer.size_bytes),
            Err(fault) => {
                // When the failure is told, nothing half-done is left.
                for it in downloads.into_iter().flatten() {
                    it.abort();
                    let _ = it.await;
                }
                return Err(fault);
            }
        }
        progress.layer_done();
    }
    Ok(sizes)
}

/// A layer on its way.
type Download = AbortOnDropHandle<Result<(), Fault>>;

async fn unpack_one(
    store: &Arc<Store>,
    described: &Described,
    at: usize,
    blob: &Blob,
    download: Option<Download>,
    chain: &Arc<Hold>,
) -> Result<Layer, Fault> {
    if let Some(it) = download {
        it.await.map_err(|it| Fault::bad(format!("a download ended: {it}")))??;
    }
    let wanted = Wanted {
        diff_id: described.diff_ids[at].clone(),
        chain_id: described.chain_ids[at].clone(),
        below: described.chain_ids[..at].to_vec(),
    };
    let (path, size_bytes) = (store.layout.blob(&blob.digest), blob.size_bytes);
    let source = move || {
        let file = File::open(&path).map_err(|it| Fault::io(format!("open {}", path.display()), it))?;
        Ok((file, size_bytes))
    };
    layer(store, wanted, chain, source).await
}

/// Makes sure that a layer is unpacked. `source` opens its stream and tells its size; it is asked only where the layer is not here.
///
/// # Errors
/// As making it fails.
pub async fn layer<R: std::io::Read + Send + 'static>(
    store: &Arc<Store>,
    wanted: Wanted,
    chain: &Arc<Hold>,
    source: impl FnOnce() -> Result<(R, u64), Fault> + Send + 'static,
) -> Result<Layer, Fault> {
    let turn = store.flights.turn(Piece::Layer, &wanted.chain_id).await;
    let stop = StopOnDrop::default();
    // If nobody waits any more, the work ends by itself, and holds until then what it needs.
    let (store, chain, stopped) = (Arc::clone(store), Arc::clone(chain), stop.0.clone());
    let made = blocking(move || {
        let _held = (turn, chain);
        if let Some(it) = Layer::find(&store.layout, &wanted.chain_id) {
            return Ok(it);
        }
        let (source, size_bytes) = source()?;
        Layer::make(&store.layout, &wanted, source, size_bytes, stopped)
    })
    .await;
    drop(stop);
    made
}

/// The canonical name without its version.
fn name(reference: &Reference) -> String {
    let (registry, path) = reference.registry_and_path();
    format!("{registry}/{path}")
}
