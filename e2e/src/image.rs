//! The images that tests run, in the local Docker Engine: the examples' servers, and one of small tools.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::registry::docker;
use crate::tool;

/// nginx with Lua, as the guest book's web tier.
pub const WEB: &str = "orlop.local/web:1";
/// Redis, as the guest book's store.
pub const REDIS: &str = "orlop.local/redis:1";
/// Debian's static busybox under the names of all its tools, for what is no server.
pub const TOOLS: &str = "orlop.test/tools:1";

/// Makes sure that a Docker Engine answers and has the three images.
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
    if docker(&["image", "inspect", WEB, REDIS]).is_err() {
        tool::run(&mut Command::new(tool::repository().join("scripts/example-images")))?;
    }
    if docker(&["image", "inspect", TOOLS]).is_err() {
        import_tools()?;
    }
    Ok(())
}

/// One program and a link to it for each of its tools.
fn import_tools() -> Result<()> {
    let busybox = tool::machine("busybox", "busybox-static")?;
    let tools = tool::run(Command::new(&busybox).arg("--list"))?;
    let mut import = Command::new(tool::machine("docker", "docker.io")?);
    import.args(["import", "--change", "ENV PATH=/bin", "--change", "CMD [\"/bin/sh\"]", "-", TOOLS]);
    let mut child = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut archive = tar::Builder::new(child.stdin.take().context("a pipe was asked for")?);
    archive.append_path_with_name(&busybox, "bin/busybox")?;
    for name in tools.lines().filter(|it| *it != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, Path::new("bin").join(name), "busybox")?;
    }
    for folder in ["etc", "tmp", "dev", "proc", "sys"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(if folder == "tmp" { 0o1777 } else { 0o755 });
        archive.append_data(&mut header, folder, std::io::empty())?;
    }
    // Dropping the writer ends docker's input.
    drop(archive.into_inner()?);
    let status = child.wait()?;
    if status.success() { Ok(()) } else { bail!("docker import of {TOOLS} failed with {status}") }
}
