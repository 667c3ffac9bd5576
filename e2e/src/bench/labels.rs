//! LIST of labels: every key and value that objects carry, counted anew after a write, as `kubectl get labels` asks for it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::connection::{Connection, Request};
use super::generator::{self, Load, Meter};
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::subject::Subject;
use super::{target, verbs};

/// Clients that create the objects.
const CREATORS: usize = 16;
/// The labels of each object: one of its own, one that ten share, one that all share.
const SHARERS: usize = 10;
const NAMESPACE: &str = "orlop-bench-labels";
const LABELS: &str = "/apis/orlop.dev/v1/labels";

/// Makes as many labelled objects as the list bench has pods, and lists the labels with a write before each list, and one by selector.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub fn run(subject: &Subject, scale: &Scale) -> Result<Table> {
    verbs::begin(&subject.target, NAMESPACE)?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let load = Load { clients: CREATORS, limit: Duration::from_secs(300), requests: scale.pods };
    let made = generator::drive(&subject.target, load, &subject.processes, &|number| {
        Request::post(path.clone(), object(number))
    })?;
    if !made.failures.is_empty() {
        bail!("objects were not created: {:?}", made.failures);
    }
    let objects = report::rate(scale.pods as f64);
    let mut table = Table::new(
        format!("LIST of the labels of {objects} objects: {}", subject.name),
        &["list", "median ms", "worst ms", "kB", "server CPU ms/list"],
    );
    table.remark(format!(
        "Each object has a label of its own, one that {SHARERS} share and one that all share; another object is created before each list, median of {}.",
        scale.lists
    ));
    target::runtime()?.block_on(async {
        let mut connection = Connection::open(&subject.target).await?;
        let mut written = scale.pods;
        for (name, query) in [("all", ""), ("one key and value", "?labelSelector=item%3Ditem-7")] {
            let mut samples = Samples::default();
            let mut bytes = 0;
            let before = Meter::read(&subject.processes);
            for _ in 0..scale.lists {
                // A new label each time, so that the last count is of no use.
                written += 1;
                connection.ask(Request::post(path.clone(), object(written))).await?;
                let begun = Instant::now();
                let (code, length) = connection.exchange(Request::get(format!("{LABELS}{query}"))).await?;
                samples.push(begun.elapsed());
                if !code.is_success() {
                    bail!("LIST of labels: {code}");
                }
                bytes = length;
            }
            let (_, servers) = Meter::read(&subject.processes).since(&before);
            let mut cells = vec![name.to_owned()];
            cells.extend([samples.median(), samples.percentile(100.0)].map(report::milliseconds));
            cells.push(format!("{:.0}", bytes as f64 / 1e3));
            let used = servers.first().copied().unwrap_or_default();
            cells.push(report::milliseconds(used / scale.lists as u32));
            table.row(cells);
        }
        anyhow::Ok(())
    })?;
    verbs::end(subject, NAMESPACE)?;
    Ok(table)
}

fn object(number: usize) -> Vec<u8> {
    let (own, shared) = (format!("item-{number}"), format!("group-{}", number / SHARERS));
    let labels = json!({"item": own, "group": shared, "app": "orlop-bench"});
    let metadata = json!({"name": format!("labelled-{number}"), "labels": labels});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}).to_string().into_bytes()
}
