//! Termination messages: what a container leaves to be told of its end, in its file or at the end of its log, as the kubelet reads it.
//!
//! Each attempt at a container has a file of its own in the pod's folder, mounted where `terminationMessagePath` says. It is found again by
//! its name alone, so that an agent that starts anew reads what was left while there was none.

use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::Worker;
use crate::aside;
use crate::host::Host;
use crate::machine::world::{app_containers, ephemeral_containers, init_containers};
use crate::runtime::{ContainerState, LogOptions, Mount, Phase, RuntimeError};

/// How much of a container's file is told: its end.
const FILE_BYTES: u64 = 4_096;
/// How much of a container's log is told.
const LOG_LINES: u64 = 80;
const LOG_BYTES: usize = 2_048;
/// How much the messages of all containers of a pod may take of its status together.
const POD_BYTES: usize = 12 << 10;
/// How long a container's log may take to be read.
const LOG_WITHIN: Duration = Duration::from_secs(5);

/// Where the file of one attempt at a container lies.
fn file(host: &Host, uid: &str, container: &str, attempt: u32) -> PathBuf {
    host.volumes.of_pod(uid).join("containers").join(container).join(attempt.to_string())
}

/// Makes the file of an attempt, which any user of the container may write, and tells its mount; none where the container has no path for it.
///
/// # Errors
/// The file cannot be made.
pub(super) fn mount(host: &Host, pod: &Pod, container: &Container, attempt: u32) -> Result<Option<Mount>, String> {
    let Some(inside) = container.termination_message_path.as_ref().filter(|it| !it.is_empty()) else {
        return Ok(None);
    };
    let path = file(host, pod.metadata.uid.as_deref().unwrap_or_default(), &container.name, attempt);
    let made = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
            // The last one's may yet be read; what was before it was told.
            if let Some(old) = attempt.checked_sub(2) {
                remove(&folder.join(old.to_string()))?;
            }
        }
        fs::write(&path, "")?;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o666))
    };
    made().map_err(|it: std::io::Error| format!("{}: {it}", path.display()))?;
    Ok(Some(Mount { host_path: path, container_path: inside.clone(), ..Mount::default() }))
}

fn remove(path: &Path) -> std::io::Result<()> {
    fs::remove_file(path).or_else(|it| if it.kind() == ErrorKind::NotFound { Ok(()) } else { Err(it) })
}

/// The end of a file; none where there is no file.
fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut file = match fs::File::open(path) {
        Ok(it) => it,
        Err(it) if it.kind() == ErrorKind::NotFound => return Ok(None),
        Err(it) => return Err(it),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(FILE_BYTES)))?;
    let mut text = Vec::new();
    file.take(FILE_BYTES).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// The end of a container's log.
async fn end_of_log(host: &Host, id: &str) -> Result<Vec<u8>, RuntimeError> {
    let options = LogOptions { tail_lines: Some(LOG_LINES), ..LogOptions::default() };
    let reading = async {
        let mut chunks = host.runtime.logs(id, &options).await?;
        let mut text = Vec::new();
        while let Some(it) = chunks.next().await {
            text.extend_from_slice(&it?.bytes);
            text.drain(..text.len().saturating_sub(LOG_BYTES));
        }
        Ok(text)
    };
    let late = || RuntimeError::Timeout("reading the log".to_owned());
    tokio::time::timeout(LOG_WITHIN, reading).await.map_err(|_| late())?
}

/// Text from a container's bytes, no longer than its share of what the pod's containers may say together.
fn cut(text: &[u8], containers: usize) -> String {
    let mut text = String::from_utf8_lossy(text).into_owned();
    text.truncate(text.floor_char_boundary(POD_BYTES / containers.max(1)));
    text
}

impl Worker {
    /// Reads what containers that have ended left, once for each.
    pub(super) async fn read_messages(&mut self) {
        let Some(pod) = self.pod.clone().filter(|_| !self.host.runtime.runs_nothing()) else { return };
        let ended = |it: &&ContainerState| matches!(it.phase, Phase::Exited { .. });
        let unread = self.inventory.containers.iter().filter(ended);
        let unread: Vec<_> = unread.filter(|it| !self.memory.messages.contains_key(&it.id)).cloned().collect();
        let all = app_containers(&pod).len() + init_containers(&pod).len() + ephemeral_containers(&pod).len();
        for it in unread {
            let Some((_, container)) = self.container(&it.name) else { continue };
            let text = self.message(&container, &it).await;
            self.memory.messages.insert(it.id, cut(&text, all));
        }
    }

    /// What a container that has ended left, with the kubelet's words where it cannot be read.
    async fn message(&self, container: &Container, ended: &ContainerState) -> Vec<u8> {
        let host = Arc::clone(&self.host);
        let failed = matches!(ended.phase, Phase::Exited { exit_code, .. } if exit_code != 0);
        let or_log = failed && container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if container.termination_message_path.as_ref().is_some_and(|it| !it.is_empty()) {
            let path = file(&host, &self.uid, &ended.name, ended.attempt);
            let shown = path.display().to_string();
            let found = aside::run(move || read(&path)).await.unwrap_or(Ok(None));
            match found {
                Ok(Some(text)) if !text.is_empty() => return text,
                Ok(_) => {}
                Err(why) => return format!("Error on reading termination log {shown}: {why}").into_bytes(),
            }
        }
        if !or_log {
            return Vec::new();
        }
        let why = |it| format!("Error on reading termination message from logs: {it}").into_bytes();
        end_of_log(&host, &ended.id).await.unwrap_or_else(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0");
        assert_eq!(read(&path).unwrap(), None);
        fs::write(&path, "").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"");
        fs::write(&path, "DONE").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"DONE");
        fs::write(&path, format!("{}{}", "a".repeat(10_000), "b".repeat(4_000))).unwrap();
        let text = read(&path).unwrap().unwrap();
        assert_eq!(text, format!("{}{}", "a".repeat(96), "b".repeat(4_000)).into_bytes());
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn messages_of_many_containers_share_the_room() {
        assert_eq!(cut(&[b'x'; 5_000], 1).len(), 5_000);
        assert_eq!(cut(&[b'x'; 5_000], 6).len(), 2_048);
        // Two bytes each: none is cut in two.
        let text = cut("ö".repeat(3_000).as_bytes(), 5);
        assert_eq!(text, "ö".repeat(1_228));
        assert_eq!(cut(b"no \xff text", 1), "no \u{fffd} text");
    }
}
