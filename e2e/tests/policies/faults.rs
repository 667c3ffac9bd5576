//! Rules that somebody deletes.

use std::process::Command;

use anyhow::{Context, Result};
use orlop_e2e::tool;

use crate::town::Town;

pub fn play(town: &Town<'_>) -> Result<()> {
    town.only("nx", "{ podSelector: {}, policyTypes: [Ingress] }")?;
    town.expect("closed", |it| it.target_ns() != "nx")?;
    let nft = tool::machine("nft", "nftables")?;
    let tables = tool::run(Command::new(&nft).args(["list", "tables", "ip"]))?;
    let bridge = tool::run(Command::new("sh").args(["-c", "ip -o -4 addr"]))?;
    // The one whose bridge has this cluster's addresses: others may run beside it.
    let gateway = town.addresses["nx/a"].rsplit_once('.').context("an address")?.0.to_owned() + ".1/";
    let line = bridge.lines().find(|it| it.contains(&gateway)).context("the node's bridge")?;
    let name = line.split_whitespace().find(|it| it.starts_with("orl")).context("the bridge's name")?;
    let table = format!("orlop_policy_{}", name.trim_start_matches("orl"));
    anyhow::ensure!(tables.contains(&table), "{table} is not among {tables}");
    tool::run(Command::new(&nft).args(["delete", "table", "ip", &table]))?;
    town.expect("what was deleted comes back", |it| it.target_ns() != "nx")?;
    let wrong = ["insert", "rule", "ip", &table, "forward", "accept"];
    tool::run(Command::new(&nft).args(wrong))?;
    town.expect("what was put there goes", |it| it.target_ns() != "nx")?;
    Ok(())
}
