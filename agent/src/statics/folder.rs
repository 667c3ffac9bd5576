//! The files of static pods, followed: looked at when the kernel tells of a change in their folder, and every while in case it does not.
//!
//! A file that cannot be read or is no pod is told once for each thing that is wrong with it, and there is no pod of it; the others are not touched. Names
//! that begin with a dot are nobody's, so that a file can be written beside and renamed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use orlop_client::random;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::manifest;

/// How long between two looks though nothing was told: the kubelet's `fileCheckFrequency`.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Who writes a file in several steps is given this long before it is read.
const SETTLE: Duration = Duration::from_millis(100);
/// The largest file that is read, in bytes: what the API takes of an object, twice, since YAML is wide.
const FILE_MAX_BYTES: u64 = 3 << 20;
/// The most files that are read: more than the pods that a node takes.
const FILES_MAX: usize = 512;
/// What the kernel tells at once, in bytes; it is read to be gone.
const EVENTS_BYTES: usize = 4096;

/// The pods in the files of a folder, from now on until `shutdown`. The folder need not be there yet.
pub fn follow(folder: PathBuf, node: &str, shutdown: CancellationToken) -> watch::Receiver<Vec<Arc<Pod>>> {
    let mut look = Look { folder, node: node.to_owned(), told: BTreeMap::new() };
    let (sender, receiver) = watch::channel(look.take(&[]));
    tokio::spawn(async move {
        loop {
            let mut watched = look.watch();
            let changed = async {
                match &mut watched {
                    Ok(it) => drop(it.read(&mut [0; EVENTS_BYTES]).await),
                    // There is no such folder: it may come.
                    Err(_) => std::future::pending().await,
                }
                tokio::time::sleep(SETTLE).await;
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = changed => {}
                () = tokio::time::sleep(random::jitter(LOOK_EVERY, 0.1)) => {}
            }
            // Watched before it is looked at, so that nothing comes between.
            let found = look.take(&sender.borrow());
            sender.send_if_modified(|it| {
                if *it == found {
                    false
                } else {
                    *it = found;
                    true
                }
            });
        }
    });
    receiver
}

struct Look {
    folder: PathBuf,
    node: String,
    /// What was said of which file.
    told: BTreeMap<PathBuf, String>,
}

impl Look {
    fn watch(&self) -> io::Result<Receiver> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF;
        inotify.add_watch(&self.folder, flags)?;
        Receiver::from_owned_fd_unchecked(inotify.into())
    }

    /// The pods that there are. Where the folder cannot be read for another reason than that it is not there, those that there were are left.
    fn take(&mut self, before: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let paths = match files(&self.folder) {
            Ok(it) => it,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.tell(&self.folder.clone(), Some(error.to_string()));
                return before.to_vec();
            }
        };
        let mut pods: BTreeMap<_, Arc<Pod>> = BTreeMap::new();
        for path in paths {
            let pod = match read(&path) {
                // Gone meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error.to_string()),
                Ok(bytes) => manifest::read(&path, &bytes, &self.node),
            };
            let why = match pod {
                Ok(pod) => {
                    let key = manifest::key(&pod);
                    let taken = pods.contains_key(&key);
                    pods.entry(key).or_insert_with(|| Arc::new(pod));
                    taken.then(|| "another file has a pod of this name".to_owned())
                }
                Err(why) => Some(why),
            };
            self.tell(&path, why);
        }
        pods.into_values().collect()
    }

    fn tell(&mut self, path: &Path, why: Option<String>) {
        match why {
            Some(why) if self.told.get(path) != Some(&why) => {
                tracing::warn!(path = %path.display(), why, "there is no static pod of this file");
                self.told.insert(path.to_owned(), why);
            }
            Some(_) => {}
            None => drop(self.told.remove(path)),
        }
    }
}

/// In the order of their names.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for it in std::fs::read_dir(folder)? {
        let it = it?;
        let hidden = it.file_name().to_string_lossy().starts_with('.');
        if !hidden && it.path().is_file() {
            found.push(it.path());
        }
    }
    found.sort();
    found.truncate(FILES_MAX);
    Ok(found)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let size = std::fs::metadata(path)?.len();
    if size > FILE_MAX_BYTES {
        return Err(io::Error::other(format!("it has {size} bytes, more than {FILE_MAX_BYTES}")));
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: a, image: x}}]}}\n"
        )
    }

    #[tokio::test]
    async fn files_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.yaml"), text("a")).unwrap();
        std::fs::write(path(".hidden"), text("h")).unwrap();
        std::fs::write(path("wrong"), "kind: [").unwrap();
        std::fs::write(path("z-same-name"), text("a")).unwrap();
        let end = CancellationToken::new();
        let mut pods = follow(folder.path().to_owned(), "n", end.clone());
        let mut expect = async |expected: &[&str]| {
            let there = |it: &Vec<Arc<Pod>>| {
                let names: Vec<_> = it.iter().filter_map(|it| it.metadata.name.as_deref()).collect();
                names == expected
            };
            let waited = tokio::time::timeout(Duration::from_secs(60), pods.wait_for(there)).await;
            assert!(waited.is_ok(), "{expected:?} does not come");
        };
        expect(&["a-n"]).await;
        std::fs::write(path("b.json"), text("b")).unwrap();
        expect(&["a-n", "b-n"]).await;
        std::fs::remove_file(path("z-same-name")).unwrap();
        std::fs::remove_file(path("a.yaml")).unwrap();
        expect(&["b-n"]).await;
        std::fs::rename(path(".hidden"), path("shown")).unwrap();
        expect(&["b-n", "h-n"]).await;
        end.cancel();
    }
}
