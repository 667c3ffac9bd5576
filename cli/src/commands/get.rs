//! `orlop get`: objects as the server's tables, or whole.

mod watch;

use std::io::{BufWriter, Write};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::fail::{SomeFailed, words};
use crate::output::{Format, Shown, TABLE, Table, print_value};
use crate::session::{JSON, Session, is_not_found};
use crate::target::{Selection, Target};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Go on and print changes.
    #[arg(short, long)]
    watch: bool,
    /// Print changes only.
    #[arg(long)]
    watch_only: bool,
    /// Sort by a field: .metadata.creationTimestamp.
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Add a column with all labels.
    #[arg(long)]
    show_labels: bool,
    /// Leave out the line of column names.
    #[arg(long)]
    no_headers: bool,
    /// Do not fail if a named object is missing.
    #[arg(long)]
    ignore_not_found: bool,
}

/// Runs it.
///
/// # Errors
/// When an object is missing or the server refuses.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let selections = args.target.selections(session).await?;
    if args.watch || args.watch_only {
        let [selection] = &selections[..] else {
            bail!("you may only specify a single resource type or object with --watch")
        };
        return watch::run(&args, session, selection).await;
    }
    match args.output {
        Format::Table | Format::Wide => tables(&args, session, &selections).await,
        Format::Yaml | Format::Json | Format::Name => values(&args, session, &selections).await,
    }
}

async fn ask(args: &Args, session: &Session, selection: &Selection, accept: &str) -> Result<Option<Value>> {
    let url =
        selection.url().with("labelSelector", &args.target.selector).with("fieldSelector", &args.target.field_selector);
    let url = if accept == TABLE && args.sort_by.is_some() { url.with("includeObject", "Object") } else { url };
    match session.get(&url, accept).await {
        Ok(it) => Ok(Some(it)),
        Err(error) if args.ignore_not_found && is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What could not be had of several things that were asked for: the others are printed all the same, as kubectl does.
#[derive(Default)]
struct Missing(Vec<anyhow::Error>);

impl Missing {
    /// The answer, if there is one. Only a named object may be missing: what fails otherwise fails for all.
    fn or_note(&mut self, answer: Result<Option<Value>>, of: &Selection) -> Result<Option<Value>> {
        match answer {
            Err(error) if of.name.is_some() && is_not_found(&error) => {
                self.0.push(error);
                Ok(None)
            }
            other => other,
        }
    }

    /// Says what was missing, after all else was printed.
    fn report(mut self) -> Result<()> {
        if self.0.len() < 2 {
            return self.0.pop().map_or(Ok(()), Err);
        }
        self.0.iter().for_each(|it| eprintln!("{}", words(it)));
        Err(SomeFailed(self.0.len()).into())
    }
}

fn shown(args: &Args, several: bool) -> Shown {
    Shown {
        wide: args.output == Format::Wide,
        namespace: args.target.all_namespaces,
        labels: args.show_labels,
        kind: several,
    }
}

async fn tables(args: &Args, session: &Session, selections: &[Selection]) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let several = selections.iter().any(|it| it.resource != selections[0].resource);
    let mut printed = false;
    let mut missing = Missing::default();
    let mut at = 0;
    while at < selections.len() {
        // Objects of one kind share a table.
        let resource = &selections[at].resource;
        let end =
            selections[at..].iter().position(|it| it.resource != *resource).map_or(selections.len(), |it| at + it);
        let (mut table, mut keys) = (Table::default(), Vec::new());
        for selection in &selections[at..end] {
            let answer = ask(args, session, selection, TABLE).await;
            let Some(answer) = missing.or_note(answer, selection)? else { continue };
            if let Some(path) = &args.sort_by {
                keys.extend(answer["rows"].as_array().into_iter().flatten().map(|row| sort_key(&row["object"], path)));
            }
            table.append(Table::of(&answer, resource, shown(args, several)));
        }
        if args.sort_by.is_some() {
            table.sort_by(&keys);
        }
        at = end;
        if table.is_empty() {
            continue;
        }
        if printed {
            writeln!(out)?;
        }
        printed = true;
        table.print(&mut out, !args.no_headers)?;
    }
    out.flush()?;
    if !printed && !args.ignore_not_found && missing.0.is_empty() {
        if args.target.all_namespaces || selections.iter().all(|it| !it.resource.namespaced) {
            eprintln!("No resources found");
        } else {
            eprintln!("No resources found in {} namespace.", session.namespace);
        }
    }
    missing.report()
}

async fn values(args: &Args, session: &Session, selections: &[Selection]) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut items = Vec::new();
    let mut single = None;
    let mut missing = Missing::default();
    for selection in selections {
        let answer = ask(args, session, selection, JSON).await;
        let Some(mut answer) = missing.or_note(answer, selection)? else { continue };
        if selection.name.is_some() {
            single = Some(answer.clone());
            items.push((selection, answer));
            continue;
        }
        for mut item in answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
            item["apiVersion"] = selection.resource.api_version().into();
            item["kind"] = selection.resource.kind.clone().into();
            items.push((selection, item));
        }
    }
    if let Some(path) = &args.sort_by {
        items.sort_by_key(|(_, it)| sort_key(it, path));
    }
    if args.output == Format::Name {
        for (selection, item) in &items {
            writeln!(out, "{}/{}", selection.resource.printed(), crate::manifest::name_of(item))?;
        }
        out.flush()?;
        return missing.report();
    }
    match single {
        Some(object) if selections.len() == 1 => print_value(&mut out, &object, args.output)?,
        _ if items.is_empty() && (args.ignore_not_found || !missing.0.is_empty()) => {}
        _ => {
            let items: Vec<Value> = items.into_iter().map(|(_, it)| it).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items});
            print_value(&mut out, &list, args.output)?;
        }
    }
    out.flush()?;
    missing.report()
}

/// What to sort by: numbers as numbers, all else as text; what has no such field comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    None,
    /// In thousandths: fields of objects are whole numbers or quantities of few digits.
    Number(i64),
    Text(String),
}

fn sort_key(object: &Value, path: &str) -> SortKey {
    let path = path.trim_start_matches('{').trim_end_matches('}').trim_start_matches('.');
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    match object.pointer(&pointer) {
        Some(Value::Number(it)) => SortKey::Number((it.as_f64().unwrap_or(0.0) * 1000.0) as i64),
        Some(Value::String(it)) => SortKey::Text(it.clone()),
        Some(other) if !other.is_null() => SortKey::Text(other.to_string()),
        _ => SortKey::None,
    }
}

fn print_object(args: &Args, selection: &Selection, object: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if args.output == Format::Name {
        writeln!(out, "{}/{}", selection.resource.printed(), crate::manifest::name_of(object))?;
        return Ok(());
    }
    if args.output == Format::Yaml {
        writeln!(out, "---")?;
    }
    print_value(&mut out, object, args.output)
}
