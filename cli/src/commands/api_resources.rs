//! `orlop api-resources`: the kinds the server has.

use anyhow::Result;

use crate::output::Table;
use crate::output::say;
use crate::session::Session;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only kinds of this group; "" is the core group.
    #[arg(long)]
    api_group: Option<String>,
    /// Only kinds that do, or do not, live in a namespace.
    #[arg(long)]
    namespaced: Option<bool>,
    /// With verbs and categories.
    #[arg(short, long, value_parser = ["wide", "name"])]
    output: Option<String>,
    /// Leave out the line of column names.
    #[arg(long)]
    no_headers: bool,
}

/// Runs it.
///
/// # Errors
/// When the server does not answer.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let wide = args.output.as_deref() == Some("wide");
    let mut header = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
    if wide {
        header.extend(["VERBS", "CATEGORIES"]);
    }
    let mut table = Table::new(&header);
    let mut all: Vec<_> = session.resources().await?.all().iter().collect();
    all.sort_by_key(|it| (it.group.clone(), it.plural.clone()));
    for it in all {
        if args.api_group.as_ref().is_some_and(|group| *group != it.group)
            || args.namespaced.is_some_and(|namespaced| namespaced != it.namespaced)
        {
            continue;
        }
        if args.output.as_deref() == Some("name") {
            let group = if it.group.is_empty() { String::new() } else { format!(".{}", it.group) };
            say!("{}{group}", it.plural);
            continue;
        }
        let mut row =
            vec![it.plural.clone(), it.short.join(","), it.api_version(), it.namespaced.to_string(), it.kind.clone()];
        if wide {
            row.extend([it.verbs.join(","), it.categories.join(",")]);
        }
        table.push(row);
    }
    if !table.is_empty() {
        table.print(&mut std::io::stdout().lock(), !args.no_headers)?;
    }
    Ok(())
}
