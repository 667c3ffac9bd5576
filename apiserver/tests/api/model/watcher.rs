//! A watch beside the history: every change of the selection once, in order, in the words of the selection.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::answer::{Revisions, same, version};
use super::operation::{self, Kind, Select};
use super::{Change, Object, World};
use crate::support::{Cluster, Lines};

/// How long an event may take, with other tests on both cores.
const EVENT_LIMIT: Duration = Duration::from_secs(20);

/// One open watch.
pub struct Watcher {
    kind: Kind,
    namespace: String,
    select: Select,
    lines: Lines,
    /// The model's revision up to which it has told everything.
    position: u64,
    /// The server's version with which it goes on elsewhere.
    version: String,
}

async fn line(lines: &mut Lines) -> Result<Value, String> {
    let next = tokio::time::timeout(EVENT_LIMIT, lines.next()).await;
    next.map_err(|_| "a watch is silent".to_owned())?.ok_or_else(|| "a watch has ended".to_owned())
}

impl Watcher {
    fn path(kind: Kind, namespace: &str, select: &Select, version: &str) -> String {
        let all = (kind, namespace.to_owned(), String::new());
        let from = if version.is_empty() { String::new() } else { format!("&resourceVersion={version}") };
        format!("{}?watch=1{from}{}", operation::path(&all), select.query())
    }

    /// Opens a watch after a version, or with the state, which it has to tell first.
    pub async fn open(
        cluster: &Cluster,
        world: &World,
        revisions: &mut Revisions,
        (kind, namespace, select): (Kind, &str, &Select),
        after: Option<(u64, String)>,
    ) -> Result<Watcher, String> {
        let begin = after.as_ref().map(|it| it.1.clone()).unwrap_or_default();
        let mut lines = cluster.watch(&Self::path(kind, namespace, select, &begin)).await;
        let (position, version) = match after {
            Some(it) => it,
            None => {
                let mut state = world.list(kind, namespace, select);
                for _ in 0..state.len() {
                    let event = line(&mut lines).await?;
                    let key = super::key_of(kind, &event["object"]);
                    let at = state.iter().position(|it| super::key_of(kind, &it.doc) == key);
                    let expected = at.map(|at| state.remove(at)).ok_or_else(|| format!("{event} is not expected"))?;
                    told(kind, &event, "ADDED", &expected, revisions)?;
                }
                (world.revision, String::new())
            }
        };
        Ok(Watcher { kind, namespace: namespace.to_owned(), select: select.clone(), lines, position, version })
    }

    /// Opens it anew at a server that was started again; false where it knows of no version yet.
    pub async fn reopen(&mut self, cluster: &Cluster) -> bool {
        if self.version.is_empty() {
            return false;
        }
        self.lines = cluster.watch(&Self::path(self.kind, &self.namespace, &self.select, &self.version)).await;
        true
    }

    /// Reads what has to be told by now.
    pub async fn drain(&mut self, world: &World, revisions: &mut Revisions) -> Result<(), String> {
        let news: Vec<Arc<Change>> =
            world.history[world.history.partition_point(|it| it.revision <= self.position)..].to_vec();
        for change in news {
            self.position = change.revision;
            let Some((word, object)) = self.event(&change) else { continue };
            let event = line(&mut self.lines).await?;
            let object = Object { doc: object.doc.clone(), revision: change.revision };
            told(self.kind, &event, word, &object, revisions)
                .map_err(|error| format!("{:?} {}: {error}", self.kind, self.select.query()))?;
            self.version = version(&event["object"]);
        }
        Ok(())
    }

    /// What a change is for this selection.
    fn event<'a>(&self, change: &'a Change) -> Option<(&'static str, &'a Object)> {
        let (kind, namespace, _) = &change.key;
        if *kind != self.kind || !(self.namespace.is_empty() || *namespace == self.namespace) {
            return None;
        }
        let meant = |it: &'a Option<Arc<Object>>| it.as_deref().filter(|it| self.select.matches(&it.doc));
        match (meant(&change.old), meant(&change.new)) {
            (None, None) => None,
            (None, Some(new)) => Some(("ADDED", new)),
            (Some(_), Some(new)) => Some(("MODIFIED", new)),
            (Some(old), None) => Some(("DELETED", old)),
        }
    }
}

fn told(kind: Kind, event: &Value, word: &str, object: &Object, revisions: &mut Revisions) -> Result<(), String> {
    if event["type"] != word {
        return Err(format!("the watch tells {event}, not {word} of {}", object.doc));
    }
    same(kind, &event["object"], object, true, revisions).map_err(|error| format!("{word}: {error}"))
}
