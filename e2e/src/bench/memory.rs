//! Resident memory: idle, of the whole control plane in one process and apart; and after the load that came before.

use anyhow::Result;

use super::budget;
use super::report::{self, Table};
use super::scale::Scale;
use super::subject::{Served, Store, Subject};
use super::usage::{self, Memory};

/// A table with a row a process.
pub fn table() -> Table {
    let mut table = Table::new("Resident memory", &["what", "resident MiB", "of it heap and stacks MiB", "budget"]);
    table.remark("Idle is the most within the ten seconds after that time. The program's pages that were not touched for ten seconds are not resident (decision 029).");
    table.remark("kube-apiserver 1.20, etcd 3.4, controller-manager and scheduler, for reference: 495 MiB idle; after the load 1,660 MiB and etcd 310 MiB.");
    table
}

fn row(table: &mut Table, what: &str, memory: Memory, limit: Option<u64>) {
    let judged = limit.map(|it| budget::at_most(memory.resident_bytes, it, &format!("{} MiB", it >> 20)));
    let sizes = [memory.resident_bytes, memory.anonymous_bytes].map(report::mebibytes);
    table.row([what.to_owned()].into_iter().chain(sizes).chain(judged));
}

/// Measures idle processes.
///
/// # Errors
/// When one does not start.
pub fn idle(scale: &Scale, table: &mut Table) -> Result<()> {
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
    row(table, "API server, controllers and scheduler apart, the sum", all.into_iter().sum(), Some(budget::IDLE_BYTES));
    drop((components, served));
    let up = Served::up()?;
    let what = format!("`orlop up`, all of them and a hollow node in one process, idle for {seconds} s");
    row(table, &what, settled(up.child.id())?, Some(budget::IDLE_BYTES));
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
