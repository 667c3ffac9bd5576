//! `orlop describe`: an object in detail, with its Events.
//!
//! What stands where follows kubectl, which has pages of their own for the kinds that people describe; every other kind is printed
//! field by field, as kubectl does for kinds it does not know.

mod data;
mod limits;
mod network;
mod node;
mod pod;
mod rights;
mod workload;

use std::io::Write;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use crate::manifest::{name_of, namespace_of};
use crate::output::{Table, say};
use crate::resource::Resource;
use crate::session::{JSON, Session, Url};
use crate::target::Target;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Leave out the events.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    show_events: bool,
}

/// Runs it.
///
/// # Errors
/// When an object is missing.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let objects = args.target.objects(session).await?;
    let resources = session.resources().await?;
    if objects.is_empty() {
        eprintln!("No resources found in {} namespace.", session.namespace);
    }
    let now = orlop_client::clock::now();
    for (at, (resource, object)) in objects.iter().enumerate() {
        if at > 0 {
            say!("\n");
        }
        let mut page = Page { now, lines: Vec::new() };
        match resource.kind.as_str() {
            "Pod" => pod::describe(&mut page, object),
            "Node" => {
                let fields = format!("spec.nodeName={}", name_of(object));
                let pods = session.get(&Url::path("/api/v1/pods").with("fieldSelector", fields), JSON).await?;
                node::describe(&mut page, object, pods["items"].as_array().map_or(&[], Vec::as_slice));
            }
            "Deployment" | "ReplicaSet" => workload::describe(&mut page, object),
            "Service" => {
                let of_it = format!("kubernetes.io/service-name={}", name_of(object));
                let slices = beside(session, resources.named("endpointslices.discovery.k8s.io")?, object, of_it);
                network::service(&mut page, object, &slices.await?);
            }
            "Endpoints" => network::endpoints(&mut page, object),
            "EndpointSlice" => network::slice(&mut page, object),
            "ConfigMap" => data::config_map(&mut page, object),
            "Secret" => data::secret(&mut page, object),
            "ServiceAccount" => {
                let secrets = beside(session, resources.named("secrets")?, object, String::new()).await?;
                data::service_account(&mut page, object, &secrets);
            }
            "Namespace" => {
                let quotas = within(session, resources.named("resourcequotas")?, object).await?;
                let limits = within(session, resources.named("limitranges")?, object).await?;
                data::namespace(&mut page, object);
                limits::of_namespace(&mut page, &quotas, &limits);
            }
            "Role" | "ClusterRole" => rights::role(&mut page, object),
            "RoleBinding" | "ClusterRoleBinding" => rights::binding(&mut page, object),
            _ => page.generic(object),
        }
        if args.show_events && !WITHOUT_EVENTS.contains(&resource.kind.as_str()) {
            events(&mut page, session, object).await?;
        }
        write!(std::io::stdout().lock(), "{}", page.text())?;
    }
    Ok(())
}

/// Kinds whose pages end without Events, as kubectl's do.
const WITHOUT_EVENTS: &[&str] =
    &["Secret", "Namespace", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "Event"];

/// Objects of the first of these kinds in the namespace of `object`, with these labels.
async fn beside(session: &Session, kinds: Vec<&Resource>, object: &Value, labels: String) -> Result<Vec<Value>> {
    let Some(kind) = kinds.first() else { return Ok(Vec::new()) };
    let url = Url::of(kind, namespace_of(object)).with("labelSelector", labels);
    let mut found = session.get(&url, JSON).await?;
    Ok(found["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// Objects of the first of these kinds in the namespace that `object` is; none where the server has no such kind.
async fn within(session: &Session, kinds: Vec<&Resource>, object: &Value) -> Result<Option<Vec<Value>>> {
    let Some(kind) = kinds.first() else { return Ok(None) };
    let mut found = session.get(&Url::of(kind, Some(name_of(object))), JSON).await?;
    Ok(Some(found["items"].as_array_mut().map(std::mem::take).unwrap_or_default()))
}

/// A page of `Name:  value` lines at some depth; values of one depth are aligned.
pub(super) struct Page {
    now: Timestamp,
    lines: Vec<(usize, String, String)>,
}

impl Page {
    /// A field.
    fn field(&mut self, depth: usize, name: &str, value: impl Into<String>) {
        self.lines.push((depth, format!("{name}:"), value.into()));
    }

    /// A line without a value of its own.
    fn line(&mut self, depth: usize, text: impl Into<String>) {
        self.lines.push((depth, text.into(), String::new()));
    }

    /// A map, one pair a line.
    fn map(&mut self, depth: usize, name: &str, map: &Value, between: &str) {
        let pairs: Vec<String> = map
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}{between}{}", plain(value)))
            .collect();
        let mut pairs = pairs.into_iter();
        self.field(depth, name, pairs.next().unwrap_or_else(|| "<none>".into()));
        for pair in pairs {
            self.lines.push((depth, String::new(), pair));
        }
    }

    /// A table below a heading; `<none>` without rows.
    fn table(&mut self, name: &str, header: &[&str], rows: Vec<Vec<String>>) {
        self.table_at(0, name, header, rows);
    }

    /// The same, at some depth.
    fn table_at(&mut self, depth: usize, name: &str, header: &[&str], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            self.field(depth, name, "<none>");
            return;
        }
        self.table_always(depth, name, header, rows);
    }

    /// The lines of a table, its columns underlined.
    fn rows(&mut self, depth: usize, header: &[&str], rows: Vec<Vec<String>>) {
        let underline = header.iter().map(|it| "-".repeat(it.len())).collect();
        let mut table = Table::new(header);
        table.push(underline);
        rows.into_iter().for_each(|it| table.push(it));
        let mut text = Vec::new();
        if table.print(&mut text, true).is_ok() {
            for line in String::from_utf8_lossy(&text).lines() {
                self.line(depth, line);
            }
        }
    }

    /// A table whose columns are named also when it has no rows.
    fn table_always(&mut self, depth: usize, name: &str, header: &[&str], rows: Vec<Vec<String>>) {
        self.line(depth, format!("{name}:"));
        self.rows(depth + 1, header, rows);
    }

    /// Name, namespace, labels and annotations, as every page begins.
    fn identity(&mut self, object: &Value) {
        self.field(0, "Name", name_of(object));
        if let Some(namespace) = namespace_of(object) {
            self.field(0, "Namespace", namespace);
        }
    }

    fn labels(&mut self, object: &Value) {
        self.map(0, "Labels", &object["metadata"]["labels"], "=");
        let mut annotations = object["metadata"]["annotations"].clone();
        if let Some(map) = annotations.as_object_mut() {
            // A copy of the whole object says nothing new.
            map.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        self.map(0, "Annotations", &annotations, ": ");
    }

    fn conditions(&mut self, object: &Value, columns: &[(&str, &str)]) {
        let header: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
        let conditions = object["status"]["conditions"].as_array();
        let rows =
            conditions.into_iter().flatten().map(|it| columns.iter().map(|(_, field)| plain(&it[*field])).collect());
        self.table("Conditions", &header, rows.collect());
    }

    /// Every field of an object, in the order of their names.
    fn generic(&mut self, object: &Value) {
        self.identity(object);
        self.labels(object);
        self.field(0, "API Version", plain(&object["apiVersion"]));
        self.field(0, "Kind", plain(&object["kind"]));
        self.field(0, "Created", plain(&object["metadata"]["creationTimestamp"]));
        for (name, value) in object.as_object().into_iter().flatten() {
            if !["metadata", "apiVersion", "kind"].contains(&name.as_str()) {
                self.tree(0, name, value);
            }
        }
    }

    fn tree(&mut self, depth: usize, name: &str, value: &Value) {
        let title = title(name);
        match value {
            Value::Object(map) => {
                self.line(depth, format!("{title}:"));
                map.iter().for_each(|(name, value)| self.tree(depth + 1, name, value));
            }
            Value::Array(list) if list.iter().all(|it| !it.is_object() && !it.is_array()) => {
                self.field(depth, &title, list.iter().map(plain).collect::<Vec<_>>().join(", "));
            }
            Value::Array(list) => {
                self.line(depth, format!("{title}:"));
                for (at, item) in list.iter().enumerate() {
                    match item {
                        Value::Object(map) => map.iter().for_each(|(name, value)| self.tree(depth + 1, name, value)),
                        other => self.line(depth + 1, plain(other)),
                    }
                    if at + 1 < list.len() {
                        self.line(depth + 1, "---");
                    }
                }
            }
            other => self.field(depth, &title, plain(other)),
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (at, (depth, name, value)) in self.lines.iter().enumerate() {
            // Aligned with the neighbours of the same depth.
            let block = |range: &mut dyn Iterator<Item = usize>| -> usize {
                range
                    .map_while(|it| {
                        self.lines
                            .get(it)
                            .filter(|(other, name, value)| other >= depth && !(name.is_empty() && value.is_empty()))
                    })
                    .filter(|(other, _, value)| other == depth && !value.is_empty())
                    .map(|(_, name, _)| name.chars().count())
                    .max()
                    .unwrap_or(0)
            };
            let width = block(&mut (at..self.lines.len())).max(block(&mut (0..at).rev()));
            let indent = "  ".repeat(*depth);
            if value.is_empty() {
                out.push_str(format!("{indent}{name}").trim_end());
            } else {
                out.push_str(&format!("{indent}{name:width$}  {value}"));
            }
            out.push('\n');
        }
        out
    }
}

/// A value as text: strings bare, nothing as `<none>`.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<none>".into(),
        Value::String(it) if it.is_empty() => "<none>".into(),
        Value::String(it) => it.clone(),
        other => other.to_string(),
    }
}

/// The items of a list; none of what is no list.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A text that says something.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|it| !it.is_empty())
}

/// `hostIP` → `Host IP`, `nodeName` → `Node Name`.
fn title(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let begins = letter.is_uppercase()
            && at > 0
            && (!letters[at - 1].is_uppercase() || letters.get(at + 1).is_some_and(|it| it.is_lowercase()));
        if begins {
            out.push(' ');
        }
        if at == 0 { out.extend(letter.to_uppercase()) } else { out.push(*letter) }
    }
    out
}

async fn events(page: &mut Page, session: &Session, object: &Value) -> Result<()> {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    // Events about objects without a namespace stand in `default`.
    let namespace = namespace_of(object).unwrap_or("default");
    let fields = format!("involvedObject.uid={uid}");
    let list = session
        .get(&Url::path(format!("/api/v1/namespaces/{namespace}/events")).with("fieldSelector", fields), JSON)
        .await?;
    let mut events: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    let last = |it: &Value| {
        let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        times.iter().find_map(|path| it.pointer(path)?.as_str()?.parse::<Timestamp>().ok())
    };
    events.sort_by_key(|it| last(it));
    let now = page.now;
    let rows = events.iter().map(|it| {
        let age = |then: Option<Timestamp>| {
            then.map_or("<unknown>".to_owned(), |it| orlop_api::duration::human(now.duration_since(it).as_secs()))
        };
        let count = it["series"]["count"].as_i64().or_else(|| it["count"].as_i64()).unwrap_or(1);
        let first = it["firstTimestamp"].as_str().and_then(|it| it.parse().ok());
        let when = if count > 1 { format!("{} (x{count} over {})", age(last(it)), age(first)) } else { age(last(it)) };
        let from = it["source"]["component"]
            .as_str()
            .filter(|it| !it.is_empty())
            .or_else(|| it["reportingComponent"].as_str());
        vec![
            plain(&it["type"]),
            plain(&it["reason"]),
            when,
            from.unwrap_or_default().to_owned(),
            plain(&it["message"]).trim().to_owned(),
        ]
    });
    let rows = rows.collect();
    page.table("Events", &["Type", "Reason", "Age", "From", "Message"], rows);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_words() {
        for (name, expected) in
            [("hostIP", "Host IP"), ("nodeName", "Node Name"), ("data", "Data"), ("podCIDR", "Pod CIDR")]
        {
            assert_eq!(title(name), expected);
        }
    }
}
