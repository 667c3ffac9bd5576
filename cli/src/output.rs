//! What commands print: the server's tables, YAML, JSON, names.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use crate::manifest::{name_of, namespace_of};
use crate::resource::Resource;

/// Prints a line to standard output, from a function whose errors are `anyhow`'s. A reader that has gone away is an error and not a panic, as it
/// would be with `println!`.
macro_rules! say {
    ($($text:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout().lock(), format_args!("{}\n", format_args!($($text)*)))?
    };
}
pub(crate) use say;

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    Yaml,
    Json,
    /// `pod/web`.
    Name,
}

/// The Accept header that asks for tables.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// The three spaces between kubectl's columns.
const GAP: usize = 3;

/// Which columns a table shows beside the server's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    pub wide: bool,
    pub namespace: bool,
    pub labels: bool,
    /// Names with their kind before them, where several kinds are printed.
    pub kind: bool,
}

/// Lines of cells, aligned when printed. Column widths persist, so that rows of a watch stay aligned with what came before.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
}

impl Table {
    /// Takes the columns and rows of a server's Table.
    pub fn of(table: &Value, resource: &Resource, shown: Shown) -> Table {
        let columns = table["columnDefinitions"].as_array().cloned().unwrap_or_default();
        let visible: Vec<usize> =
            (0..columns.len()).filter(|at| shown.wide || columns[*at]["priority"].as_i64().unwrap_or(0) == 0).collect();
        let mut out = Table::default();
        if shown.namespace {
            out.header.push("NAMESPACE".into());
        }
        out.header.extend(visible.iter().map(|at| columns[*at]["name"].as_str().unwrap_or_default().to_uppercase()));
        if shown.labels {
            out.header.push("LABELS".into());
        }
        for row in table["rows"].as_array().into_iter().flatten() {
            let object = &row["object"];
            let mut cells = Vec::with_capacity(out.header.len());
            if shown.namespace {
                cells.push(namespace_of(object).unwrap_or_default().to_owned());
            }
            for at in &visible {
                let cell = text(&row["cells"][*at]);
                let named = shown.kind && columns[*at]["format"] == "name";
                cells.push(if named { format!("{}/{cell}", resource.printed()) } else { cell });
            }
            if shown.labels {
                cells.push(labels(object));
            }
            out.rows.push(cells);
        }
        out
    }

    /// A table of our own.
    pub fn new(header: &[&str]) -> Table {
        Table { header: header.iter().map(|it| (*it).to_owned()).collect(), ..Table::default() }
    }

    /// Adds a row.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Puts the rows of another table below, under the same header.
    pub fn append(&mut self, other: Table) {
        self.rows.extend(other.rows);
        if self.header.is_empty() {
            self.header = other.header;
        }
    }

    /// Orders the rows as `keys` are ordered; both come in the same order.
    pub fn sort_by<K: Ord + Clone>(&mut self, keys: &[K]) {
        let mut paired: Vec<_> = keys.iter().cloned().zip(std::mem::take(&mut self.rows)).collect();
        paired.sort_by(|a, b| a.0.cmp(&b.0));
        self.rows = paired.into_iter().map(|(_, row)| row).collect();
    }

    /// Prints header and rows, or the rows alone, and forgets the rows.
    ///
    /// # Errors
    /// When the output is closed.
    pub fn print(&mut self, out: &mut impl Write, header: bool) -> Result<()> {
        self.widths.resize(self.header.len(), 0);
        let shown = header.then_some(&self.header);
        for line in shown.into_iter().chain(&self.rows) {
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in shown.into_iter().chain(&self.rows) {
            let mut text = String::new();
            for (at, cell) in line.iter().enumerate() {
                text.push_str(cell);
                if at + 1 < line.len() {
                    let pad = self.widths.get(at).copied().unwrap_or(0).saturating_sub(cell.chars().count()) + GAP;
                    text.extend(std::iter::repeat_n(' ', pad));
                }
            }
            writeln!(out, "{text}")?;
        }
        self.rows.clear();
        Ok(())
    }
}

fn text(cell: &Value) -> String {
    match cell {
        Value::String(it) => it.clone(),
        Value::Null => "<none>".into(),
        other => other.to_string(),
    }
}

/// `a=1,b=2`, or `<none>`.
pub fn labels(object: &Value) -> String {
    let pairs = object["metadata"]["labels"].as_object();
    let texts: Vec<String> = pairs
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if texts.is_empty() { "<none>".into() } else { texts.join(",") }
}

/// Prints an object, or a `List` of several, as YAML or JSON, without managed fields.
///
/// # Errors
/// When the output is closed.
pub fn print_value(out: &mut impl Write, value: &Value, format: Format) -> Result<()> {
    let mut value = value.clone();
    strip_managed_fields(&mut value);
    match format {
        Format::Yaml => out.write_all(serde_saphyr::to_string(&value)?.as_bytes())?,
        _ => writeln!(out, "{}", serde_json::to_string_pretty(&value)?)?,
    }
    Ok(())
}

fn strip_managed_fields(value: &mut Value) {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip_managed_fields(item);
    }
}

/// The line about an object that was handled: `deployment.apps/web scaled`.
///
/// # Errors
/// When the output is closed.
pub fn done(resource: &Resource, object: &Value, what: &str) -> Result<()> {
    say!("{}/{} {what}", resource.printed(), name_of(object));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> Resource {
        Resource {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            plural: "deployments".into(),
            singular: "deployment".into(),
            short: Vec::new(),
            categories: Vec::new(),
            verbs: Vec::new(),
            namespaced: true,
        }
    }

    fn check(shown: Shown, expected: &str) {
        let table = serde_json::json!({
            "columnDefinitions": [{"name": "Name", "format": "name"}, {"name": "Ready"}, {"name": "Images", "priority": 1}],
            "rows": [{"cells": ["web", "1/1", "nginx"], "object": {"metadata": {"namespace": "d", "labels": {"a": "b"}}}},
                     {"cells": ["longer-name", "0/1", null], "object": {"metadata": {"namespace": "d"}}}]
        });
        let mut out = Vec::new();
        Table::of(&table, &resource(), shown).print(&mut out, true).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn prints_as_kubectl_does() {
        check(Shown::default(), "NAME          READY\nweb           1/1\nlonger-name   0/1\n");
        check(
            Shown { wide: true, namespace: true, labels: true, kind: true },
            "NAMESPACE   NAME                          READY   IMAGES   LABELS\n\
             d           deployment.apps/web           1/1     nginx    a=b\n\
             d           deployment.apps/longer-name   0/1     <none>   <none>\n",
        );
    }
}
