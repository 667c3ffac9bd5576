//! Images made in memory: layers, configurations and manifests as registries keep them.

use std::io::Write;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// `sha256:…` of bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|it| format!("{it:02x}")).collect();
    format!("sha256:{hex}")
}

/// A layer of files, as a plain tar stream.
pub fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).expect("a layer");
    }
    builder.into_inner().expect("a layer")
}

/// Bytes that no compression makes smaller.
pub fn noise(bytes: usize, seed: u8) -> Vec<u8> {
    let mut made = Vec::with_capacity(bytes + 32);
    let mut block = vec![seed];
    while made.len() < bytes {
        block = Sha256::digest(&block).to_vec();
        made.extend_from_slice(&block);
    }
    made.truncate(bytes);
    made
}

/// An image: everything a registry needs to have it.
#[derive(Clone)]
pub struct Made {
    /// Configuration and layers.
    pub blobs: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
}

/// The media type of [`Made::manifest`].
pub const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Makes an image of layers.
pub fn image(layers: &[Vec<u8>]) -> Made {
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": { "User": "web", "Env": null },
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|it| digest(it)).collect::<Vec<_>>() },
    });
    let mut blobs = vec![config.to_string().into_bytes()];
    for layer in layers {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(layer).expect("a layer");
        blobs.push(encoder.finish().expect("a layer"));
    }
    let describe = |kind: &str, it: &Vec<u8>| json!({ "mediaType": kind, "size": it.len(), "digest": digest(it) });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": describe("application/vnd.docker.container.image.v1+json", &blobs[0]),
        "layers": blobs[1..].iter().map(|it| describe("application/vnd.docker.image.rootfs.diff.tar.gzip", it)).collect::<Vec<_>>(),
    });
    Made { blobs, manifest: manifest.to_string().into_bytes() }
}

/// An index of one image for this machine, and of none for another.
pub fn index(image: &Made) -> Vec<u8> {
    let entry = |bytes: &[u8], architecture: &str| -> Value {
        json!({
            "mediaType": MANIFEST, "size": bytes.len(), "digest": digest(bytes),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let value = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [entry(&image.manifest, architecture())],
    });
    value.to_string().into_bytes()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
