//! A real etcd for a test: a process on free loopback ports, its data in a temporary directory. It is killed when the value
//! is dropped, also by a panic.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

const BINARY: &str = "/usr/bin/etcd";

/// A running etcd, or one that was killed and can be started again where it was.
pub struct EtcdServer {
    dir: TempDir,
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

impl EtcdServer {
    /// Starts an etcd with no data.
    pub fn start() -> Self {
        assert!(
            Path::new(BINARY).exists(),
            "{BINARY} is missing: these tests run against a real etcd; install Debian's package etcd-server"
        );
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Both are held until both are known, so that they differ.
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [client_port, peer_port] = listeners.map(|listener| listener.local_addr().expect("its address").port());
        let mut server = Self { dir, client_port, peer_port, process: None };
        server.start_again();
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Starts it over the data it has.
    pub fn start_again(&mut self) {
        let client = self.url();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).expect("a log file");
        let process = Command::new(BINARY)
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file"))
            .stderr(log)
            .spawn()
            .expect("etcd starts");
        self.process = Some(process);
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("etcd can be killed");
            process.wait().expect("etcd has ended");
        }
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // A panic may be under way; nothing more can be done here than try.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking()
            && let Ok(log) = std::fs::read_to_string(self.dir.path().join("log"))
        {
            let from = log.len().saturating_sub(2000);
            eprintln!("the end of etcd's log:\n{}", log.get(from..).unwrap_or(&log));
        }
    }
}
