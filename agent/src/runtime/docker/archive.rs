//! An image as the archive that `docker load` takes, made from files in memory. Pure and deterministic: the same files give the
//! same image id on every machine.

use std::io;

use serde_json::json;
use sha2::{Digest, Sha256};

/// A file to put into an image.
#[derive(Clone, Debug)]
pub struct File<'a> {
    /// Path from the root, without the leading slash.
    pub path: &'a str,
    /// Permission bits.
    pub mode: u32,
    pub bytes: &'a [u8],
}

/// What an image runs.
#[derive(Clone, Debug, Default)]
pub struct Config<'a> {
    pub entrypoint: &'a [&'a str],
    pub command: &'a [&'a str],
    pub env: &'a [&'a str],
    pub user: &'a str,
}

/// Makes a single-layer image FROM scratch under the name `reference` (with tag).
pub fn image(reference: &str, files: &[File<'_>], config: &Config<'_>) -> io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for file in files {
        append(&mut layer, file)?;
    }
    let layer = layer.into_inner()?;
    let description = serde_json::to_vec(&json!({
        "architecture": architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Entrypoint": config.entrypoint, "Cmd": config.command, "Env": config.env, "User": config.user },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(&layer)))] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "orlop" }],
    }))?;
    let config_name = format!("{}.json", hex(&Sha256::digest(&description)));
    let manifest =
        serde_json::to_vec(&json!([{ "Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"] }]))?;
    let mut archive = tar::Builder::new(Vec::with_capacity(layer.len() + 8192));
    for (path, bytes) in [(config_name.as_str(), &description), ("layer.tar", &layer), ("manifest.json", &manifest)] {
        append(&mut archive, &File { path, mode: 0o644, bytes })?;
    }
    archive.into_inner()
}

/// The id of the image in an archive that [`image`] made: the digest of its description, after which the first file is named.
pub fn id(archive: &[u8]) -> Option<String> {
    let mut archive = tar::Archive::new(archive);
    let first = archive.entries().ok()?.next()?.ok()?.path().ok()?.display().to_string();
    Some(format!("sha256:{}", first.strip_suffix(".json")?))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

fn append(archive: &mut tar::Builder<Vec<u8>>, file: &File<'_>) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(file.bytes.len() as u64);
    header.set_mode(file.mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    archive.append_data(&mut header, file.path, file.bytes)
}

/// This machine's architecture in the words of the image specification.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_whole_and_repeatable() {
        let make = || {
            let files = [File { path: "bin/it", mode: 0o755, bytes: b"#!" }];
            image("a/b:c", &files, &Config { entrypoint: &["/bin/it"], ..Config::default() }).unwrap()
        };
        let bytes = make();
        assert_eq!(bytes, make());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> =
            archive.entries().unwrap().map(|it| it.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names.len(), 3);
        assert!(names[0].ends_with(".json") && names[0].len() == 69, "{names:?}");
        assert_eq!(names[1..], ["layer.tar", "manifest.json"]);
        assert_eq!(id(&bytes).unwrap(), format!("sha256:{}", &names[0][..64]));
    }
}
