//! A real image registry of one user, filled by the Docker Engine.

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptions, RemoveImageOptions};
use futures::TryStreamExt;
use orlop_agent::runtime::docker::archive::File;

use crate::distribution::{Distribution, PASSWORD};
use crate::engine;

/// The registry; it ends with the test.
pub struct Registry {
    pub address: String,
    registry: Distribution,
}

impl Registry {
    /// Starts a registry that lets in nobody else.
    pub async fn start(user: &str) -> Self {
        let registry = Distribution::start(Some(user)).await;
        Self { address: registry.address.clone(), registry }
    }

    /// Makes an image that is like no other, gives it to the registry, and takes it away from the Engine.
    pub async fn push(&self, reference: &str) {
        let docker = engine::client();
        let (name, tag) = reference.rsplit_once(':').expect("a tag");
        engine::load(reference, &[File { path: "etc/name", mode: 0o644, bytes: reference.as_bytes() }]).await;
        let credentials = DockerCredentials {
            username: self.registry.user.clone(),
            password: Some(PASSWORD.into()),
            serveraddress: Some(self.address.clone()),
            ..DockerCredentials::default()
        };
        let options = PushImageOptions { tag: Some(tag.into()), ..PushImageOptions::default() };
        let push = docker.push_image(name, Some(options), Some(credentials));
        push.try_collect::<Vec<_>>().await.expect("pushing");
        self.forget(reference).await;
    }

    /// Takes a name away from the Engine.
    pub async fn forget(&self, reference: &str) {
        let options = RemoveImageOptions { force: true, ..RemoveImageOptions::default() };
        engine::client().remove_image(reference, Some(options), None).await.expect("removing a name");
    }
}
