//! WebSockets of the older forms, which no kubectl speaks: other clients do, and the conformance tests of remote commands and of logs over
//! WebSockets.
//!
//! A client of a few lines speaks through `kubectl proxy`, which adds TLS and the credentials.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_e2e::scene::Scene;

use crate::{listens, pod};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&pod(
        "target",
        "Always",
        "",
        "echo container is alive; nc -ll -p 8080 -e echo bye & trap exit TERM; sleep 3600 & wait",
    ))?;
    scene.ready("target")?;
    listens(scene, "target", &["8080"])?;
    let proxy = Proxy::start(scene)?;
    let path = |what: &str| scene.path(&format!("pods/target/{what}"));
    let exec = path(
        "exec?container=main&command=sh&command=-c&command=cat%3Becho%20err%3E%262%3Bexit%203&stdin=1&stdout=1&stderr=1",
    );
    for protocol in ["", "channel.k8s.io", "v3.channel.k8s.io", "v4.channel.k8s.io"] {
        // Before the fifth version the end of the input cannot be said: `cat` is given none.
        let quick = exec.replace("cat%3B", "echo%20out%3B").replace("stdin=1&", "");
        let heard = Socket::open(&proxy, &quick, protocol)?.all()?;
        ensure!(heard.channel(1) == b"out\n" && heard.channel(2) == b"err\n", "{protocol}: {heard:?}");
        let said = String::from_utf8_lossy(heard.channel(3)).into_owned();
        match protocol.starts_with("v4.") {
            true => ensure!(said.contains(r#""reason":"ExitCode""#) && said.starts_with('{'), "{protocol}: {said}"),
            false => ensure!(said.ends_with("command terminated with exit code 3"), "{protocol}: {said}"),
        }
    }
    // With the fifth it can.
    let mut socket = Socket::open(&proxy, &exec, "v5.channel.k8s.io")?;
    socket.send(0x82, b"\0through")?;
    socket.send(0x82, b"\xff\0")?;
    let heard = socket.all()?;
    ensure!(heard.channel(1) == b"through" && heard.channel(2) == b"err\n", "{heard:?}");
    // As text.
    let quick = path("exec?command=echo&command=out&stdout=1");
    let heard = Socket::open(&proxy, &quick, "base64.channel.k8s.io")?.all()?;
    ensure!(heard.text(1)? == b"out\n", "{heard:?}");
    let heard = Socket::open(&proxy, &path("portforward?ports=8080&ports=9"), "v4.channel.k8s.io")?.all()?;
    ensure!(heard.channel(0) == [&8080u16.to_le_bytes()[..], b"bye\n"].concat(), "{heard:?}");
    ensure!(heard.channel(1) == 8080u16.to_le_bytes(), "{heard:?}");
    ensure!(String::from_utf8_lossy(heard.channel(3)).contains("connection refused"), "{heard:?}");
    // A log comes as it is, without channels.
    for protocol in ["", "binary.k8s.io", "base64.binary.k8s.io"] {
        let heard = Socket::open(&proxy, &path("log?container=main"), protocol)?.all()?.whole;
        let heard = if protocol.starts_with("base64.") { STANDARD.decode(heard)? } else { heard };
        ensure!(heard == b"container is alive\n", "{protocol}: {:?}", String::from_utf8_lossy(&heard));
    }
    let refused = Socket::open(&proxy, &path("log"), "v4.channel.k8s.io").err().context("a log has no channels")?;
    ensure!(refused.to_string().contains("403"), "{refused}");
    // What nobody speaks is refused before the protocol changes.
    let refused = Socket::open(&proxy, &quick, "v9.channel.k8s.io").err().context("it is refused")?.to_string();
    ensure!(refused.contains("400") && refused.contains("not supported"), "{refused}");
    // Nonsense ends the session, and nothing else.
    let mut rude = Socket::open(&proxy, &path("exec?command=sleep&command=60&stdin=1&stdout=1"), "v4.channel.k8s.io")?;
    rude.stream.write_all(b"\x83\x85nonsense that is no frame")?;
    rude.all()?;
    ensure!(Socket::open(&proxy, &quick, "channel.k8s.io")?.all()?.channel(1) == b"out\n", "it goes on");
    Ok(())
}

/// A running `kubectl proxy`.
struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    fn start(scene: &Scene<'_>) -> Result<Proxy> {
        let mut command = scene.kubectl.command(&["proxy", "--port", "0", "--disable-filter"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().context("a pipe was asked for")?;
        let mut proxy = Proxy { child, port: 0 };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let port = line.trim().rsplit_once(':').and_then(|(_, it)| it.parse().ok());
        proxy.port = port.with_context(|| format!("kubectl proxy said {line:?}"))?;
        Ok(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // `timeout` passes it on.
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// All that came until the close: by channel as the first byte of each message says, and as it came.
#[derive(Debug, Default)]
struct Heard {
    channels: std::collections::BTreeMap<u8, Vec<u8>>,
    whole: Vec<u8>,
}

impl Heard {
    fn channel(&self, number: u8) -> &[u8] {
        self.channels.get(&number).map_or(&[], Vec::as_slice)
    }

    /// In the forms that are text, the channel is a digit.
    fn text(&self, number: u8) -> Result<Vec<u8>> {
        Ok(STANDARD.decode(self.channel(b'0' + number))?)
    }
}

struct Socket {
    stream: TcpStream,
}

impl Socket {
    fn open(proxy: &Proxy, path: &str, protocol: &str) -> Result<Socket> {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let named = if protocol.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {protocol}\r\n") };
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{named}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        let mut answer = String::from_utf8_lossy(&answer).into_owned();
        if !answer.starts_with("HTTP/1.1 101") {
            let mut body = [0; 2000];
            let length = stream.read(&mut body)?;
            bail!("{answer}{}", String::from_utf8_lossy(&body[..length]));
        }
        answer.make_ascii_lowercase();
        let chosen = format!("sec-websocket-protocol: {protocol}\r\n");
        ensure!(protocol.is_empty() || answer.contains(&chosen), "it speaks something else: {answer}");
        Ok(Socket { stream })
    }

    fn send(&mut self, first: u8, payload: &[u8]) -> Result<()> {
        // With a mask of zeros.
        let frame = [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat();
        Ok(self.stream.write_all(&frame)?)
    }

    /// Reads to the close, or the end.
    fn all(mut self) -> Result<Heard> {
        let mut heard = Heard::default();
        loop {
            let mut head = [0; 2];
            if self.stream.read_exact(&mut head).is_err() {
                return Ok(heard);
            }
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.stream.read_exact(&mut length)?;
                    usize::from(u16::from_be_bytes(length))
                }
                127 => bail!("a message of that length is not expected"),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload)?;
            match head[0] & 0x0f {
                8 => return Ok(heard),
                1 | 2 => {
                    heard.whole.extend_from_slice(&payload);
                    if let Some((channel, bytes)) = payload.split_first() {
                        heard.channels.entry(*channel).or_default().extend_from_slice(bytes);
                    }
                }
                _ => {}
            }
        }
    }
}
