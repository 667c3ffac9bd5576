//! Images from files, into containerd: by its own `ctr`, for the CRI has no call for that.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;

use super::CriRuntime;
use super::endpoint::Endpoint;
use super::image::{inspect, list};
use crate::runtime::loader::Loader;
use crate::runtime::{Image, RuntimeError};

/// How long a whole archive may take. Ten gigabytes at 10 MB/s of a slow disk are a quarter of an hour.
const WITHIN: Duration = Duration::from_secs(3600);
/// How long the CRI may take to hear of an image that containerd has.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
const HEARD_PAUSE: Duration = Duration::from_millis(50);
/// The namespace in which containerd keeps what is the CRI's.
const NAMESPACE: &str = "k8s.io";

#[async_trait]
impl Loader for CriRuntime {
    async fn load(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        file(&self.endpoint, archive).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        list(&self.endpoint).await
    }
}

/// Loads all images of a file.
///
/// # Errors
/// As [`Loader::load`].
pub async fn file(endpoint: &Endpoint, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
    let output = ctr(endpoint, &["images", "import", &archive.display().to_string()]).await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(RuntimeError::Other(format!("{}: {why}", archive.display())));
    }
    let mut images = Vec::new();
    for name in said.lines().filter_map(loaded) {
        images.push(heard(endpoint, name).await?);
    }
    if images.is_empty() {
        return Err(RuntimeError::Other(format!("{}: containerd found no image in it", archive.display())));
    }
    Ok(images)
}

/// The CRI hears of new images by events of containerd's.
async fn heard(endpoint: &Endpoint, name: &str) -> Result<Image, RuntimeError> {
    let looking = async {
        loop {
            if let Some(it) = inspect(endpoint, name).await? {
                return Ok(it);
            }
            tokio::time::sleep(HEARD_PAUSE).await;
        }
    };
    tokio::time::timeout(HEARD_WITHIN, looking)
        .await
        .map_err(|_| RuntimeError::Timeout(format!("the image {name} was loaded, but the CRI has not heard of it")))?
}

async fn ctr(endpoint: &Endpoint, arguments: &[&str]) -> Result<Output, RuntimeError> {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(endpoint.socket()).args(["--namespace", NAMESPACE]).args(arguments);
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(WITHIN, command.output()).await {
        Err(_) => Err(RuntimeError::Timeout(format!("ctr {}", arguments.join(" ")))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Err(RuntimeError::Other(
            "images from files go into containerd by its program `ctr`, which is not installed (package containerd)"
                .to_owned(),
        )),
        Ok(outcome) => outcome.map_err(|it| RuntimeError::Other(format!("ctr: {it}"))),
    }
}

/// The image that a line speaks of: `unpacking name:tag (sha256:…)...done`.
fn loaded(line: &str) -> Option<&str> {
    line.trim().strip_prefix("unpacking ")?.split(" (sha256:").next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_names_what_it_unpacks() {
        let check = |line: &str, expected: Option<&str>| assert_eq!(loaded(line), expected, "{line}");
        check("unpacking orlop.local/web:1 (sha256:0a)...done", Some("orlop.local/web:1"));
        check("saved", None);
        check("", None);
    }
}
