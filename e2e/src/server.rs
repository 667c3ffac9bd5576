//! One API server, alone, and requests to it as any HTTP client could make them, good and bad.
//!
//! In: a data directory and a store. Out: answers, or the process's log when it does not answer. Requests go through curl, so that nothing of
//! ours stands between the bytes that a test wants sent and the server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use kube::config::Kubeconfig;
use serde_json::Value;

use crate::child::Child;
use crate::client::Probe;
use crate::definition::expect;
use crate::{tool, wait};

/// How long a server may take until it is ready, with both cores busy.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// No answer may take longer: the server's own limit for a request is 60 s.
const ANSWER_SECONDS: &str = "70";

/// A running `orlop-apiserver`.
pub struct Server {
    data: PathBuf,
    store: String,
    port: u16,
    /// Flags beside those that every test's server has.
    more: Vec<String>,
    child: Child,
}

/// What a request is made of beside its method and path.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The administrator's certificate goes with it unless this says otherwise.
    pub credentials: Credentials<'a>,
    pub content_type: &'a str,
    pub body: &'a [u8],
}

impl Default for Request<'_> {
    fn default() -> Self {
        Request { credentials: Credentials::Administrator, content_type: "application/json", body: b"" }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Credentials<'a> {
    Nobody,
    Administrator,
    /// A certificate and its key, in PEM.
    Certificate(&'a str, &'a str),
    Bearer(&'a str),
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 0 when there was none: the connection was refused or broken off.
    pub code: u16,
    /// The body; null when it is no JSON.
    pub json: Value,
    /// The body, or what curl said.
    pub text: String,
    /// What the server warns of (`Warning: 299 - "..."`), one text each.
    pub warnings: Vec<String>,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or does not become ready; its log is in the error.
    pub fn start(data: &Path, store: &str) -> Result<Server> {
        Self::start_with(data, store, &[])
    }

    /// Starts a server with further flags and waits until it is ready.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(data: &Path, store: &str, more: &[&str]) -> Result<Server> {
        let more: Vec<String> = more.iter().map(|it| (*it).to_owned()).collect();
        loop {
            let port = tool::free_port()?;
            let child = Self::spawn(data, store, port, &more)?;
            let mut server = Server { data: data.to_owned(), store: store.to_owned(), port, more: more.clone(), child };
            match server.wait_ready() {
                Ok(()) => return Ok(server),
                // Somebody else was quicker to listen there.
                Err(_) if server.child.log().contains("in use") => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts the process and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(data: &Path, store: &str, port: u16, more: &[String]) -> Result<Child> {
        let mut command = Command::new(tool::ours("orlop-apiserver")?);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--store", store]).arg("--data-dir").arg(data);
        command.args(more);
        // Beside the data directory: a full disk must not take the log with it.
        let logs = data.parent().context("the data directory has a parent")?;
        Child::start(&format!("apiserver-{port}"), logs, &mut command)
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// When the process ends or takes too long.
    pub fn wait_ready(&mut self) -> Result<()> {
        let probe = Probe::new(self.port, &self.data);
        let outcome = wait::until("the API server is ready", READY_LIMIT, || {
            // Somebody else's server may answer on a port that was taken: ours says so in its log, and ends.
            if !self.child.runs() || (probe.ready() && self.child.log().contains("is ready")) {
                Ok(())
            } else {
                bail!("it is not")
            }
        });
        if outcome.is_err() || !self.child.runs() {
            bail!("the API server is not ready: {}", self.child.tail());
        }
        Ok(())
    }

    /// The port of loopback on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// kill -9 and start again, on the same port and data; waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.child.kill();
        self.restart()
    }

    /// Starts it again where it has ended, on the same port and data; waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.child = Self::spawn(&self.data, &self.store, self.port, &self.more)?;
        self.wait_ready()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// Asks with the administrator's certificate.
    ///
    /// # Errors
    /// When curl cannot be run.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        self.request(method, path, &Request { body: body.as_bytes(), ..Request::default() })
    }

    /// Sends an object as the administrator; null sends nothing.
    ///
    /// # Errors
    /// When curl cannot be run.
    pub fn send(&self, method: &str, path: &str, object: &Value) -> Result<Answer> {
        let body = if object.is_null() { String::new() } else { object.to_string() };
        self.ask(method, path, &body)
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.ask("GET", path, "")?;
        expect(&answer, 200)?;
        Ok(answer.json)
    }

    /// Asks.
    ///
    /// # Errors
    /// When curl cannot be run.
    pub fn request(&self, method: &str, path: &str, request: &Request<'_>) -> Result<Answer> {
        let folder = tempfile::Builder::new().prefix("orlop-curl-").tempdir()?;
        let mut command = Command::new(tool::machine("curl", "curl")?);
        command.args(["-sS", "--max-time", ANSWER_SECONDS, "-w", "\n%{http_code}", "-X", method]);
        command.arg("--cacert").arg(self.data.join("pki/ca.crt"));
        command.arg("--dump-header").arg(folder.path().join("head"));
        let administrator;
        let certificate = match &request.credentials {
            Credentials::Administrator => {
                administrator = self.administrator()?;
                Some((administrator.0.as_str(), administrator.1.as_str()))
            }
            Credentials::Certificate(certificate, key) => Some((*certificate, *key)),
            Credentials::Bearer(token) => {
                command.args(["-H", &format!("Authorization: Bearer {token}")]);
                None
            }
            Credentials::Nobody => None,
        };
        if let Some((certificate, key)) = certificate {
            std::fs::write(folder.path().join("crt"), certificate)?;
            std::fs::write(folder.path().join("key"), key)?;
            command.arg("--cert").arg(folder.path().join("crt")).arg("--key").arg(folder.path().join("key"));
        }
        if !request.body.is_empty() {
            command.args(["-H", &format!("Content-Type: {}", request.content_type), "--data-binary", "@-"]);
        }
        command.arg(format!("https://127.0.0.1:{}{path}", self.port));
        let mut curl = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = curl.stdin.take() {
            // The server may refuse before it has read all.
            let _ = stdin.write_all(request.body);
        }
        let output = curl.wait_with_output()?;
        let all = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, code) = all.rsplit_once('\n').unwrap_or(("", all.as_str()));
        let code = code.parse().unwrap_or(0);
        let text = if code == 0 { String::from_utf8_lossy(&output.stderr).into_owned() } else { text.to_owned() };
        let head = std::fs::read_to_string(folder.path().join("head")).unwrap_or_default();
        let warnings =
            head.lines().filter_map(|it| it.split_once(": ").filter(|it| it.0.eq_ignore_ascii_case("warning")));
        let warnings = warnings.map(|it| it.1.trim().to_owned()).collect();
        Ok(Answer { code, json: serde_json::from_str(&text).unwrap_or_default(), text, warnings })
    }

    /// A request that takes its time, with the administrator's certificate: a curl for the caller to run.
    ///
    /// # Errors
    /// When there is no curl.
    pub fn curl(&self, method: &str, path: &str) -> Result<Command> {
        let beside = |name: &str| self.data.with_file_name(format!("curl-{}.{name}", self.port));
        let (certificate, key) = self.administrator()?;
        std::fs::write(beside("crt"), certificate)?;
        std::fs::write(beside("key"), key)?;
        let mut command = Command::new(tool::machine("curl", "curl")?);
        command.args(["-sSN", "--max-time", ANSWER_SECONDS, "-X", method]);
        command.arg("--cacert").arg(self.data.join("pki/ca.crt"));
        command.arg("--cert").arg(beside("crt")).arg("--key").arg(beside("key"));
        command.arg(format!("https://127.0.0.1:{}{path}", self.port));
        Ok(command)
    }

    /// The administrator's certificate and key, in PEM.
    ///
    /// # Errors
    /// When the kubeconfig has none.
    pub fn administrator(&self) -> Result<(String, String)> {
        let config = Kubeconfig::read_from(self.kubeconfig())?;
        let user = config.auth_infos.into_iter().next().and_then(|it| it.auth_info).context("there is a user")?;
        let decode = |it: &str| -> Result<String> {
            Ok(String::from_utf8(base64::engine::general_purpose::STANDARD.decode(it)?)?)
        };
        let key = serde_json::to_value(&user)?;
        let key = key["client-key-data"].as_str().context("the user has a key")?;
        let certificate = user.client_certificate_data.context("the user has a certificate")?;
        Ok((decode(&certificate)?, decode(key)?))
    }
}
