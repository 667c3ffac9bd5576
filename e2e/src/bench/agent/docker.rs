//! The agent on Docker, beside the Engine itself.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{all_pods, row, table, unjudged};
use crate::bench::connection::{Connection, Request};
use crate::bench::report::Table;
use crate::bench::scale::Scale;
use crate::bench::statistics::Samples;
use crate::bench::{object, target};
use crate::cluster::{Cluster, Form, Options};
use crate::registry::docker;
use crate::tool;

const SOCKET: &str = "/var/run/docker.sock";

/// Runs the agent against Docker.
///
/// # Errors
/// When Docker does not answer, or a container does not run.
pub fn run(scale: &Scale) -> Result<Table> {
    let folder = tempfile::Builder::new().prefix("orlop-bench-image-").tempdir()?;
    make_image(folder.path())?;
    let runtime = target::runtime()?;
    let mut table = table("Agent on Docker: bind seen → container running");
    let (alone, burst) = (scale.agent_pods, scale.agent_burst);
    let mut raw = Duration::ZERO;
    for (network, called) in [("none", "no network"), ("bridge", "Docker's bridge")] {
        let measured = runtime.block_on(raw_containers(alone, 1, network))?;
        let what = format!("raw create and start, {called}, one after the other");
        let p50 = row(&mut table, what, measured, unjudged);
        // The pod has a network, so that Docker's own is the fair comparison: a budget against less would be kept more easily.
        raw = if raw.is_zero() { p50 } else { raw.min(p50) };
        let measured = runtime.block_on(raw_containers(burst, burst, network))?;
        row(&mut table, format!("raw create and start, {called}, {burst} at once"), measured, unjudged);
    }
    let cluster = Cluster::start(Options { form: Form::Apart, runtime: "docker", ..Options::default() })?;
    all_pods(&cluster, scale, raw, &mut table)?;
    table.remark("Raw: over the Engine's socket, the quicker of the two networks counts for the ratio; a pod is two containers, a network and reports to the API server.");
    drop(cluster);
    docker(&["rmi", "--force", object::IMAGE])?;
    Ok(table)
}

/// An image of one static program that sleeps.
fn make_image(folder: &Path) -> Result<()> {
    let busybox = tool::machine("busybox", "busybox-static")?;
    let archive = folder.join("image.tar");
    tool::run(
        Command::new("tar")
            .arg("-chf")
            .arg(&archive)
            .arg("-C")
            .arg(busybox.parent().context("a folder")?)
            .arg("busybox"),
    )?;
    let command = r#"CMD ["/busybox","sleep","1000000"]"#;
    let archive = archive.to_str().context("the folder's name is no text")?;
    docker(&["import", "--change", command, archive, object::IMAGE]).map(drop)
}

/// Creates and starts `count` containers, `together` at once; the time of each, and of all.
async fn raw_containers(count: usize, together: usize, network: &str) -> Result<(Samples, Duration)> {
    let mut connections = Vec::new();
    for _ in 0..together {
        connections.push(Connection::open_unix(Path::new(SOCKET)).await?);
    }
    let started = Instant::now();
    let each = connections.into_iter().map(|mut connection| async move {
        let (mut samples, mut ids) = (Samples::default(), Vec::new());
        for _ in 0..count / together {
            let begun = Instant::now();
            let body = json!({"Image": object::IMAGE, "HostConfig": {"NetworkMode": network}}).to_string();
            let answer = connection.ask(Request::post("/containers/create", body)).await?;
            let id = serde_json::from_slice::<Value>(&answer)?["Id"].as_str().context("no id")?.to_owned();
            connection.ask(Request::post(format!("/containers/{id}/start"), "")).await?;
            samples.push(begun.elapsed());
            ids.push(id);
        }
        let ended = Instant::now();
        for id in ids {
            connection.ask(Request::delete(format!("/containers/{id}?force=1"))).await?;
        }
        anyhow::Ok((samples, ended))
    });
    let (mut all, mut last) = (Samples::default(), started);
    for (samples, ended) in futures::future::try_join_all(each).await? {
        all.extend(samples);
        last = last.max(ended);
    }
    Ok((all, last - started))
}
