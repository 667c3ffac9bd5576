//! Names of the outside, on a host whose only DNS server listens on its loopback: nodes have another loopback, and ask it all the same.
//!
//! The host is this one with another `/etc/resolv.conf`, which only the commands of this test see: in a mount namespace of their own.

use std::net::UdpSocket;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use orlop_e2e::nodes::Nodes;
use orlop_e2e::{tool, wait};

use crate::web::LIMIT;

/// The server's address: of the loopback, and hopefully nobody else's.
const SERVER: &str = "127.0.0.77";
/// What it answers to every question.
const ANSWER: [u8; 4] = [203, 0, 113, 5];

pub fn play() -> Result<()> {
    let socket = UdpSocket::bind((SERVER, 53)).context("nobody else has port 53 of this address")?;
    // It ends with the test's process.
    std::thread::spawn(move || answer(&socket));
    let folder = tempfile::Builder::new().prefix("orlop-names-").tempdir()?;
    let conf = folder.path().join("resolv.conf");
    std::fs::write(&conf, format!("nameserver {SERVER}\n"))?;
    let cluster = Nodes::new(&folder.path().join("clusters"), "names");
    let mut create = Command::new(tool::machine("unshare", "util-linux")?);
    create.args(["--mount", "--propagation", "private", "sh", "-c"]);
    create.arg("mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"").arg(&conf);
    let words = cluster.command(&["create", "names", "--nodes", "1"])?;
    tool::run(create.arg(words.get_program()).args(words.get_args()))?;
    let pid = cluster.process("agent-names-1")?.to_string();
    let outcome = wait::until("a name of the outside is found", LIMIT, || {
        let mut ask = Command::new(tool::machine("nsenter", "util-linux")?);
        ask.args([
            "--target",
            &pid,
            "--mount",
            "--net",
            "busybox",
            "nslookup",
            "-type=a",
            "outside.example",
            "10.96.0.10",
        ]);
        let said = tool::run(&mut ask)?;
        ensure!(said.contains("203.0.113.5"), "{said}");
        Ok(())
    });
    let logs = cluster.logs();
    // The mounts are those of the cluster's processes, so it is from among them that it is deleted.
    let words = cluster.command(&["delete", "names"])?;
    let mut delete = Command::new(tool::machine("nsenter", "util-linux")?);
    delete.args(["--target", &pid, "--mount"]).arg(words.get_program()).args(words.get_args());
    tool::run(&mut delete)?;
    outcome.context(logs)
}

/// Answers every question with the same address.
fn answer(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let question = &buffer[..length];
        // The name ends with an empty label; type and class follow. What comes after is left out.
        let Some(end) = question.get(12..).and_then(|it| it.iter().position(|it| *it == 0)) else { continue };
        let Some(asked) = question.get(12..12 + end + 5) else { continue };
        let mut bytes = question[..2].to_vec();
        bytes.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        bytes.extend(asked);
        // The name again, by reference; an address, for a minute.
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        bytes.extend(ANSWER);
        let _ = socket.send_to(&bytes, from);
    }
}
