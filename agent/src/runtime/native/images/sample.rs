//! Layers and images made in memory, for tests.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::digest::Digest;

/// A layer in the making.
pub struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Layer(Builder::new(Vec::new()))
    }

    /// An entry whose name is written as it is, judged by nobody.
    pub fn raw(mut self, path: &str, link: &str, kind: EntryType, mode: u32, data: &[u8]) -> Self {
        let mut header = header(kind, mode, data.len() as u64);
        let old = header.as_old_mut();
        assert!(path.len() <= old.name.len() && link.len() <= old.linkname.len());
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    pub fn file(self, path: &str, data: &str) -> Self {
        self.raw(path, "", EntryType::Regular, 0o644, data.as_bytes())
    }

    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.raw(path, "", EntryType::Directory, mode, b"")
    }

    pub fn symlink(self, path: &str, goal: &str) -> Self {
        self.raw(path, goal, EntryType::Symlink, 0o777, b"")
    }

    pub fn hard_link(self, path: &str, goal: &str) -> Self {
        self.raw(path, goal, EntryType::Link, 0o644, b"")
    }

    /// A device by its numbers.
    pub fn device(mut self, path: &str, kind: EntryType, major: u32, minor: u32) -> Self {
        let mut header = header(kind, 0o640, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.0.append_data(&mut header, path, &b""[..]).unwrap();
        self
    }

    /// PAX records for the entry that comes next.
    pub fn records(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1_000_000_000);
    header.set_uid(7);
    header.set_gid(8);
    header.set_cksum();
    header
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The configuration of an image of these layers.
pub fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|it| Digest::of(it).to_string()).collect();
    let value = json!({
        "architecture": oci_spec::image::Arch::default().to_string(), "os": "linux",
        "config": { "User": "web", "Cmd": ["/it"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    serde_json::to_vec(&value).unwrap()
}

/// What `docker save` writes of an image.
pub fn saved(name: &str, layers: &[&[u8]]) -> Vec<u8> {
    let config = config(layers);
    let files: Vec<String> = (0..layers.len()).map(|it| format!("{it}/layer.tar")).collect();
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": files }]);
    let mut members =
        vec![("config.json".to_owned(), config), ("manifest.json".to_owned(), manifest.to_string().into_bytes())];
    members.extend(files.into_iter().zip(layers.iter().map(|it| it.to_vec())));
    archive(&members)
}

/// An OCI image layout with one image; its manifest goes through `change`.
pub fn layout(name: &str, layers: &[&[u8]], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let config = config(layers);
    let compressed: Vec<Vec<u8>> = layers.iter().map(|it| gzip(it)).collect();
    let describe =
        |kind: &str, it: &[u8]| json!({ "mediaType": kind, "size": it.len(), "digest": Digest::of(it).to_string() });
    let mut manifest = json!({
        "schemaVersion": 2,
        "config": describe("application/vnd.oci.image.config.v1+json", &config),
        "layers": compressed.iter().map(|it| describe("application/vnd.oci.image.layer.v1.tar+gzip", it)).collect::<Vec<_>>(),
    });
    change(&mut manifest);
    let manifest = manifest.to_string().into_bytes();
    let mut described = describe("application/vnd.oci.image.manifest.v1+json", &manifest);
    described["annotations"] = json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1" });
    let index = json!({ "schemaVersion": 2, "manifests": [described] });
    let mut members = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index.to_string().into_bytes()),
    ];
    for it in compressed.into_iter().chain([config, manifest]) {
        members.push((format!("blobs/sha256/{}", Digest::of(&it).hex()), it));
    }
    archive(&members)
}

/// A tar archive of files.
pub fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, bytes) in members {
        builder
            .append_data(&mut header(EntryType::Regular, 0o644, bytes.len() as u64), name, bytes.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// Everything below a folder: paths, and what of each a test can see.
pub fn listing(root: &Path) -> Vec<String> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let kind = meta.file_type();
            let what = if kind.is_dir() {
                folders.push(path.clone());
                "folder".to_owned()
            } else if kind.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).unwrap().display())
            } else if kind.is_char_device() {
                format!("char {}", meta.rdev())
            } else if kind.is_block_device() {
                format!("block {}", meta.rdev())
            } else if kind.is_fifo() {
                "fifo".to_owned()
            } else {
                format!("{:?}", std::fs::read_to_string(&path).unwrap_or_default())
            };
            found.push(format!("{} {:o} {what}", path.strip_prefix(root).unwrap().display(), meta.mode() & 0o7777));
        }
    }
    found.sort();
    found
}

/// The digest of a file.
pub fn hash(path: &Path) -> Digest {
    Digest::of(&std::fs::read(path).unwrap())
}
