//! The images that an agent is given at its start: every archive of some folders goes into its store before the first pod runs.
//!
//! An archive that cannot be loaded is told and passed over: pods that need it say so, others run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::runtime::loader::Loader;

/// How the names of archives end.
const ENDINGS: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd"];
/// The most archives of a folder: more is a folder that holds something else.
const ARCHIVES: usize = 1000;

/// Loads all archives of the folders, in the order of their names.
pub async fn load(loader: &Arc<dyn Loader>, folders: &[PathBuf]) {
    for folder in folders {
        let archives = match archives(folder) {
            Ok(it) => it,
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "images cannot be loaded from there");
                continue;
            }
        };
        for archive in archives {
            match loader.load(&archive).await {
                Ok(images) => {
                    let names: Vec<&str> = images.iter().flat_map(|it| &it.tags).map(String::as_str).collect();
                    tracing::info!(?names, archive = %archive.display(), "images were loaded");
                }
                Err(error) => tracing::warn!(%error, archive = %archive.display(), "an archive was not loaded"),
            }
        }
    }
}

fn archives(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        // Hidden ones are half-written.
        if !name.starts_with('.') && ENDINGS.iter().any(|it| name.ends_with(it)) && path.is_file() {
            found.push(path);
        }
        if found.len() > ARCHIVES {
            return Err(io::Error::other(format!("it has more than {ARCHIVES} archives")));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::docker::archive::{self, Config, File};
    use crate::runtime::native::images::ImageStore;

    #[tokio::test]
    async fn all_archives_that_are_whole_are_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let saved = |name: &str| {
            let files = [File { path: "it", mode: 0o755, bytes: name.as_bytes() }];
            archive::image(name, &files, &Config::default()).unwrap()
        };
        write("b.tar", &saved("a/b:1"));
        write("c.tar", &saved("a/c:1"));
        write("a.tar", b"no archive");
        write(".half.tar", &saved("a/half:1"));
        write("notes.txt", b"");
        let store = ImageStore::open(&dir.path().join("store")).unwrap();
        let loader: Arc<dyn Loader> = Arc::new(store.clone());
        load(&loader, &[dir.path().join("none"), dir.path().to_owned()]).await;
        let mut tags: Vec<String> = store.images().await.unwrap().into_iter().flat_map(|it| it.tags).collect();
        tags.sort();
        // By their canonical names.
        assert_eq!(tags, ["docker.io/a/b:1", "docker.io/a/c:1"]);
    }
}
