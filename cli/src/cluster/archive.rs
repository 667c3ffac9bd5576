//! Snapshots: a cluster in one file, and back.
//!
//! The file is a tar archive, compressed with zstd: the record first; then the control plane's data directory (store, keys, certificates), or those of all; then
//! of every node its agent's data directory with images and volumes, but without the pods themselves, which are made anew from what the store says. It
//! holds the cluster's keys: who has it, has the cluster. A cluster that runs stands still while it is copied, pods and all, so that the copy is as
//! of one moment; its programs find it as after a loss of power, which the store survives.
//!
//! The program `tar` writes and reads it: layers of images have devices, attributes and holes, which it knows to keep.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use orlop_agent::pods;

use super::lifecycle::Cluster;
use super::parts;
use super::process::{self, Processes};
use super::record::Record;

/// Fast: the larger part are images, which are read once.
const LEVEL: i32 = 1;
/// What of a node's folder is made anew: pods, what they changed of their images, what was half-done, and the door of the agent.
const LEFT_OUT: [&str; 4] = ["native/pods", "native/images/containers", "native/images/tmp", "agent.sock"];
/// How much of what a program says is kept.
const SAID_BYTES: u64 = 4096;

/// Writes a snapshot. It is there whole or not at all.
///
/// # Errors
/// The disk or the program refuses.
pub fn write(cluster: &Cluster, to: &Path) -> Result<()> {
    let beside = PathBuf::from(format!("{}.part-{}", to.display(), std::process::id()));
    let written = write_whole(cluster, &beside);
    let kept = written.and_then(|()| Ok(std::fs::rename(&beside, to)?));
    if kept.is_err() {
        // The first failure is what is told.
        let _ = std::fs::remove_file(&beside);
    }
    kept.with_context(|| format!("cannot write {}", to.display()))
}

fn write_whole(cluster: &Cluster, to: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    let mut tar = tar();
    tar.args(["--create", "--sparse", "--anchored", "--no-wildcards"]);
    for node in &cluster.record.nodes {
        LEFT_OUT.iter().for_each(|it| _ = tar.arg(format!("--exclude=nodes/{node}/{it}")));
    }
    tar.arg("--directory").arg(cluster.folder.root()).arg("cluster.json").args(planes(cluster)).arg("nodes");
    let _still = Still::hold(cluster)?;
    let mut child = tar.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start tar")?;
    let mut encoder = zstd::stream::write::Encoder::new(file, LEVEL)?;
    encoder.include_checksum(true)?;
    if let Some(mut archive) = child.stdout.take() {
        io::copy(&mut archive, &mut encoder)?;
    }
    ended(child)?;
    let mut file = encoder.finish()?;
    file.flush()?;
    Ok(file.sync_all()?)
}

/// The folders of the control planes, as they are called in the cluster's. Members of etcd are copied as they stand: they know each other by addresses that
/// a copy has, too, and find themselves as after a loss of power.
fn planes(cluster: &Cluster) -> Vec<PathBuf> {
    let folders = (0..cluster.record.planes()).map(|it| cluster.folder.control_plane(it));
    folders.filter_map(|it| it.file_name().map(PathBuf::from)).collect()
}

/// Unpacks a snapshot into a new folder, and gives its record.
///
/// # Errors
/// It is no snapshot, or damaged; or the disk refuses.
pub fn read(from: &Path, folder: &Path) -> Result<Record> {
    let wrong = || format!("{} is no snapshot of a cluster, or damaged", from.display());
    let file = File::open(from).with_context(|| format!("cannot open {}", from.display()))?;
    let mut archive = zstd::stream::read::Decoder::new(file)?;
    let mut child = tar()
        .args(["--extract", "--preserve-permissions", "--same-owner", "--no-overwrite-dir", "--directory"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start tar")?;
    let copied = match child.stdin.take() {
        Some(mut stdin) => io::copy(&mut archive, &mut stdin).map(drop),
        None => Ok(()),
    };
    // A program that ended early says why; what it did not read is only that.
    ended(child).and(copied.map_err(anyhow::Error::from)).with_context(wrong)?;
    Record::read(&folder.join("cluster.json")).with_context(wrong)
}

fn tar() -> Command {
    let mut it = Command::new("tar");
    it.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "--file=-"]).stderr(Stdio::piped());
    it
}

fn ended(mut child: Child) -> Result<()> {
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(SAID_BYTES).read_to_string(&mut said)?;
    }
    let status = child.wait()?;
    // What it tells of sockets that it passed over is not an error.
    if !status.success() {
        bail!("tar: {status}: {}", said.trim());
    }
    Ok(())
}

/// A cluster that stands still, until the value is dropped.
struct Still<'a> {
    cluster: &'a Cluster,
    processes: Processes,
}

impl<'a> Still<'a> {
    fn hold(cluster: &'a Cluster) -> Result<Self> {
        // From here on whatever fails lets it go on.
        let still = Still { cluster, processes: process::read(&cluster.folder.processes())? };
        // Agents first: they act on what pods do.
        still.processes.values().for_each(|it| it.signal(Signal::SIGSTOP));
        pods::freeze(&parts::cgroup(&cluster.folder), true).context("the pods cannot be held still")?;
        Ok(still)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.let_go(&self.processes) {
            eprintln!("warning: the cluster stands still; `orlop cluster start` lets it go on: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_snapshot_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it");
        let check = |bytes: &[u8], words: &str| {
            std::fs::write(&file, bytes).unwrap();
            let folder = tempfile::tempdir_in(dir.path()).unwrap();
            let error = format!("{:#}", read(&file, folder.path()).unwrap_err());
            assert!(error.contains(words), "{error}");
        };
        check(b"", "no snapshot");
        check(b"no archive at all", "no snapshot");
        let packed = zstd::stream::encode_all(&b"no archive at all"[..], LEVEL).unwrap();
        check(&packed, "no snapshot");
        check(&packed[..packed.len() - 1], "no snapshot");
        assert!(read(&dir.path().join("none"), dir.path()).unwrap_err().to_string().contains("cannot open"));
    }
}
