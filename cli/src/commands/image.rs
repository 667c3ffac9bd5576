//! `orlop image`: the images of this machine's nodes.
//!
//! Each agent has a socket in its data directory; `orlop up` keeps its nodes' below its own, and `orlop cluster` below each cluster's. The archives are sent to the agents, which load them
//! into what their runtime has: their own store, or the Docker Engine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use orlop_agent::local;

use super::{cluster, up};
use crate::cluster::folder::{self, Folder};
use crate::cluster::name::Name;
use crate::output::{Table, say};

/// How much of an image's id a table shows, in characters: as Docker does.
const ID_SHOWN: usize = 12;

/// The subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Load archives into all nodes of this machine: what `docker save` writes, or OCI image layouts; plain, gzip or zstd.
    Load {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// List the images of the nodes of this machine.
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        place: Place,
    },
}

/// Whose nodes.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The data directory of the cluster that `orlop up` runs; ~/.orlop if not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The data directory of an agent that runs apart, instead of a cluster's; may be given several times.
    #[arg(long, value_name = "DIR", conflicts_with = "data_dir")]
    agent_dir: Vec<PathBuf>,
    /// The local cluster whose nodes are meant, of those that `orlop cluster` has.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["data_dir", "agent_dir"])]
    cluster: Option<Name>,
    #[command(flatten)]
    clusters: cluster::ClustersDir,
}

/// A node and its agent's data directory.
type Node = (String, PathBuf);

/// Runs it.
///
/// # Errors
/// There are no nodes, one does not run, or an archive is refused by one; the other archives are loaded.
pub async fn run(args: Args) -> Result<()> {
    match args.what {
        What::Load { files, place } => load(&files, &nodes(&place)?).await,
        What::Ls { place } => list(&nodes(&place)?).await,
    }
}

async fn load(files: &[PathBuf], nodes: &[Node]) -> Result<()> {
    let mut refused = Vec::new();
    for file in files {
        for (node, folder) in nodes {
            match local::load(folder, file).await {
                Ok(images) => {
                    for name in images.iter().flat_map(names) {
                        say!("image \"{name}\" loaded into node \"{node}\"");
                    }
                }
                Err(error) => refused.push(format!("{} into node \"{node}\": {error}", file.display())),
            }
        }
    }
    if !refused.is_empty() {
        bail!("not loaded: {}", refused.join("\n"));
    }
    Ok(())
}

async fn list(nodes: &[Node]) -> Result<()> {
    let mut table = Table::new(&["NODE", "IMAGE", "ID", "SIZE"]);
    for (node, folder) in nodes {
        let images = local::images(folder).await.with_context(|| format!("node \"{node}\""))?;
        for image in &images {
            let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
            let id: String = id.chars().take(ID_SHOWN).collect();
            for name in names(image) {
                table.push(vec![node.clone(), name.to_owned(), id.clone(), size(image.size_bytes)]);
            }
        }
    }
    table.print(&mut std::io::stdout().lock(), true)
}

/// What an image is called: by its tags, else its digests, else its id.
fn names(image: &local::LocalImage) -> Vec<&str> {
    let named = |it: &&Vec<String>| !it.is_empty();
    let names = [&image.tags, &image.digests].into_iter().find(named);
    names.map_or_else(|| vec![image.id.as_str()], |it| it.iter().map(String::as_str).collect())
}

/// Bytes as people read them, with three digits at most.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut amount, mut unit) = (bytes as f64, 0);
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        (amount, unit) = (amount / 1000.0, unit + 1);
    }
    let digits = if amount < 9.95 && unit > 0 { 1 } else { 0 };
    format!("{amount:.digits$}{}", UNITS[unit])
}

/// The nodes that are meant: those of a cluster have folders below its data directory.
fn nodes(place: &Place) -> Result<Vec<Node>> {
    if !place.agent_dir.is_empty() {
        return Ok(place.agent_dir.iter().map(|it| (name(it), it.clone())).collect());
    }
    let (whose, folder, start) = match &place.cluster {
        Some(name) => {
            let clusters = folder::clusters_dir(place.clusters.clusters_dir.as_deref())?;
            let folder = Folder::existing(&clusters, name)?.nodes();
            (format!("cluster \"{name}\""), folder, format!("orlop cluster start {name}"))
        }
        None => {
            let data_dir = up::existing_data_dir(place.data_dir.as_deref()).map_err(|error| {
                anyhow::anyhow!("{error} of `orlop up`; one of `orlop cluster create` is named with --cluster")
            })?;
            (data_dir.display().to_string(), up::nodes_dir(&data_dir), "orlop up".to_owned())
        }
    };
    let mut nodes = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("{whose} has no nodes"))? {
        let path = entry?.path();
        // A node of an earlier start, with more nodes than now, has a folder and no agent.
        if path.join(local::SOCKET).exists() {
            nodes.push((name(&path), path));
        }
    }
    if nodes.is_empty() {
        bail!("no node of {whose} runs: start them with `{start}`");
    }
    nodes.sort();
    Ok(nodes)
}

fn name(folder: &Path) -> String {
    folder.file_name().map_or_else(|| folder.display().to_string(), |it| it.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let check = |bytes, expected: &str| assert_eq!(size(bytes), expected);
        check(0, "0B");
        check(999, "999B");
        check(1000, "1.0kB");
        check(9_960, "10kB");
        check(999_400, "999kB");
        check(999_600, "1.0MB");
        check(58_300_000, "58MB");
        check(u64::MAX, "18446744TB");
    }

    #[test]
    fn nodes_are_found_by_their_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let place = |agent_dir: &[PathBuf]| Place {
            data_dir: agent_dir.is_empty().then(|| dir.path().to_owned()),
            agent_dir: agent_dir.to_vec(),
            cluster: None,
            clusters: cluster::ClustersDir { clusters_dir: None },
        };
        let failed = |what: &str| nodes(&place(&[])).unwrap_err().to_string().contains(what);
        assert!(failed("holds no cluster of `orlop up`; one of `orlop cluster create` is named with --cluster"));
        for folder in ["pki", "nodes/a-2", "nodes/a-1", "nodes/gone"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        assert!(failed("no node of"));
        for node in ["a-2", "a-1"] {
            std::fs::write(dir.path().join("nodes").join(node).join(local::SOCKET), "").unwrap();
        }
        let names: Vec<String> = nodes(&place(&[])).unwrap().into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["a-1", "a-2"]);
        let apart = nodes(&place(&["/x/agent-1".into()])).unwrap();
        assert_eq!(apart, [("agent-1".to_owned(), PathBuf::from("/x/agent-1"))]);
    }
}
