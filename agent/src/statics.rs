//! Static pods: a folder of manifests whose pods this node runs by itself, with or without an API server.
//!
//! `manifest` makes a pod of a file's text, `folder` follows the files, and the agent runs what is in them like any other pod. Where there is an API server,
//! `mirror` says which pods should stand there for them, for everybody to see, and `keeper` makes it so: nothing that is done to a mirror does
//! anything to the pod. Source: `pkg/kubelet/config/file.go` and `pkg/kubelet/pod/mirror_client.go`.

pub mod folder;
pub mod keeper;
pub mod manifest;
pub mod mirror;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

/// Where a pod comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// The API, which it is told of.
    Api,
    /// A file; with what stands for it in the API, where it is told of.
    File { mirror: Option<Arc<Pod>> },
}

/// A pod, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    pub pod: Arc<Pod>,
    pub origin: Origin,
}

impl Assigned {
    /// One of the API.
    pub fn of_api(pod: Arc<Pod>) -> Self {
        Assigned { pod, origin: Origin::Api }
    }
}

/// The static pods as the agent has them.
#[derive(Debug)]
pub struct Statics {
    /// Those in the files.
    pub files: watch::Receiver<Vec<Arc<Pod>>>,
    /// Those that live here, which may be on their way out; none is told before the agent has looked.
    pub lives: watch::Sender<Option<Vec<Arc<Pod>>>>,
}

impl Statics {
    /// Of these files.
    pub fn of(files: watch::Receiver<Vec<Arc<Pod>>>) -> Self {
        Statics { files, lives: watch::Sender::new(None) }
    }
}
