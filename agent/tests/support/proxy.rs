//! A socket in front of the Docker Engine's that a test can take away, as if the Engine had gone.

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// The way to the Engine, open or shut.
pub struct Proxy {
    pub socket: String,
    _dir: tempfile::TempDir,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Proxy {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = dir.path().join("docker.sock").display().to_string();
        let mut proxy = Self { socket, _dir: dir, serving: None };
        proxy.resume().await;
        proxy
    }

    pub async fn resume(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).expect("a socket");
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let engine = host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
        self.serving = Some(tokio::spawn(async move {
            // Dropped with the task, and every connection with it.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let engine = engine.clone();
                connections.spawn(async move {
                    if let Ok(mut server) = UnixStream::connect(engine).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        }));
    }

    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }
}
