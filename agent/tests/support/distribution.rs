//! Debian's `docker-registry` on loopback, filled over HTTP without a container engine.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::layers::{INDEX, MANIFEST, Made, digest, index};

/// The password that goes with [`HASH`].
pub const PASSWORD: &str = "s3cret";
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";

/// The registry; it ends with the test.
pub struct Distribution {
    pub address: String,
    login: Option<String>,
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
        Self { address, login: user.map(str::to_owned), _process: process, _dir: dir }
    }

    /// Puts an image into it, under a tag the manifest and under another with `-index` the index; gives the reference of the first.
    pub async fn push(&self, name: &str, tag: &str, image: &Made) -> String {
        // The store installs the provider, and a test may push before there is a store.
        let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let send = async |request: reqwest::RequestBuilder| {
            let request = match &self.login {
                Some(user) => request.basic_auth(user, Some(PASSWORD)),
                None => request,
            };
            request.send().await.and_then(|it| it.error_for_status()).expect("the registry takes it")
        };
        let base = format!("http://{}/v2/{name}", self.address);
        for blob in &image.blobs {
            let begun = send(client.post(format!("{base}/blobs/uploads/"))).await;
            let mut place = reqwest::Url::parse(begun.headers()["location"].to_str().expect("text")).expect("a URL");
            place.query_pairs_mut().append_pair("digest", &digest(blob));
            let request = client.put(place).header("content-type", "application/octet-stream");
            send(request.body(blob.clone())).await;
        }
        let index = index(image);
        for (tag, kind, bytes) in [(tag.to_owned(), MANIFEST, &image.manifest), (format!("{tag}-index"), INDEX, &index)]
        {
            let request = client.put(format!("{base}/manifests/{tag}")).header("content-type", kind);
            send(request.body(bytes.clone())).await;
        }
        format!("{}/{name}:{tag}", self.address)
    }
}
