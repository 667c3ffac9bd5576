//! A real image registry on loopback: Debian's `docker-registry`, as a process with a temporary folder and one user.

use std::process::Stdio;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptions, RemoveImageOptions};
use futures::TryStreamExt;
use orlop_agent::runtime::docker::archive::File;
use tokio::process::{Child, Command};

use crate::engine;

/// The user's password; the registry gets its bcrypt hash.
pub const PASSWORD: &str = "s3cret";
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";

/// The registry; it ends with the test.
pub struct Registry {
    pub address: String,
    user: String,
    password: String,
    _process: Child,
    _dir: tempfile::TempDir,
}

impl Registry {
    pub async fn start(user: &str, password: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let users = dir.path().join("htpasswd");
        std::fs::write(&users, format!("{user}:{HASH}\n")).expect("a file");
        // Free a moment ago, and nothing else here takes ports at random.
        let address =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").to_string();
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n\
             auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            dir.path().display(),
            users.display()
        );
        let config = dir.path().join("config.yml");
        std::fs::write(&config, text).expect("a file");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("scripts/dockerd-start installs docker-registry");
        let mut tries = 0;
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            tries += 1;
            assert!(tries < 200, "the registry does not answer on {address}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { address, user: user.into(), password: password.into(), _process: process, _dir: dir }
    }

    /// Makes an image that is like no other, gives it to the registry, and takes it away from the Engine.
    pub async fn push(&self, reference: &str) {
        let docker = engine::client();
        let (name, tag) = reference.rsplit_once(':').expect("a tag");
        engine::load(reference, &[File { path: "etc/name", mode: 0o644, bytes: reference.as_bytes() }]).await;
        let credentials = DockerCredentials {
            username: Some(self.user.clone()),
            password: Some(self.password.clone()),
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
