//! A real image registry on loopback: Debian's `docker-registry`, as a process with a temporary folder.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// The user's password; the registry gets its bcrypt hash.
pub const PASSWORD: &str = "s3cret";
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";

/// The registry; it ends with the test.
pub struct Distribution {
    pub address: String,
    /// The one user who is let in, if not everybody is.
    pub user: Option<String>,
    _process: Child,
    _dir: tempfile::TempDir,
}

impl Distribution {
    /// Starts a registry, for everybody or for one user.
    pub async fn start(user: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        // Free a moment ago, and nothing else here takes ports at random.
        let address =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").to_string();
        let mut text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            dir.path().display(),
        );
        if let Some(user) = user {
            let users = dir.path().join("htpasswd");
            std::fs::write(&users, format!("{user}:{HASH}\n")).expect("a file");
            text += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", users.display());
        }
        let config = dir.path().join("config.yml");
        std::fs::write(&config, text).expect("a file");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("scripts/install test installs docker-registry");
        let mut tries = 0;
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            tries += 1;
            assert!(tries < 400, "the registry does not answer on {address}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { address, user: user.map(str::to_owned), _process: process, _dir: dir }
    }
}
