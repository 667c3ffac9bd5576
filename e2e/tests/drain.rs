//! The end of an API server that is asked to stop: it says so first, serves on for a while, lets what has begun come to its end, and goes.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use orlop_e2e::server::Server;
use orlop_e2e::wait;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// For how long the server serves on, and how long what has begun may take after that (`Limits::drain`).
const DELAY: Duration = Duration::from_secs(3);
const DRAIN: Duration = Duration::from_secs(10);
/// How far both cores' other work may put things off.
const SLACK: Duration = Duration::from_secs(4);

/// A request whose body comes as the test writes it.
fn upload(server: &Server, begin: &str) -> Result<Child> {
    let mut command = server.curl("POST", CONFIG_MAPS)?;
    command.args(["-H", "Content-Type: application/json", "-w", "\n%{http_code}", "-T", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let body = child.stdin.as_mut().context("a pipe was asked for")?;
    body.write_all(begin.as_bytes())?;
    body.flush()?;
    Ok(child)
}

#[test]
fn what_has_begun_comes_to_its_end() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-drain-").tempdir()?;
    let delay = DELAY.as_secs().to_string();
    let mut server = Server::start_with(&folder.path().join("data"), "embedded", &["--shutdown-delay", &delay])?;
    let named = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
    let first = server.ask("POST", CONFIG_MAPS, &named("first"))?;
    ensure!(first.code == 201, "{first:?}");

    let seen = folder.path().join("seen");
    let mut watch = server.curl("GET", &format!("{CONFIG_MAPS}?watch=true"))?;
    let mut watch = watch.stdout(std::fs::File::create(&seen)?).stderr(Stdio::piped()).spawn()?;
    wait::until("the watch tells what is there", Duration::from_secs(10), || {
        ensure!(std::fs::read_to_string(&seen)?.contains("\"first\""), "it has told nothing");
        Ok(())
    })?;
    let mut begun = upload(&server, r#"{"metadata":{"name":"#)?;
    // It has reached the server: a moment for the handshake and the head of the request.
    std::thread::sleep(Duration::from_secs(1));

    server.child().signal(Signal::SIGTERM);
    let asked = Instant::now();
    let unready = wait::until("/readyz fails", DELAY, || {
        let answer = server.ask("GET", "/readyz?verbose", "")?;
        ensure!(answer.code == 500, "it says {answer:?}");
        Ok(answer)
    })?;
    ensure!(unready.text.contains("[-]shutdown failed") && unready.text.contains("[+]store ok"), "{unready:?}");
    ensure!(server.ask("GET", "/livez", "")?.code == 200, "it is still alive");
    let during = server.ask("POST", CONFIG_MAPS, &named("during"))?;
    ensure!(during.code == 201, "a new connection is served while /readyz fails: {during:?}");
    ensure!(asked.elapsed() < DELAY, "the checks took longer than the server serves on");
    ensure!(watch.try_wait()?.is_none(), "the watch goes on as long as the server serves");

    // Now it drains: the watch ends as watches end, nobody new is let in, and what has begun may be finished.
    let ended = wait::until("the watch ends", DELAY + SLACK, || watch.try_wait()?.context("it goes on"))?;
    let mut complaint = String::new();
    watch.stderr.take().context("a pipe was asked for")?.read_to_string(&mut complaint)?;
    ensure!(ended.success(), "the watch was broken off: {ended} {complaint}");
    ensure!(asked.elapsed() >= DELAY, "the watch ended {:?} after the signal", asked.elapsed());
    let told = std::fs::read_to_string(&seen)?;
    ensure!(told.contains("\"during\"") && told.ends_with('\n'), "the watch told all, in whole lines: {told:?}");
    let refused = server.ask("GET", "/readyz", "")?;
    ensure!(refused.code == 0, "no new connections: {refused:?}");
    ensure!(server.child().runs(), "it waits for the request that has begun: {}", server.child().tail());
    begun.stdin.take().context("a pipe was asked for")?.write_all(br#""begun"}}"#)?;
    let answer = begun.wait_with_output()?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    ensure!(answer.status.success() && text.ends_with("\n201"), "what had begun was answered: {answer:?}");
    // Not asked again: a second signal ends it at once.
    wait::until("the server ends", DRAIN, || {
        ensure!(!server.child().runs(), "it runs");
        Ok(())
    })?;
    let status = server.child().stop()?.context("it has ended")?;
    ensure!(status.success(), "it ended with {status}: {}", server.child().tail());
    ensure!(asked.elapsed() < DELAY + DRAIN, "it took {:?}", asked.elapsed());

    server.restart()?;
    for name in ["first", "during", "begun"] {
        let kept = server.ask("GET", &format!("{CONFIG_MAPS}/{name}"), "")?;
        ensure!(kept.code == 200, "{name} was acknowledged: {kept:?}");
    }
    Ok(())
}

#[test]
fn what_never_ends_does_not_hold_it_up() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-drain-").tempdir()?;
    let mut server = Server::start(&folder.path().join("data"), "memory")?;
    let mut hanging = upload(&server, r#"{"metadata":{"name":"#)?;
    std::thread::sleep(Duration::from_secs(1));
    server.child().signal(Signal::SIGTERM);
    let asked = Instant::now();
    wait::until("the server ends", DRAIN + SLACK, || {
        ensure!(!server.child().runs(), "it runs");
        Ok(())
    })?;
    let took = asked.elapsed();
    ensure!(took >= DRAIN - Duration::from_secs(1), "the request had {took:?} only");
    ensure!(server.child().log().contains("still open at the end of the drain"), "{}", server.child().tail());
    ensure!(server.child().stop()?.context("it has ended")?.success(), "{}", server.child().tail());
    drop(hanging.stdin.take());
    ensure!(!hanging.wait()?.success(), "nobody was told that it had been done");
    Ok(())
}
