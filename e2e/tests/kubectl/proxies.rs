//! `kubectl proxy`, on a port that it chooses and on a socket.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_e2e::case::Case;
use orlop_e2e::{tool, wait};
use serde_json::Value;

/// How long a proxy may take to listen.
const LIMIT: Duration = Duration::from_secs(30);

/// A running proxy, which ends with its value.
struct Proxy {
    child: Child,
    /// What it says first: where it listens.
    line: String,
}

impl Proxy {
    fn start(it: &Case, line: &str) -> Result<Proxy> {
        let mut command = it.kubectl.command(&it.arguments(line));
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let read = child.stdout.take().context("it has an output")?;
        // `timeout` ends a proxy that says nothing, and with it the output.
        BufReader::new(read).read_line(&mut line)?;
        Ok(Proxy { child, line })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // `timeout` hands the signal on to kubectl.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn curl(arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(tool::machine("curl", "curl")?);
    let output = command.args(["-sS", "--max-time", "20"]).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub fn proxies(it: &Case) -> Result<()> {
    let proxy = Proxy::start(it, "proxy -p 0 --disable-filter")?;
    let address = proxy.line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    ensure!(proxy.line.starts_with("Starting to serve on 127.0.0.1:"), "{}", proxy.line);
    let api = wait::until("the proxy answers", LIMIT, || curl(&[&format!("http://{address}/api/")]))?;
    ensure!(api["versions"][0] == "v1", "{api}");
    let path = format!("http://{address}/api/v1/namespaces/{}", it.namespace);
    let namespace = curl(&[&path])?;
    ensure!(namespace["metadata"]["name"] == it.namespace.as_str(), "{namespace}");
    drop(proxy);

    let folder = tempfile::Builder::new().prefix("orlop-proxy-").tempdir()?;
    let socket = folder.path().join("socket");
    let socket = socket.to_str().context("a path of text")?;
    let proxy = Proxy::start(it, &format!("proxy --unix-socket={socket}"))?;
    ensure!(proxy.line.contains(socket), "{}", proxy.line);
    let api = wait::until("the proxy answers", LIMIT, || curl(&["--unix-socket", socket, "http://localhost/api/"]))?;
    ensure!(api["versions"][0] == "v1", "{api}");
    Ok(())
}
