//! Resident memory: idle, of the whole control plane in one process and apart; and after the load that came before.

use std::path::Path;

use anyhow::Result;

use super::budget::{self, References};
use super::kubernetes::Kubernetes;
use super::report::{self, Table};
use super::scale::Scale;
use super::subject::{Served, Store, Subject};
use super::usage::{self, Memory};
use crate::child::Child;

/// A table with a row a process.
pub fn table() -> Table {
    let mut table = Table::new("Resident memory", &["what", "resident MiB", "of it heap and stacks MiB", "budget"]);
    table.remark("Idle is the most within the ten seconds after that time. The program's pages that were not touched for ten seconds are not resident (decision 029).");
    table.remark("kube-apiserver 1.20, etcd 3.4, controller-manager and scheduler as measured before, for reference: 495 MiB idle; after the load 1,660 MiB and etcd 310 MiB.");
    table
}

fn row(table: &mut Table, what: &str, memory: Memory, limit: Option<u64>) {
    let judged = limit.map(|it| budget::at_most(memory.resident_bytes, it, &format!("{} MiB", it >> 20)));
    judged_row(table, what, memory, judged.unwrap_or_default());
}

fn judged_row(table: &mut Table, what: &str, memory: Memory, judged: String) {
    let sizes = [memory.resident_bytes, memory.anonymous_bytes].map(report::mebibytes);
    table.row([what.to_owned()].into_iter().chain(sizes).chain([judged]));
}

/// What is asked of a whole control plane: `≤ 60 MB ✓; ≤ 1/10 of 495 MiB ✗`.
fn plane(memory: Memory, references: &References) -> String {
    let absolute =
        budget::at_most(memory.resident_bytes, budget::PLANE_BYTES, &format!("{} MB", budget::PLANE_BYTES / 1_000_000));
    let share = format!("1/{:.0} of {} MiB", 1.0 / budget::PLANE_SHARE, report::mebibytes(references.idle_bytes));
    let limit = references.idle_bytes as f64 * budget::PLANE_SHARE;
    format!("{absolute}; {}", budget::at_most(memory.resident_bytes as f64, limit, &share))
}

/// Measures Kubernetes' own, whose sum ours are then measured by.
///
/// # Errors
/// When one does not start.
pub fn kubernetes(programs: &Path, scale: &Scale, table: &mut Table, references: &mut References) -> Result<()> {
    let it = Kubernetes::start(programs)?;
    let parts = [it.controllers()?, it.scheduler()?];
    std::thread::sleep(scale.idle);
    let ids = it.processes().into_iter().map(|it| it.id).chain(parts.iter().map(Child::id));
    let all: Vec<Memory> = ids.map(|it| usage::most_memory(it, scale.idle)).collect::<Result<_>>()?;
    let sum: Memory = all.into_iter().sum();
    references.idle_bytes = sum.resident_bytes;
    row(
        table,
        &format!("Kubernetes {}: etcd, API server, controllers and scheduler apart, the sum, idle", it.version),
        sum,
        None,
    );
    Ok(())
}

/// Measures idle processes.
///
/// # Errors
/// When one does not start.
pub fn idle(scale: &Scale, table: &mut Table, references: &References) -> Result<()> {
    let seconds = scale.idle.as_secs();
    let served = Served::apiserver("embedded")?;
    let settled = |id: u32| {
        std::thread::sleep(scale.idle);
        usage::most_memory(id, scale.idle)
    };
    let alone = settled(served.child.id())?;
    row(table, &format!("`orlop-apiserver`, embedded store, idle for {seconds} s"), alone, None);
    let components = [
        served.component("orlop-controllers", "controllers.kubeconfig", &[])?,
        served.component("orlop-scheduler", "scheduler.kubeconfig", &[])?,
    ];
    let mut all = vec![settled(served.child.id())?];
    for (child, name) in components.iter().zip(["orlop-controllers", "orlop-scheduler"]) {
        let memory = usage::most_memory(child.id(), scale.idle)?;
        row(table, &format!("`{name}`, idle"), memory, None);
        all.push(memory);
    }
    let sum = all.into_iter().sum();
    judged_row(table, "API server, controllers and scheduler apart, the sum", sum, plane(sum, references));
    drop((components, served));
    let up = Served::up()?;
    let what = format!("`orlop up`, all of them and a hollow node in one process, idle for {seconds} s");
    let together = settled(up.child.id())?;
    let limit =
        budget::at_most(together.resident_bytes, budget::IDLE_BYTES, &format!("{} MiB", budget::IDLE_BYTES >> 20));
    judged_row(table, &what, together, format!("{limit}; {}", plane(together, references)));
    Ok(())
}

/// Measures a subject after its load.
///
/// # Errors
/// When it is gone.
pub fn loaded(subject: &Subject, when: &str, table: &mut Table) -> Result<()> {
    for process in &subject.processes {
        let limit = (subject.store != Store::Foreign && process.name == "server").then_some(budget::LOADED_BYTES);
        let what = format!("{} ({}), {when}", subject.name, process.name);
        row(table, &what, usage::memory(process.id)?, limit);
    }
    Ok(())
}
