//! `orlop get --watch`: what there is, and then each change as it happens.
//!
//! A watch outlives the server: where the connection ends it begins again behind the last change that was printed, and where the server
//! has forgotten so much (410) everything is listed and printed anew. Only an answer that would come again (no such object, not
//! allowed) ends it.

use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::{AsyncBufReadExt, StreamExt};
use http::{Request, header};
use serde_json::Value;

use super::{Args, print_object, shown};
use crate::output::{Format, TABLE, Table};
use crate::session::{JSON, Session, Url};
use crate::target::Selection;

/// The pause before a watch begins again, and how long it grows while the server is away.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A watch and how far it is.
struct Watch<'a> {
    args: &'a Args,
    session: &'a Session,
    selection: &'a Selection,
    /// The collection, with selectors.
    base: Url,
    tables: bool,
    table: Table,
    /// Whether the columns' names are still to be printed.
    header: bool,
    /// Only the first table of a watch says which columns there are; this is what the list's said.
    columns: Value,
    /// What the next watch begins behind.
    revision: String,
    /// Something has come since the last interruption.
    heard: bool,
}

/// Why a watch ended that may begin again.
enum End {
    /// The server ended it, as it does after a while.
    Over,
    /// The server has forgotten what came after the last change.
    Expired,
    Broken(String),
}

/// Runs until it is stopped.
///
/// # Errors
/// When the server refuses, or the output is closed.
pub(super) async fn run(args: &Args, session: &Session, selection: &Selection) -> Result<()> {
    // A watch of one object is a watch of the collection with its name.
    let mut fields = args.target.field_selector.clone();
    if let Some(name) = &selection.name {
        fields = format!("metadata.name={name}");
    }
    let collection = Selection { name: None, ..selection.clone() };
    let mut watch = Watch {
        args,
        session,
        selection,
        base: collection.url().with("labelSelector", &args.target.selector).with("fieldSelector", fields),
        tables: matches!(args.output, Format::Table | Format::Wide),
        table: Table::default(),
        header: !args.no_headers,
        columns: Value::Null,
        revision: String::new(),
        heard: false,
    };
    watch.list(!args.watch_only).await?;
    let mut wait = FIRST_WAIT;
    let mut expired = false;
    loop {
        let outcome = if expired { watch.list(true).await.map(|()| None) } else { watch.follow().await.map(Some) };
        let end = match outcome {
            Ok(None) => {
                expired = false;
                continue;
            }
            Ok(Some(end)) => end,
            Err(error) if passing(&error) => End::Broken(format!("{error:#}")),
            Err(error) => return Err(error),
        };
        if std::mem::take(&mut watch.heard) {
            wait = FIRST_WAIT;
        }
        match end {
            End::Over => {}
            End::Expired => expired = true,
            End::Broken(why) if wait == FIRST_WAIT => {
                eprintln!("warning: the watch was interrupted and goes on when the server answers: {why}");
            }
            End::Broken(_) => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Whether an error goes away when the server is back.
fn passing(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => status.code >= 500 || status.code == 429,
        Some(kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_)) => true,
        _ => false,
    }
}

impl Watch<'_> {
    /// Lists what there is, and prints it if `print`.
    async fn list(&mut self, print: bool) -> Result<()> {
        let start = self.session.get(&self.base, if self.tables { TABLE } else { JSON }).await?;
        let items = &start[if self.tables { "rows" } else { "items" }];
        if self.selection.name.is_some() && self.revision.is_empty() && items.as_array().is_none_or(Vec::is_empty) {
            // Ask for it by name, so that the error is the server's.
            self.session.get(&self.selection.url(), JSON).await?;
        }
        self.revision = start["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        self.columns = start["columnDefinitions"].clone();
        if !print {
            return Ok(());
        }
        if self.tables {
            return self.print_table(&start);
        }
        items.as_array().into_iter().flatten().try_for_each(|it| print_object(self.args, self.selection, it))
    }

    /// Prints changes until the watch ends.
    async fn follow(&mut self) -> Result<End> {
        let url = self.base.clone().with("watch", "true").with("allowWatchBookmarks", "true");
        let url = url.with("resourceVersion", &self.revision);
        let accept = if self.tables { TABLE } else { JSON };
        let request = Request::get(url.text()).header(header::ACCEPT, accept).body(Vec::new())?;
        let mut lines = match self.session.client().request_stream(request).await {
            Ok(stream) => stream.lines(),
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(End::Expired),
            Err(error) => return Err(error.into()),
        };
        while let Some(line) = lines.next().await {
            let event: Value = match line {
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(event) => event,
                    // Half a line: the server was killed while it wrote.
                    Err(error) => return Ok(End::Broken(error.to_string())),
                },
                Err(error) => return Ok(End::Broken(error.to_string())),
            };
            self.heard = true;
            let object = &event["object"];
            match event["type"].as_str().unwrap_or_default() {
                "ERROR" if object["code"] == 410 => return Ok(End::Expired),
                "ERROR" => return Err(anyhow!("{}", object["message"].as_str().unwrap_or("the watch failed"))),
                "BOOKMARK" => {}
                _ if self.tables => self.print_table(object)?,
                _ => print_object(self.args, self.selection, object)?,
            }
            let seen = object["metadata"]["resourceVersion"].as_str().filter(|it| !it.is_empty());
            let seen = seen.or_else(|| object["rows"][0]["object"]["metadata"]["resourceVersion"].as_str());
            if let Some(seen) = seen.filter(|it| !it.is_empty()) {
                seen.clone_into(&mut self.revision);
            }
        }
        Ok(End::Over)
    }

    fn print_table(&mut self, answer: &Value) -> Result<()> {
        let mut answer = answer.clone();
        if answer["columnDefinitions"].is_null() {
            answer["columnDefinitions"] = self.columns.clone();
        }
        self.table.append(Table::of(&answer, &self.selection.resource, shown(self.args, false)));
        if !self.table.is_empty() {
            self.table.print(&mut std::io::stdout().lock(), self.header)?;
            self.header = false;
        }
        Ok(())
    }
}
