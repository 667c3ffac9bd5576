//! What goes beyond plain writes of built-in kinds: server-side apply beside an update, custom objects beside ConfigMaps, and what definitions cost in memory.
//!
//! Both sides of a ratio are measured in one run, one after the other on the same server, in processor time of the server per request.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::connection::{Connection, Request};
use super::generator::{self, Load, Outcome};
use super::report::{self, Table};
use super::scale::Scale;
use super::subject::Subject;
use super::{budget, object, target, usage, verbs};

/// Clients that write at once.
const CLIENTS: usize = 16;
/// Objects that are written in turn.
const OBJECTS: usize = 200;
/// The size of a Deployment's body as sent.
const DEPLOYMENT_BYTES: usize = 3_000;
/// How long a definition may take until its kind is served.
const SERVED_LIMIT: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "orlop-bench-extensions";

/// Compares applies with updates, and custom objects with ConfigMaps.
///
/// # Errors
/// When the server cannot be reached or refuses a write.
pub fn run(subject: &Subject, scale: &Scale) -> Result<Table> {
    verbs::begin(&subject.target, NAMESPACE)?;
    let mut table = Table::new(
        format!("Applies and custom objects: {}", subject.name),
        &["write", "requests/s", "p50 ms", "p99 ms", "server CPU µs/request", "of the plain one", "budget"],
    );
    table.remark(format!(
        "{CLIENTS} clients; Deployments of {DEPLOYMENT_BYTES} B, {OBJECTS} in turn, every write changes one."
    ));

    let deployments = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    let load = |requests: usize| Load { clients: CLIENTS, limit: scale.verb_limit, requests };
    let all = Load { limit: scale.verb_limit * 20, ..load(OBJECTS) };
    let body = |kind: &str, number: usize, turn: usize| {
        object::deployment(&format!("{kind}-{}", number % OBJECTS), turn, DEPLOYMENT_BYTES)
    };
    let path = |kind: &str, number: usize| format!("{deployments}/{kind}-{}", number % OBJECTS);
    let applied = |number: usize| format!("{}?fieldManager=bench", path("applied", number));
    let drive = |load: Load, request: &(dyn Fn(usize) -> Request + Sync)| clean(subject, load, request);
    drive(all, &|number| Request::post(deployments.clone(), body("updated", number, 0)))?;
    let updated = drive(load(scale.verb_requests), &|number| {
        Request::put(path("updated", number), body("updated", number, 1 + number))
    })?;
    drive(all, &|number| Request::apply(applied(number), body("applied", number, 0)))?;
    let apply = drive(load(scale.verb_requests), &|number| {
        Request::apply(applied(number), body("applied", number, 1 + number))
    })?;
    let plain = row(&mut table, "update of a Deployment", updated, None);
    row(&mut table, "server-side apply of it", apply, Some((plain, budget::APPLY_RATIO)));

    define(subject, 1)?;
    let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let customs = format!("/apis/bench.orlop.dev/v1/namespaces/{NAMESPACE}/benches0");
    let size = object::custom("Bench0", "custom-00000", 0).len();
    let made = drive(load(scale.verb_requests), &|number| {
        Request::post(maps.clone(), object::config_map(&format!("map-{number:05}"), number, size))
    })?;
    let custom = drive(load(scale.verb_requests), &|number| {
        Request::post(customs.clone(), object::custom("Bench0", &format!("custom-{number:05}"), number))
    })?;
    let plain = row(&mut table, &format!("create of a ConfigMap of {size} B"), made, None);
    let what = format!("create of a custom object of {size} B, 100 fields");
    row(&mut table, &what, custom, Some((plain, budget::CUSTOM_RATIO)));
    target::runtime()?.block_on(async {
        let mut connection = Connection::open(&subject.target).await?;
        for path in [deployments, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned()] {
            connection.ask(Request::delete(path)).await?;
        }
        anyhow::Ok(())
    })?;
    verbs::end(subject, NAMESPACE)?;
    Ok(table)
}

/// Drives a load of which nothing may fail.
fn clean(subject: &Subject, load: Load, request: &(dyn Fn(usize) -> Request + Sync)) -> Result<Outcome> {
    let outcome = generator::drive(&subject.target, load, &subject.processes, request)?;
    if !outcome.failures.is_empty() {
        bail!("writes failed: {:?}", outcome.failures);
    }
    Ok(outcome)
}

/// Adds a row; gives the processor time per request.
fn row(table: &mut Table, what: &str, mut outcome: Outcome, against: Option<(Duration, f64)>) -> Duration {
    let used = outcome.servers.first().map(|it| outcome.per_request(*it)).unwrap_or_default();
    let mut cells = vec![what.to_owned(), report::rate(outcome.rate())];
    cells.push(report::milliseconds(outcome.latencies.median()));
    cells.push(report::milliseconds(outcome.latencies.percentile(99.0)));
    cells.push(report::microseconds(used));
    if let Some((plain, limit)) = against.filter(|(plain, _)| !plain.is_zero()) {
        let ratio = used.as_secs_f64() / plain.as_secs_f64();
        cells.push(format!("{}×", report::significant(ratio)));
        cells.push(budget::at_most(ratio, limit, &format!("{limit}×")));
    }
    table.row(cells);
    used
}

/// Makes definitions of `benches0.bench.orlop.dev` and so on, and waits until the last is served.
fn define(subject: &Subject, count: usize) -> Result<()> {
    target::runtime()?.block_on(async {
        let mut connection = Connection::open(&subject.target).await?;
        for number in 0..count {
            let body = object::definition(&format!("benches{number}"), &format!("Bench{number}"));
            connection.ask(Request::post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)).await?;
        }
        let begun = Instant::now();
        for number in 0..count {
            let path = format!("/apis/bench.orlop.dev/v1/benches{number}?limit=1");
            while !connection.exchange(Request::get(path.clone())).await?.0.is_success() {
                if begun.elapsed() > SERVED_LIMIT {
                    bail!("{path} is not served after {SERVED_LIMIT:?}");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    })
}

/// Measures what definitions add to the memory of a server of our own that has nothing else to do.
///
/// # Errors
/// When the server does not start, or does not serve them.
pub fn definitions(scale: &Scale, table: &mut Table) -> Result<()> {
    let subject = Subject::embedded()?;
    std::thread::sleep(scale.idle);
    let id = subject.processes[0].id;
    let before = usage::memory(id)?;
    define(&subject, scale.definitions)?;
    std::thread::sleep(scale.idle);
    let after = usage::memory(id)?;
    let added = after.resident_bytes.saturating_sub(before.resident_bytes);
    let heap = after.anonymous_bytes.saturating_sub(before.anonymous_bytes);
    let judged = budget::at_most(added, budget::DEFINITIONS_BYTES, &format!("{} MiB", budget::DEFINITIONS_BYTES >> 20));
    let what = format!("`orlop-apiserver`: what {} definitions of 100 fields add", scale.definitions);
    table.row([what, report::mebibytes(added), report::mebibytes(heap), judged]);
    Ok(())
}
