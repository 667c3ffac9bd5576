//! Create, get, update and delete of 1 kB ConfigMaps by 1, 16 and 64 clients.
//!
//! Each verb runs for a bounded time and number of requests. Gets and updates go through all objects that were created, in turn; deletes take
//! them away again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::budget::{self, References};
use super::connection::{Connection, Request};
use super::generator::{self, Load, Outcome};
use super::object;
use super::report::{self, Table};
use super::scale::Scale;
use super::subject::{Store, Subject};
use super::target::{self, Target};

/// The size of an object's body as sent.
const OBJECT_BYTES: usize = 1_024;

/// Requests per second, by verb and clients.
pub type Rates = BTreeMap<(&'static str, usize), f64>;

/// What etcd itself took of the transactions that the API server asks of it.
#[derive(Debug, Default)]
pub struct Etcd {
    pub rates: Rates,
    /// Whether the budget is about it: it has processors of its own.
    pub judged: bool,
}

/// Runs all verbs at all numbers of clients.
///
/// # Errors
/// When the server cannot be reached, or refuses the namespace.
pub fn run(subject: &Subject, scale: &Scale, etcd: &Etcd, references: &References) -> Result<(Table, Rates)> {
    let namespace = "orlop-bench-verbs";
    begin(&subject.target, namespace)?;
    let mut columns = vec!["verb", "clients", "requests/s", "p50 ms", "p99 ms"];
    let shares: Vec<String> = subject.processes.iter().map(|it| format!("{} CPU µs/request", it.name)).collect();
    columns.extend(shares.iter().map(String::as_str));
    columns.extend(["generator CPU µs/request", "generator's share of a core", "budgets"]);
    let mut table = Table::new(format!("Requests: {} ({OBJECT_BYTES} B ConfigMaps)", subject.name), &columns);
    table.remark(format!("Durability: {}.", subject.durability));
    let collection = format!("/api/v1/namespaces/{namespace}/configmaps");
    let mut rates = Rates::new();
    for &clients in &scale.clients {
        let load = Load { clients, limit: scale.verb_limit, requests: scale.verb_requests };
        let name = |number: usize| format!("c{clients}-{number}");
        let one = |number: usize| format!("{collection}/{}", name(number));
        let body = |number: usize, turn: usize| object::config_map(&name(number), turn, OBJECT_BYTES);
        let drive = |load: Load, request: &(dyn Fn(usize) -> Request + Sync)| {
            generator::drive(&subject.target, load, &subject.processes, request)
        };

        let created = drive(load, &|number| Request::post(collection.clone(), body(number, 0)))?;
        let objects = created.asked.max(1);
        let got = drive(load, &|number| Request::get(one(number % objects)))?;
        let updated = drive(load, &|number| Request::put(one(number % objects), body(number % objects, 1 + number)))?;
        // As many as there are, whatever time it takes: the next verb begins with none.
        let all = Load { limit: scale.verb_limit * 4, requests: objects, ..load };
        let deleted = drive(all, &|number| Request::delete(one(number)))?;
        for (verb, mut outcome) in [("create", created), ("get", got), ("update", updated), ("delete", deleted)] {
            rates.insert((verb, clients), outcome.rate());
            let budgets = budgets(subject, verb, clients, &outcome, etcd, references);
            table.row(row(verb, clients, &mut outcome, &budgets));
            if !outcome.failures.is_empty() {
                table.remark(format!("{verb} by {clients} clients: failed {:?}", outcome.failures));
            }
        }
    }
    end(subject, namespace)?;
    Ok((table, rates))
}

fn row(verb: &str, clients: usize, outcome: &mut Outcome, budgets: &[String]) -> Vec<String> {
    let mut cells = vec![verb.to_owned(), clients.to_string(), report::rate(outcome.rate())];
    cells.push(report::milliseconds(outcome.latencies.median()));
    cells.push(report::milliseconds(outcome.latencies.percentile(99.0)));
    cells.extend(outcome.servers.iter().map(|it| report::microseconds(outcome.per_request(*it))));
    cells.push(report::microseconds(outcome.per_request(outcome.own)));
    cells.push(format!("{:.0} %", 100.0 * outcome.own.as_secs_f64() / outcome.elapsed.as_secs_f64().max(1e-9)));
    cells.push(budgets.join("; "));
    cells
}

fn budgets(
    subject: &Subject,
    verb: &str,
    clients: usize,
    outcome: &Outcome,
    etcd: &Etcd,
    references: &References,
) -> Vec<String> {
    let mut told = Vec::new();
    if subject.store == Store::Embedded {
        told.extend(references.verb(verb, clients).map(|it| it.judge(outcome.rate())));
    }
    let server = outcome.servers.first().map(|it| outcome.per_request(*it));
    let limit =
        |limit: Duration| server.map(|it| budget::at_most(it, limit, &format!("{} µs", report::microseconds(limit))));
    match (subject.store, verb) {
        (Store::Embedded, "create") if clients == 64 => told.extend(limit(budget::CREATE_PROCESSOR)),
        (Store::Embedded, "get") if clients == 64 => told.extend(limit(budget::GET_PROCESSOR)),
        (Store::Etcd, verb) => told.extend(etcd.rates.iter().find(|it| *it.0 == (verb, clients)).map(|(_, raw)| {
            let share = outcome.rate() / raw;
            let told = format!("{:.0} % of etcd's own {}", share * 100.0, report::rate(*raw));
            let wanted = format!("{:.0} %", budget::ETCD_SHARE * 100.0);
            if etcd.judged { format!("{told}, {}", budget::at_least(share, budget::ETCD_SHARE, &wanted)) } else { told }
        })),
        _ => {}
    }
    told
}

/// Makes a namespace with the service account that kube-apiserver wants before it takes pods; one that is left over is taken as it is.
pub(super) fn begin(target: &Target, namespace: &str) -> Result<()> {
    let make =
        |kind: &str, name: &str| serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    target::runtime()?.block_on(async {
        let mut connection = Connection::open(target).await?;
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        for (path, body) in [
            ("/api/v1/namespaces".to_owned(), make("Namespace", namespace)),
            (accounts, make("ServiceAccount", "default")),
        ] {
            let (code, _) = connection.exchange(Request::post(path.clone(), body.to_string())).await?;
            if !code.is_success() && code != http::StatusCode::CONFLICT {
                anyhow::bail!("POST {path}: {code}");
            }
        }
        Ok(())
    })
}

/// Takes the namespace and what is left in it away.
pub(super) fn end(subject: &Subject, namespace: &str) -> Result<()> {
    target::runtime()?.block_on(async {
        let mut connection = Connection::open(&subject.target).await?;
        for resource in ["configmaps", "pods"] {
            let path = format!("/api/v1/namespaces/{namespace}/{resource}?gracePeriodSeconds=0");
            connection.ask(Request::delete(path)).await?;
        }
        connection.ask(Request::delete(format!("/api/v1/namespaces/{namespace}"))).await.map(drop)
    })
}
