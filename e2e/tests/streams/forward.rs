//! `kubectl port-forward`: several connections at once, ends of either side, ports that refuse.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::scene::{Scene, expect_words};

use crate::{listens, pod, with_each};

/// Connections beside each other.
const BESIDE: usize = 6;

/// No read may wait longer.
const LIMIT: Duration = Duration::from_secs(30);

pub fn play(scene: &Scene<'_>) -> Result<()> {
    // 8080 gives back what it is sent, and ends when its client does; 8081 says a word and ends.
    let script = "nc -ll -p 8080 -e cat & nc -ll -p 8081 -e echo bye & wait";
    scene.apply(&pod("server", "Always", "", script))?;
    scene.ready("server")?;
    listens(scene, "server", &["8080", "8081"])?;
    with_each(scene, |kubectl| {
        let mut forward = Forward::start(scene, kubectl, &["8080", "8081", "9"])?;
        let outcome = connections(&forward);
        let said = forward.stop()?;
        outcome.with_context(|| format!("kubectl said {said}"))?;
        expect_words(&said, &["an error occurred forwarding", "connection refused"])
    })
}

fn connections(forward: &Forward) -> Result<()> {
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..BESIDE).map(|at| scope.spawn(move || echo(forward.port(0)?, at))).collect();
        all.into_iter().map(|it| it.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))).collect()
    });
    outcomes.into_iter().collect::<Result<()>>()?;
    // One after the other, more than there are streams at once.
    for _ in 0..80 {
        ensure!(hear(forward.port(1)?)? == "bye\n", "the server's end came before its word");
    }
    // The other connections do not suffer from one that is refused; kubectl itself ends after it since 1.31 or so.
    let refused = hear(forward.port(2)?)?;
    ensure!(refused.is_empty(), "nobody listens, and said {refused:?}");
    Ok(())
}

/// A megabyte there and back, with the end of the input before the end of the answer.
fn echo(port: u16, at: usize) -> Result<()> {
    let stream = connect(port)?;
    let sent: Vec<u8> = (0..1_000_000).map(|it| ((it * (at + 1)) >> 3) as u8).collect();
    let mut writer = stream.try_clone()?;
    let mut heard = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let writing = scope.spawn(|| writer.write_all(&sent).and_then(|()| writer.shutdown(Shutdown::Write)));
        (&stream).read_to_end(&mut heard)?;
        writing.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        Ok(())
    })?;
    ensure!(heard == sent, "connection {at}: {} of {} bytes came back", heard.len(), sent.len());
    Ok(())
}

fn hear(port: u16) -> Result<String> {
    let mut heard = String::new();
    // A port that refuses may be told by a reset.
    let _ = connect(port)?.read_to_string(&mut heard);
    Ok(heard)
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// A running `kubectl port-forward`.
struct Forward {
    child: Child,
    ports: Vec<u16>,
}

impl Forward {
    fn start(scene: &Scene<'_>, kubectl: &Kubectl, ports: &[&str]) -> Result<Forward> {
        let ports: Vec<String> = ports.iter().map(|it| format!(":{it}")).collect();
        let mut all = vec!["-n", &scene.namespace, "port-forward", "server", "--address", "127.0.0.1"];
        all.extend(ports.iter().map(String::as_str));
        let mut command = kubectl.command(&all);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("a pipe was asked for")?;
        let mut forward = Forward { child, ports: Vec::new() };
        let mut lines = BufReader::new(output).lines();
        while forward.ports.len() < ports.len() {
            let Some(line) = lines.next() else {
                let said = forward.stop()?;
                anyhow::bail!("kubectl port-forward ended: {said}");
            };
            let line = line?;
            let port: Option<u16> =
                line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|it| it.split(' ').next()?.parse().ok());
            forward.ports.extend(port);
        }
        // What it says of each connection is not read, but must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(forward)
    }

    fn port(&self, at: usize) -> Result<u16> {
        self.ports.get(at).copied().context("as many ports as were asked for")
    }

    /// Ends it and gives what it said on standard error.
    fn stop(&mut self) -> Result<String> {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        // It may have ended by itself.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        self.child.wait()?;
        Ok(said)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
