//! The images that tests run: the examples' servers, one of small tools, and one that greets. They are made as archives, which nodes of the
//! runtime `native` are given at their start; for those of `docker` the same archives are loaded into the local Engine.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::registry::docker;
use crate::tool;

/// nginx with Lua, as the guest book's web tier.
pub const WEB: &str = "orlop.local/web:1";
/// Redis, as the guest book's store.
pub const REDIS: &str = "orlop.local/redis:1";
/// Debian's static busybox under the names of all its tools, for what is no server.
pub const TOOLS: &str = "orlop.test/tools:1";
/// One that says what its entrypoint and its command are.
pub const GREETER: &str = "orlop.test/greeter:1";

/// Makes sure that a Docker Engine answers and has the images.
///
/// # Errors
/// When no Engine answers or an image cannot be made; the error says what to do.
pub fn ready() -> Result<()> {
    static READY: OnceLock<Result<(), String>> = OnceLock::new();
    READY.get_or_init(|| make().map_err(|it| format!("{it:#}"))).clone().map_err(anyhow::Error::msg)
}

fn make() -> Result<()> {
    docker(&["version", "--format", "{{.Server.Version}}"])
        .context("these tests need a Docker Engine: run scripts/dockerd-start (make test does)")?;
    archives()?;
    let images =
        [(WEB, "images/web"), (REDIS, "images/redis"), (TOOLS, "test-images/tools"), (GREETER, "test-images/greeter")];
    for (name, archive) in images {
        let archive = tool::repository().join("target").join(archive).with_extension("tar").display().to_string();
        // An image's id is the digest of its configuration, which names its file in the archive.
        let id = docker(&["image", "inspect", "--format", "{{.Id}}", name]).unwrap_or_default();
        let id = id.trim().trim_start_matches("sha256:").to_owned();
        let listed = tool::run(Command::new(tool::machine("tar", "tar")?).args(["-tf", &archive]))?;
        if id.is_empty() || !listed.contains(&id) {
            docker(&["load", "--quiet", "--input", &archive])?;
        }
    }
    Ok(())
}

/// Makes sure that the archives of all three tiers of manifests/examples/three-tiers are there, and gives their folders, for `--load-images`.
///
/// # Errors
/// When one cannot be made.
pub fn three_tiers() -> Result<[PathBuf; 2]> {
    static MADE: OnceLock<Result<(), String>> = OnceLock::new();
    MADE.get_or_init(|| examples("--three-tiers")).clone().map_err(anyhow::Error::msg)?;
    Ok(["images", "three-tiers"].map(|it| tool::repository().join("target").join(it)))
}

/// Makes the examples' images, and those that `more` names.
fn examples(more: &str) -> Result<(), String> {
    let made = tool::run(Command::new(tool::repository().join("scripts/example-images")).arg(more));
    made.map(drop).map_err(|it| format!("{it:#}"))
}

/// Makes sure that the archives of the images are there, and gives their folders, for `--load-images`. Needs no Docker Engine.
///
/// # Errors
/// When one cannot be made.
pub fn archives() -> Result<[PathBuf; 2]> {
    static MADE: OnceLock<Result<(), String>> = OnceLock::new();
    MADE.get_or_init(|| examples("--tests")).clone().map_err(anyhow::Error::msg)?;
    Ok(["images", "test-images"].map(|it| tool::repository().join("target").join(it)))
}
