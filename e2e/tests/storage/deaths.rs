//! The agent is killed while volumes come and go: every pod gets its volume, none loses what it wrote, and no folder is left.

use std::time::Duration;

use anyhow::{Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::Cluster;
use orlop_e2e::scene::{POD_LIMIT, Scene};
use orlop_e2e::wait;

use super::texts::{claim, pod};

/// Pods with a volume each.
const PODS: usize = 6;
/// How long the agent lives each time: from before it is connected to after the first pods run.
const LIVES_MS: [u64; 8] = [30, 120, 250, 400, 600, 900, 1400, 2000];

fn named(at: usize) -> String {
    format!("p-{at}")
}

pub fn play(cluster: &mut Cluster) -> Result<()> {
    let api = Api::new(&cluster.kubeconfig())?;
    let all: Vec<String> = (0..PODS).map(named).collect();
    {
        let scene = Scene::new(cluster, &api, "deaths")?;
        scene.apply(&all.iter().map(|it| claim(it, "local", "1Gi", "") + &pod(it, it, "")).collect::<String>())?;
    }
    kill_often(cluster)?;
    let scene = Scene::new(cluster, &api, "deaths")?;
    for it in &all {
        scene.ready(it)?;
        scene.inside(it, "main", &["sh", "-c", &format!("echo {it} > /data/name && sync")])?;
    }
    let folder = cluster.agent_dir("1").join("volumes");
    let folders = || -> Result<Vec<String>> {
        let entries = std::fs::read_dir(&folder)?.collect::<std::io::Result<Vec<_>>>()?;
        Ok(entries.iter().map(|it| it.file_name().to_string_lossy().into_owned()).collect())
    };
    ensure!(folders()?.len() == PODS, "{PODS} volumes have folders {:?}", folders()?);
    // Half of the pods go and come again, with the agent dying meanwhile.
    let (old, rest) = all.split_at(PODS / 2);
    let names: Vec<&str> = old.iter().map(String::as_str).collect();
    scene.run(&[&["delete", "pod", "--wait=false", "--grace-period=1"], names.as_slice()].concat())?;
    kill_often(cluster)?;
    let scene = Scene::new(cluster, &api, "deaths")?;
    for it in old {
        api.gone(&scene.path(&format!("pods/{it}")), POD_LIMIT)?;
        scene.apply(&pod(it, it, ""))?;
    }
    for it in &all {
        scene.ready(it)?;
        let text = scene.inside(it, "main", &["cat", "/data/name"])?;
        ensure!(text == format!("{it}\n"), "{it} finds {text:?}");
    }
    // All claims go, and with them, through further deaths, every folder; those of pods that stay a little longer last.
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    scene.run(&["delete", "pvc", "--all", "--wait=false"])?;
    scene.run(&[&["delete", "pod", "--wait=false", "--grace-period=1"], names.as_slice()].concat())?;
    kill_often(cluster)?;
    let scene = Scene::new(cluster, &api, "deaths")?;
    scene.run(&[&["delete", "pod", "--grace-period=1"], rest.as_slice()].concat())?;
    wait::until("every volume and every folder is gone", POD_LIMIT, || {
        let (volumes, folders) = (api.items("/api/v1/persistentvolumes")?.len(), folders()?);
        ensure!(volumes == 0 && folders.is_empty(), "{volumes} volumes and {folders:?}");
        Ok(())
    })
}

fn kill_often(cluster: &mut Cluster) -> Result<()> {
    for life in LIVES_MS {
        std::thread::sleep(Duration::from_millis(life));
        cluster.kill_and_restart("agent-1")?;
    }
    Ok(())
}
