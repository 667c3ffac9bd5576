//! `orlop label`: sets and removes labels. `annotate` is the same for annotations.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};

use crate::manifest::{name_of, namespace_of};
use crate::output::say;
use crate::session::{MERGE_PATCH, Session};
use crate::target::{Selection, Target};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Replace values that are there.
    #[arg(long)]
    overwrite: bool,
    /// All objects of the kind.
    #[arg(long)]
    all: bool,
    /// Print the labels instead of changing them.
    #[arg(long)]
    list: bool,
}

/// Runs it.
///
/// # Errors
/// When a label stands already and `--overwrite` is not given, or the server refuses.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    change(args, session, "labels", "labeled").await
}

/// Changes one map of `metadata`: `field` is its name, `done` what is said afterwards.
pub(super) async fn change(mut args: Args, session: &Session, field: &str, done: &str) -> Result<()> {
    let (words, changes) = split(std::mem::take(&mut args.target.words))?;
    args.target.words = words;
    if changes.is_empty() && !args.list {
        bail!("at least one change of {field} is required: KEY=VALUE or KEY-");
    }
    let selective = args.all || !args.target.selector.is_empty() || !args.target.field_selector.is_empty();
    let unnamed =
        args.target.files.files.is_empty() && args.target.words.len() == 1 && !args.target.words[0].contains('/');
    if unnamed && !selective {
        bail!("resource(s) were provided, but no name was specified");
    }
    for (resource, object) in args.target.objects(session).await? {
        let current = &object["metadata"][field];
        if args.list {
            say!("Listing {field} for {}.{}/{}:", resource.kind, resource.group, name_of(&object));
            for (key, value) in current.as_object().into_iter().flatten() {
                say!(" {key}={}", value.as_str().unwrap_or_default());
            }
            continue;
        }
        let mut said = "not changed";
        for (key, value) in &changes {
            let stands = current[key].as_str();
            match value {
                Some(value) if stands.is_some_and(|it| it != value) && !args.overwrite => {
                    bail!("'{key}' already has a value ({}), and --overwrite is false", stands.unwrap_or_default());
                }
                Some(value) if stands != Some(value) => said = done,
                None if stands.is_some() => said = if field == "labels" { "unlabeled" } else { done },
                _ => {}
            }
        }
        if said != "not changed" {
            let namespace = namespace_of(&object).map(str::to_owned);
            let url = Selection { resource: resource.clone(), namespace, name: Some(name_of(&object).into()) }.url();
            let values: BTreeMap<&String, Value> = changes.iter().map(|(key, value)| (key, json!(value))).collect();
            let patch = json!({"metadata": {field: values}});
            session.send(Method::PATCH, &url.with("fieldManager", "orlop-label"), MERGE_PATCH, &patch).await?;
        }
        say!("{}/{} {said}", resource.printed(), name_of(&object));
    }
    Ok(())
}

type Changes = Vec<(String, Option<String>)>;

/// Objects come first, then `KEY=VALUE` and `KEY-`.
fn split(words: Vec<String>) -> Result<(Vec<String>, Changes)> {
    let is_change = |it: &String| it.contains('=') || it.ends_with('-');
    let at = words.iter().position(is_change).unwrap_or(words.len());
    let mut changes = Vec::new();
    for word in &words[at..] {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => changes.push((key.to_owned(), Some(value.to_owned()))),
            (None, Some(key)) => changes.push((key.to_owned(), None)),
            (None, None) => bail!("all resources must be specified before label changes: {word}"),
        }
    }
    Ok((words[..at].to_vec(), changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_objects_from_changes() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (objects, changes) = split(words("pod web a=b c- example.com/d=")).unwrap();
        assert_eq!(objects, ["pod", "web"]);
        let expected = [("a", Some("b")), ("c", None), ("example.com/d", Some(""))];
        assert_eq!(changes, expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned))));
        assert!(split(words("pod a=b web")).is_err());
    }
}
