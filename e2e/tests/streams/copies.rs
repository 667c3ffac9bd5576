//! `kubectl cp`: folders into a container and out again.

use std::path::Path;

use anyhow::{Result, ensure};
use orlop_e2e::scene::Scene;

use crate::{sleeper, with_each};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&sleeper("target"))?;
    scene.ready("target")?;
    let there = scene.cluster.folder().join("there");
    std::fs::create_dir_all(there.join("sub"))?;
    std::fs::write(there.join("small"), "a few bytes\n")?;
    std::fs::write(there.join("sub").join("empty"), "")?;
    let large: Vec<u8> = (0..5_000_000u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(there.join("sub").join("large"), &large)?;
    with_each(scene, |kubectl| {
        let name = kubectl.program().file_name().and_then(|it| it.to_str()).unwrap_or_default();
        let inside = format!("/tmp/{name}");
        let back = scene.cluster.folder().join(format!("back-{name}"));
        let cp = |from: &str, to: &str| kubectl.run(&["-n", &scene.namespace, "cp", from, to]);
        cp(&there.display().to_string(), &format!("target:{inside}"))?;
        cp(&format!("target:{inside}"), &back.display().to_string())?;
        same(&there, &back)
    })
}

fn same(one: &Path, other: &Path) -> Result<()> {
    for file in ["small", "sub/empty", "sub/large"] {
        let (one, other) = (std::fs::read(one.join(file))?, std::fs::read(other.join(file))?);
        ensure!(one == other, "{file} came back otherwise: {} and {} bytes", one.len(), other.len());
    }
    Ok(())
}
