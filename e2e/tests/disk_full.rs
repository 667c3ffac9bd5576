//! A node whose disk is too small for an image: the pod says so, other pods run, nothing of the half image stays, and with more room the pod runs by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::image::{self, TOOLS, WEB};
use orlop_e2e::registry::Registry;
use orlop_e2e::scene::{Scene, container};
use orlop_e2e::{tool, wait};

/// Room for the agent and the small image, not for the large one, whose single layer has some 30 MB unpacked.
const SMALL: &str = "24m";
const LARGE: &str = "256m";
/// What may be left of a pull: folders, and what the small image's pod writes.
const LEFT_BYTES: u64 = 1 << 20;
/// A pull that failed a few times waits up to five minutes.
const RETRIED: Duration = Duration::from_secs(330);

#[test]
fn an_image_that_does_not_fit_harms_nothing() -> Result<()> {
    image::ready()?;
    let mut registry = Registry::start()?;
    let (large, small) = (registry.push(WEB)?, registry.push(TOOLS)?);
    Cluster::with(Options { runtime: "native", ..Options::default() }, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        // Before anything is on it.
        cluster.part("agent-1")?.kill();
        let disk = Disk::mount(&cluster.agent_dir("1"))?;
        let outcome = (|| {
            cluster.start_part("agent-1")?;
            cluster.wait_nodes()?;
            let scene = Scene::new(cluster, &api, "disk")?;
            play(&scene, &disk, &large, &small)
        })();
        // It holds the folder.
        cluster.part("agent-1")?.kill();
        drop(disk);
        outcome
    })
}

fn play(scene: &Scene<'_>, disk: &Disk, large: &str, small: &str) -> Result<()> {
    scene.apply(&pod("small", small, "[sleep, \"1000\"]"))?;
    scene.ready("small")?;
    let before = disk.used()?;
    scene.apply(&pod("large", large, "[nginx, -g, daemon off;]"))?;
    scene.event("large", "Failed", "no space left on device")?;
    scene.until("large", "waits with the reason", |it| {
        let reason = &container(it, "main")["state"]["waiting"]["reason"];
        reason == "ErrImagePull" || reason == "ImagePullBackOff"
    })?;
    wait::until("nothing of it stays", Duration::from_secs(30), || {
        let left = disk.used()?.saturating_sub(before);
        ensure!(left < LEFT_BYTES, "{left} bytes are left");
        Ok(())
    })?;
    // The node goes on: what runs is untouched, and others come.
    ensure!(container(&scene.pod("small")?, "main")["restartCount"] == 0, "{}", scene.pod("small")?["status"]);
    scene.apply(&pod("another", small, "[sleep, \"1000\"]"))?;
    scene.ready("another")?;

    disk.grow()?;
    scene.api.until(&scene.path("pods/large"), "runs when there is room", RETRIED, |it| {
        orlop_e2e::cluster::condition(it, "Ready") == Some("True")
    })?;
    for it in ["small", "another", "large"] {
        scene.run(&["delete", "pod", it, "--grace-period=1", "--timeout=60s"])?;
    }
    Ok(())
}

fn pod(name: &str, image: &str, command: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  containers: [{{ name: main, image: {image:?}, command: {command} }}]\n"
    )
}

/// A small file system in memory on a folder, gone with its value.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Result<Disk> {
        tool::run(
            Command::new("mount").args(["-t", "tmpfs", "-o"]).arg(format!("size={SMALL}")).arg("orlop-e2e").arg(at),
        )?;
        Ok(Disk(at.to_owned()))
    }

    fn grow(&self) -> Result<()> {
        let how = format!("remount,size={LARGE}");
        tool::run(Command::new("mount").arg("-o").arg(how).arg(&self.0)).map(drop)
    }

    fn used(&self) -> Result<u64> {
        let said = tool::run(Command::new("df").args(["--block-size=1", "--output=used"]).arg(&self.0))?;
        said.lines().nth(1).context("df says nothing")?.trim().parse().context("df says no number")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a test that failed may have pods there.
        if let Err(error) = tool::run(Command::new("umount").arg("-l").arg(&self.0)) {
            eprintln!("{error:#}");
        }
    }
}
