//! One layer made from its stream: unpacked beside its place, verified, synced, and then put there in one step.

use std::fs;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::fault::Fault;
use super::layout::{Layout, make_folder};
use super::stream::{Plain, Stop};
use super::tree::Tree;
use super::unpack::unpack;

/// Read from the plain stream at once; headers come in blocks of 512 bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// What is told of a layer beside its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of its tar stream.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size_bytes: u64,
}

/// A layer that is to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub diff_id: Digest,
    pub chain_id: Digest,
    /// The chain ids below, the lowest first.
    pub below: Vec<Digest>,
}

impl Layer {
    /// The layer, if it is here.
    pub fn find(layout: &Layout, chain_id: &Digest) -> Option<Layer> {
        let text = fs::read(layout.layer(chain_id).join("layer.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Its files.
    pub fn files(layout: &Layout, chain_id: &Digest) -> PathBuf {
        layout.layer(chain_id).join("fs")
    }

    /// Makes a layer from a source of `source_bytes`, however compressed. Blocks.
    ///
    /// # Errors
    /// When the source is damaged, a bomb, is not what its digest says or has names that lead out; when the disk is full. Nothing is left.
    pub fn make(
        layout: &Layout,
        wanted: &Wanted,
        source: impl Read + Send + 'static,
        source_bytes: u64,
        stop: Stop,
    ) -> Result<Layer, Fault> {
        let temporary = layout.temporary();
        let files = temporary.path().join("fs");
        make_folder(&files)?;
        let below = wanted.below.iter().rev().map(|it| Self::files(layout, it)).collect();
        let tree = Tree::open(&files, below)?;
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, Plain::open(source, source_bytes, stop)?);
        let size_bytes = unpack(&mut plain, &tree)?;
        // What the buffer holds has been hashed.
        let found = plain.into_inner().finish()?;
        if found != wanted.diff_id {
            let text = format!("the layer unpacks to {found}, where the image's configuration says {}", wanted.diff_id);
            return Err(Fault::bad(text));
        }
        let layer = Layer { diff_id: found, size_bytes };
        let text = serde_json::to_vec(&layer).map_err(|it| Fault::bad(it.to_string()))?;
        let told = temporary.path().join("layer.json");
        fs::write(&told, text).map_err(|it| Fault::io(format!("write {}", told.display()), it))?;
        // One sync for thousands of files; fsync each would take a second per hundred.
        let root = fs::File::open(layout.root()).map_err(|it| Fault::io("open the store", it))?;
        rustix::fs::syncfs(&root).map_err(|it| Fault::io("sync the layer", it))?;
        let place = layout.layer(&wanted.chain_id);
        // Something without its description is no layer.
        drop(layout.discard(&place)?);
        temporary.rename(&place)?;
        Ok(layer)
    }
}
