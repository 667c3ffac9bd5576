//! Which images are here and what they are called: the content of `index.json`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use crate::runtime::Image;

/// Images by their id, which is their configuration's digest, and names by which they are found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    images: BTreeMap<Digest, Record>,
    /// `registry/path:tag` and `registry/path@digest`, the digest being the manifest's or the index's that was asked for.
    names: BTreeMap<String, Digest>,
}

/// What is known of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The chain ids of its layers, the lowest first.
    pub layers: Vec<Digest>,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// The user its configuration names, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Index {
    /// The id under a name.
    pub fn named(&self, name: &str) -> Option<&Digest> {
        self.names.get(name)
    }

    /// What is known of an image.
    pub fn record(&self, id: &Digest) -> Option<&Record> {
        self.images.get(id)
    }

    /// The ids of all images.
    pub fn ids(&self) -> impl Iterator<Item = &Digest> {
        self.images.keys()
    }

    /// An image as the agent knows it.
    pub fn image(&self, id: &Digest) -> Option<Image> {
        let record = self.images.get(id)?;
        let names = self.names.iter().filter(|(_, it)| *it == id).map(|(name, _)| name.clone());
        let (digests, tags) = names.partition(|it| it.contains('@'));
        let (size_bytes, user) = (record.size_bytes, record.user.clone());
        Some(Image { id: id.to_string(), tags, digests, size_bytes, user })
    }

    /// Puts an image in, and gives it names, which other images lose.
    pub fn put(&mut self, id: Digest, record: Record, names: impl IntoIterator<Item = String>) {
        self.names.extend(names.into_iter().map(|it| (it, id.clone())));
        self.images.insert(id, record);
    }

    /// Takes an image out with its names. Whether it was there.
    pub fn remove(&mut self, id: &Digest) -> bool {
        self.names.retain(|_, it| it != id);
        self.images.remove(id).is_some()
    }

    /// The layers that images are made of.
    pub fn layers(&self) -> BTreeSet<&Digest> {
        self.images.values().flat_map(|it| &it.layers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_move_and_images_go() {
        let (a, b, layer) = (Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"layer"));
        let record = Record { layers: vec![layer.clone()], size_bytes: 3, user: None };
        let mut index = Index::default();
        index.put(a.clone(), record.clone(), ["r/x:1".to_owned(), "r/x@sha256:1".to_owned()]);
        index.put(b.clone(), record, ["r/x:1".to_owned()]);
        assert_eq!(index.named("r/x:1"), Some(&b));
        let old = index.image(&a).unwrap();
        assert_eq!((old.tags, old.digests), (vec![], vec!["r/x@sha256:1".to_owned()]));
        let text = serde_json::to_vec(&index).unwrap();
        assert_eq!(serde_json::from_slice::<Index>(&text).unwrap(), index);
        assert!(index.remove(&a) && !index.remove(&a));
        assert_eq!(index.layers().into_iter().collect::<Vec<_>>(), [&layer]);
        assert!(index.remove(&b) && index.layers().is_empty() && index.named("r/x:1").is_none());
    }
}
