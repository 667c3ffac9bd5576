//! LIST of 5,000 pods of 3 kB, as a client that has to see everything asks for it, and as an informer does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::budget;
use super::connection::{Connection, Request};
use super::generator::{self, Load, Meter};
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::subject::{Store, Subject};
use super::{object, target, verbs};

/// The size of a pod's body as sent; defaults and status make it 3 kB.
const POD_BYTES: usize = 2_500;
/// Clients that create the pods.
const CREATORS: usize = 16;

/// Fills a namespace with pods and lists them. The pods are left for whoever measures memory next; [`clean`] takes them away.
///
/// # Errors
/// When the server cannot be reached, or the list does not hold what was created.
pub fn run(subject: &Subject, scale: &Scale) -> Result<Table> {
    let namespace = "orlop-bench-list";
    verbs::begin(&subject.target, namespace)?;
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let load = Load { clients: CREATORS, limit: Duration::from_secs(300), requests: scale.pods };
    let created = generator::drive(&subject.target, load, &subject.processes, &|number| {
        Request::post(path.clone(), object::pod(&format!("pod-{number:05}"), object::NO_SCHEDULER, POD_BYTES))
    })?;
    if created.latencies.len() != scale.pods {
        bail!("only {} of {} pods were created: {:?}", created.latencies.len(), scale.pods, created.failures);
    }
    let mut columns = vec!["resourceVersion", "median ms", "best ms", "worst ms", "MB"];
    let shares: Vec<String> = subject.processes.iter().map(|it| format!("{} CPU ms/list", it.name)).collect();
    columns.extend(shares.iter().map(String::as_str));
    columns.extend(["generator CPU ms/list", "budget"]);
    let title = format!("LIST of {} pods: {}", report::rate(scale.pods as f64), subject.name);
    let mut table = Table::new(title, &columns);
    table.remark(format!("One client, no compression, median of {}.", scale.lists));
    let made = report::rate(created.rate());
    table.remark(format!("The pods were created by {CREATORS} clients at {made} per second before."));
    target::runtime()?
        .block_on(async {
            let mut connection = Connection::open(&subject.target).await?;
            check(&mut connection, &path, scale.pods).await?;
            for (name, query) in [("unset", ""), ("0", "?resourceVersion=0")] {
                let mut samples = Samples::default();
                let mut bytes = 0;
                let before = Meter::read(&subject.processes);
                for _ in 0..scale.lists {
                    let begun = Instant::now();
                    let (code, length) = connection.exchange(Request::get(format!("{path}{query}"))).await?;
                    samples.push(begun.elapsed());
                    if !code.is_success() {
                        bail!("LIST: {code}");
                    }
                    bytes = length;
                }
                let (own, servers) = Meter::read(&subject.processes).since(&before);
                let median = samples.median();
                let mut cells = vec![name.to_owned(), report::milliseconds(median)];
                cells.extend([samples.percentile(0.0), samples.percentile(100.0)].map(report::milliseconds));
                cells.push(format!("{:.1}", bytes as f64 / 1e6));
                cells.extend(servers.iter().map(|it| report::milliseconds(*it / scale.lists as u32)));
                cells.push(report::milliseconds(own / scale.lists as u32));
                let judged = subject.store != Store::Foreign && scale.pods == 5_000;
                cells.push(if judged { budget::at_most(median, budget::LIST, "20 ms") } else { String::new() });
                table.row(cells);
            }
            Ok(())
        })
        .map(|()| table)
}

/// Reads the list once as JSON: what is fast has to be right, too.
async fn check(connection: &mut Connection, path: &str, expected: usize) -> Result<()> {
    let body = connection.ask(Request::get(path)).await?;
    let list: serde_json::Value = serde_json::from_slice(&body).context("the list is no JSON")?;
    let items = list["items"].as_array().context("the list has no items")?;
    if items.len() != expected {
        bail!("the list has {} items and not {expected}", items.len());
    }
    Ok(())
}

/// Takes the pods away.
///
/// # Errors
/// When the server refuses.
pub fn clean(subject: &Subject) -> Result<()> {
    verbs::end(subject, "orlop-bench-list")
}
