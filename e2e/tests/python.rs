//! What Python's people run: the Kubernetes client from PyPI, unmodified, and requests that schemathesis draws from our OpenAPI documents.
//!
//! Both live in one virtual environment below `target/`, made once for each list of versions (`python/requirements.txt`). A machine
//! that reaches no package index fails here and says so.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use orlop_client::random;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::server::Server;
use orlop_e2e::tool;
use sha2::{Digest, Sha256};

/// How long the client's script may take, and pip, with both cores busy.
const CLIENT_SECONDS: u32 = 240;
const PIP_SECONDS: u32 = 420;
/// For how many operations requests are drawn, the same ones in each run: a test that finds something else each time tells of a change what
/// is not its fault. `ORLOP_SCHEMATHESIS_SECONDS` draws others, for all operations, for so long.
const DRAWN_OPERATIONS: u64 = 150;
const DRAWN_SEED: u64 = 1;
/// How long that may take, and how long the script may take beside it.
const DRAWN_SECONDS: u64 = 300;
const DRAWN_REST_SECONDS: u64 = 180;

fn scripts() -> PathBuf {
    tool::repository().join("e2e/tests/python")
}

/// A command that is ended when it takes too long.
fn within(seconds: impl std::fmt::Display, program: impl Into<PathBuf>) -> Result<Command> {
    let mut command = Command::new(tool::machine("timeout", "coreutils")?);
    command.args(["--kill-after=5", &seconds.to_string()]).arg(program.into());
    Ok(command)
}

/// The interpreter of the virtual environment, which is made if it is not there.
fn python() -> Result<PathBuf> {
    let python = tool::machine("python3", "python3-venv")?;
    let versions = scripts().join("requirements.txt");
    let mut key = Sha256::new();
    key.update(std::fs::read(&versions)?);
    key.update(tool::run(Command::new(&python).args(["-c", "import sys; print(sys.version, sys.prefix)"]))?);
    let key: String = key.finalize().iter().take(8).map(|it| format!("{it:02x}")).collect();
    let parent = tool::repository().join("target/python");
    let folder = parent.join(&key);
    std::fs::create_dir_all(&parent)?;
    // Tests of several processes want it at the same time.
    let lock = File::create(parent.join(format!("{key}.lock")))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let (complete, inside) = (folder.join("complete"), folder.join("bin/python"));
    if complete.exists() {
        return Ok(inside);
    }
    // What an attempt that was broken off has left.
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    tool::run(within(PIP_SECONDS, &python)?.args(["-m", "venv"]).arg(&folder))
        .context("no virtual environment can be made: install python3-venv (scripts/install test does)")?;
    let mut pip = within(PIP_SECONDS, &inside)?;
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "-r"]).arg(&versions);
    tool::run(&mut pip)
        .context("the packages of python/requirements.txt cannot be installed: is the package index within reach?")?;
    File::create(complete)?;
    Ok(inside)
}

#[test]
fn the_python_client_works_unmodified() -> Result<()> {
    let python = python()?;
    Cluster::with(Options::default(), |cluster| {
        let mut client = within(CLIENT_SECONDS, &python)?;
        let said = tool::run(client.arg(scripts().join("client.py")).arg(cluster.kubeconfig()))?;
        print!("{said}");
        ensure!(said.ends_with("leading\n"), "it ended early: {said}");
        Ok(())
    })
}

/// `ORLOP_SCHEMATHESIS_SEED` draws the requests of a run again, `ORLOP_SCHEMATHESIS_ONLY` those of some operations (`"PUT /apis/apps"`).
#[test]
fn requests_that_schemathesis_draws_are_answered_as_the_documents_say() -> Result<()> {
    let python = python()?;
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    let (seconds, most) = match number("ORLOP_SCHEMATHESIS_SECONDS") {
        Some(seconds) => (seconds, 0),
        None => (DRAWN_SECONDS, DRAWN_OPERATIONS),
    };
    let fresh = || if most == 0 { random::below(1 << 32) } else { DRAWN_SEED };
    let seed = number("ORLOP_SCHEMATHESIS_SEED").unwrap_or_else(fresh);
    let folder = tempfile::Builder::new().prefix("orlop-drawn-").tempdir()?;
    // Alone: nobody else may write while it is looked whether a refusal has changed nothing.
    let mut server = Server::start(&folder.path().join("data"), "memory")?;
    let mut drawn = within(seconds + DRAWN_REST_SECONDS, &python)?;
    drawn.arg(scripts().join("drawn.py")).arg(server.kubeconfig()).args([seconds, seed, most].map(|it| it.to_string()));
    drawn.args(std::env::var("ORLOP_SCHEMATHESIS_ONLY").ok());
    let outcome = tool::run(&mut drawn);
    ensure!(server.child().runs(), "the server has ended: {}\n{outcome:?}", server.child().tail());
    println!("{}", outcome.with_context(|| format!("ORLOP_SCHEMATHESIS_SEED={seed} draws them again"))?);
    ensure!(!server.child().log().contains("panicked"), "{}", server.child().tail());
    Ok(())
}
