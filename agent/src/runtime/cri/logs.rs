//! What a container wrote, read from the file that the runtime was given for it. A reader that follows asks now and then whether the container has
//! ended: the folder shows only what is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_cri::v1 as cri;

use super::container;
use super::endpoint::Endpoint;
use crate::runtime::log_files::{Reader, blocking, changed, watch};
use crate::runtime::{LogOptions, LogStream, RuntimeError};

/// How long a follower waits for the folder to change before it asks for the container.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Opens a container's log.
pub async fn read(endpoint: &Arc<Endpoint>, id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError> {
    let status = container::status(endpoint, id).await?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    let folder = Path::new(&status.log_path).parent().filter(|it| it.starts_with(endpoint.logs()));
    let folder: PathBuf = folder.ok_or_else(|| RuntimeError::NotFound(format!("the log of {id}")))?.to_owned();
    let lost = {
        let folder = folder.clone();
        move |it: io::Error| RuntimeError::Other(format!("{}: {it}", folder.display()))
    };
    let mut watching = options.follow.then(|| watch(&folder)).transpose().map_err(&lost)?;
    let (since, tail, endpoint, id) = (options.since, options.tail_lines, Arc::clone(endpoint), id.to_owned());
    let stream = async_stream::try_stream! {
        let mut reader = Reader::new(folder);
        if let Some(tail) = tail {
            reader = blocking(reader, move |it| it.skip_to(tail)).await.map_err(&lost)?.0;
        }
        loop {
            // Looked at before the last read: what is written before the end is in the file by then.
            let ended = watching.is_none() || !runs(&endpoint, &id).await?;
            loop {
                let (kept, lines) = blocking(reader, Reader::next).await.map_err(&lost)?;
                reader = kept;
                let Some(lines) = lines else { break };
                for it in lines {
                    if since.is_none_or(|since| it.time >= since) {
                        yield it;
                    }
                }
            }
            match &mut watching {
                Some(it) if !ended => match tokio::time::timeout(ASK_EVERY, changed(it)).await {
                    Ok(outcome) => outcome.map_err(&lost)?,
                    Err(_) => continue,
                },
                _ => break,
            }
        }
    };
    Ok(stream.boxed())
}

/// Whether more may be written: it runs, or has yet to be started.
async fn runs(endpoint: &Endpoint, id: &str) -> Result<bool, RuntimeError> {
    let state = container::status(endpoint, id).await?.map(|it| it.state());
    Ok(matches!(state, Some(cri::ContainerState::ContainerRunning | cri::ContainerState::ContainerCreated)))
}
