//! Where everything of a cluster lies.
//!
//! ```text
//! <clusters>/<name>/cluster.json      the record
//! <clusters>/<name>/processes.json    what runs, by part
//! <clusters>/<name>/kubeconfig        the administrator's, with the cluster's context
//! <clusters>/<name>/control-plane/    data directory of the API server: store, keys, everybody's kubeconfigs
//! <clusters>/<name>/control-plane-2/  that of a second one, where there are several; the data of etcd's members lie in `etcd` there
//! <clusters>/<name>/nodes/<node>/     data directory of the node's agent: images, pods, volumes
//! <clusters>/<name>/netns/            the network namespaces, bound to files
//! <clusters>/<name>/logs/             what each part said
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::name::Name;

/// The folder of one cluster.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

/// The folder of all clusters: the given one, or ~/.orlop/clusters.
///
/// # Errors
/// When there is no home directory.
pub fn clusters_dir(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(it) => Ok(std::path::absolute(it)?),
        None => {
            let home = std::env::var_os("HOME").context("HOME is not set: give --clusters-dir")?;
            Ok(PathBuf::from(home).join(".orlop/clusters"))
        }
    }
}

/// The names of the clusters that are there, in order.
///
/// # Errors
/// When the folder cannot be read.
pub fn names(clusters: &Path) -> Result<Vec<Name>> {
    let entries = match std::fs::read_dir(clusters) {
        Ok(it) => it,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", clusters.display())),
    };
    let mut names: Vec<Name> =
        entries.flatten().filter_map(|it| it.file_name().to_str().and_then(|it| it.parse().ok())).collect();
    names.retain(|it| Folder::of(clusters, it).record().is_file());
    names.sort();
    Ok(names)
}

impl Folder {
    /// That of a cluster, whether it is there or not.
    pub fn of(clusters: &Path, name: &Name) -> Self {
        Folder { root: clusters.join(name.to_string()) }
    }

    /// One of any name, for what is half-done.
    pub fn at(root: PathBuf) -> Self {
        Folder { root }
    }

    /// That of a cluster that is there.
    ///
    /// # Errors
    /// When it is not.
    pub fn existing(clusters: &Path, name: &Name) -> Result<Self> {
        let folder = Folder::of(clusters, name);
        if !folder.record().is_file() {
            bail!("there is no cluster \"{name}\" in {}", clusters.display());
        }
        Ok(folder)
    }

    /// Makes sure that no other command works on the cluster as long as the value lives.
    ///
    /// # Errors
    /// When one does.
    pub fn lock(&self) -> Result<File> {
        let file = File::open(&self.root).with_context(|| format!("cannot open {}", self.root.display()))?;
        file.try_lock().map_err(|_| anyhow::anyhow!("another command works on {}", self.root.display()))?;
        Ok(file)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The record.
    pub fn record(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// What runs.
    pub fn processes(&self) -> PathBuf {
        self.root.join("processes.json")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// The data directory of an API server, by the place of its node.
    pub fn control_plane(&self, at: usize) -> PathBuf {
        match at {
            0 => self.root.join("control-plane"),
            _ => self.root.join(format!("control-plane-{}", at + 1)),
        }
    }

    /// The folder of the agents' data directories.
    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    /// The data directory of a node's agent.
    pub fn node(&self, node: &str) -> PathBuf {
        self.nodes().join(node)
    }

    /// The folder of namespaces.
    pub fn namespaces(&self) -> PathBuf {
        self.root.join("netns")
    }

    /// What a part has said.
    pub fn log(&self, part: &str) -> PathBuf {
        self.root.join("logs").join(format!("{part}.log"))
    }
}
