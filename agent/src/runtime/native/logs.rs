//! What a container wrote, read from its files as it is written. A reader that follows ends when the container has ended and all is read.

use std::io;
use std::path::Path;

use futures::StreamExt;
use orlop_shim::record::EXIT;

use super::names::ContainerName;
use super::record::{CONTAINER, failed};
use crate::runtime::log_files::{Reader, blocking, changed, watch};
use crate::runtime::{LogOptions, LogStream, RuntimeError};

/// Opens a container's log.
pub async fn read(pods: &Path, id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError> {
    let name = ContainerName::parse(id).filter(|it| it.folder(pods).join(CONTAINER).exists());
    let folder = name.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?.folder(pods);
    let mut watch = options.follow.then(|| watch(&folder)).transpose().map_err(|it| failed(&folder, it))?;
    let (since, tail) = (options.since, options.tail_lines);
    let stream = async_stream::try_stream! {
        let mut reader = Reader::new(folder.clone());
        let lost = |it: io::Error| failed(&folder, it);
        if let Some(tail) = tail {
            reader = blocking(reader, move |it| it.skip_to(tail)).await.map_err(lost)?.0;
        }
        loop {
            // Looked at before the last read: what is written before the end is in the file by then.
            let ended = folder.join(EXIT).exists() || !folder.exists();
            loop {
                let (kept, lines) = blocking(reader, Reader::next).await.map_err(lost)?;
                reader = kept;
                let Some(lines) = lines else { break };
                for it in lines {
                    if since.is_none_or(|since| it.time >= since) {
                        yield it;
                    }
                }
            }
            match &mut watch {
                Some(it) if !ended => changed(it).await.map_err(lost)?,
                _ => break,
            }
        }
    };
    Ok(stream.boxed())
}
