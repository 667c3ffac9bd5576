//! Start to ready on a new data directory: keys and certificates are made, the store is created, `/readyz` says 200.

use std::time::Duration;

use anyhow::Result;

use super::budget;
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::subject::Served;
use crate::etcd::Etcd;

/// Runs all starts.
///
/// # Errors
/// When a server does not become ready.
pub fn run(scale: &Scale) -> Result<Table> {
    let mut table =
        Table::new("Start to ready, new data directory", &["what", "median ms", "best ms", "worst ms", "budget"]);
    let mut measure = |what: &str, start: &dyn Fn() -> Result<Duration>| {
        let mut samples = Samples::default();
        for _ in 0..scale.starts {
            samples.push(start()?);
        }
        let (best, worst) = (samples.percentile(0.0), samples.percentile(100.0));
        let judged = budget::at_most(samples.median(), budget::START, "200 ms");
        let times = [samples.median(), best, worst].map(report::milliseconds);
        table.row([what.to_owned()].into_iter().chain(times).chain([judged]));
        anyhow::Ok(())
    };
    measure("`orlop-apiserver`, embedded store", &|| Ok(Served::apiserver("embedded")?.ready_in))?;
    measure("`orlop up`: store, API server, controllers, scheduler, one hollow node", &|| Ok(Served::up()?.ready_in))?;
    // A new etcd each time, for its directory to be new; its own start is not counted.
    measure("`orlop-apiserver`, etcd that runs already", &|| {
        let etcd = Etcd::start()?;
        Ok(Served::apiserver(&etcd.store())?.ready_in)
    })?;
    table.remark(format!(
        "Median of {}: from the start of the process to the first 200 of `/readyz`, asked every millisecond.",
        scale.starts
    ));
    table.remark("kube-apiserver 1.20 on etcd 3.4, for reference: 3.4–4.2 s.");
    Ok(table)
}
