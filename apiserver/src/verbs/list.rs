//! GET of many: a page of objects as they were at one revision.
//!
//! The first page is taken from the cache now, or at the version asked for; the next ones from the snapshot that the continue token
//! names, or, once that is let go of, from the store at the same revision, until the store has forgotten it too.
//!
//! A page that should have an object which cannot be read, because its key of encryption is lost or its bytes are none, fails and names it, as
//! in Kubernetes: who takes what is missing for deleted would act on it. Pages and namespaces beside it are answered.

pub mod token;

use std::sync::Arc;

use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};
use orlop_store::{Revision, StoreError};

use super::get::revision;
use crate::cache::Object;
use crate::convert;
use crate::core::{Core, unavailable};
use crate::present::Response;
use crate::present::list::{self as present, Page};
use crate::request::{Request, list_options};
use crate::stage::Authorized;
use token::Token;

/// A page of objects.
///
/// # Errors
/// `Expired` for a token whose revision is forgotten, `BadRequest` for one that nobody issued.
pub async fn list(core: &Arc<Core>, it: &Authorized, kind: &'static Kind) -> status::Result<Response> {
    let request = it.request();
    let page = page(core, request, kind).await?;
    present::list(request, kind, page)
}

/// The page that a request asks for.
///
/// # Errors
/// As [`list`].
pub async fn page(core: &Arc<Core>, request: &Request, kind: &'static Kind) -> status::Result<Page> {
    let options = &request.options;
    list_options::check(options)?;
    let prefix = prefix(kind, request.object_namespace());
    if !options.continued.is_empty() {
        if !matches!(options.resource_version.as_str(), "" | "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let token = Token::decode(&options.continued)?;
        let after = format!("{prefix}{}", token.start());
        let Some(at) = token.revision() else {
            // An inconsistent continuation: what follows, as it is now.
            core.catch_up().await?;
            let page = now(core, request, kind, &prefix, Some(&after)).await?;
            return complete(core, request, kind, &prefix, Some(&after), page).await;
        };
        return at_revision(core, request, kind, &prefix, Some(&after), at).await;
    }
    match (options.resource_version.as_str(), options.version_match.as_str()) {
        ("0", _) => {}
        ("", _) => core.catch_up().await?,
        (given, "Exact") => return at_revision(core, request, kind, &prefix, None, revision(given)?).await,
        // Before there was a word for it, a limit made the version exact.
        (given, "") if options.limit > 0 => {
            return at_revision(core, request, kind, &prefix, None, revision(given)?).await;
        }
        (given, _) => core.cache.wait_for(revision(given)?).await?,
    }
    let page = now(core, request, kind, &prefix, None).await?;
    complete(core, request, kind, &prefix, None, page).await
}

/// The page, unless it lacks something that cannot be read.
async fn complete(
    core: &Core,
    request: &Request,
    kind: &'static Kind,
    prefix: &str,
    after: Option<&str>,
    page: Page,
) -> status::Result<Page> {
    let table = core.cache.table(kind);
    let last = page.objects.last().filter(|_| !page.continue_token.is_empty()).map(|it| it.key.clone());
    let named = request.selection.name().filter(|_| !kind.namespaced() || !request.object_namespace().is_empty());
    // A name means one key, and no other is looked at.
    let named = named.map(|it| kind.key(request.object_namespace(), it));
    let (prefix, last) = match &named {
        Some(key) => (key.as_str(), Some(key.as_str())),
        None => (prefix, last.as_deref()),
    };
    let mut after = after.map(str::to_owned);
    while let Some(key) = table.unreadable(prefix, after.as_deref(), last) {
        readable(core, kind, &key).await?;
        // It was deleted, or written anew, a moment ago.
        after = Some(key.to_string());
    }
    Ok(page)
}

/// Asks the store for what could not be read.
///
/// # Errors
/// Why it cannot be read.
pub async fn readable(core: &Core, kind: &'static Kind, key: &str) -> status::Result<()> {
    let (entry, _) = core.store.get(key).await.map_err(unavailable)?;
    let Some(entry) = entry else { return Ok(()) };
    let read = Object::stored(core.cache.table(kind).kind(), entry.key.clone(), entry.modified.0, &entry.value);
    read.map(|_| ()).map_err(|error| Status::internal(format!("unable to decode key {key:?}: {error}")))
}

/// What all keys of a kind's objects in a namespace begin with; of all namespaces if it is empty.
pub fn prefix(kind: &Kind, namespace: &str) -> String {
    match namespace {
        "" => kind.prefix(),
        namespace => format!("{}{namespace}/", kind.prefix()),
    }
}

/// A page of what the cache holds. What is shown is what was converted: nothing that came meanwhile is among it.
async fn now(
    core: &Core,
    request: &Request,
    kind: &'static Kind,
    prefix: &str,
    after: Option<&str>,
) -> status::Result<Page> {
    let table = core.cache.table(kind);
    let selection = &request.selection;
    // Read before the objects: everything up to it is among them.
    let complete = table.complete(core.cache.revision());
    let whole = |objects: Vec<Arc<Object>>, revision: u64| Page {
        objects,
        revision,
        continue_token: String::new(),
        remaining: None,
    };
    if let Some(name) = selection.name().filter(|_| !kind.namespaced() || !request.object_namespace().is_empty()) {
        let found = core.get(kind, request.object_namespace(), name).await?;
        return Ok(whole(found.into_iter().filter(|it| selection.matches(kind, it)).collect(), complete));
    }
    if request.options.limit == 0
        && let Some(term) = selection.term(kind)
    {
        let (found, last) = table.with_term(&term, prefix);
        convert::ready(core, kind, found.iter()).await?;
        let found = found.into_iter().map(|it| it.served_as(kind)).filter(|it| selection.matches(kind, it));
        return Ok(whole(found.collect(), complete.max(last)));
    }
    let snapshot = table.snapshot();
    let revision = complete.max(snapshot.revision);
    if convert::is_asked(kind) {
        let objects: Vec<Arc<Object>> = snapshot.range(prefix, after).cloned().collect();
        convert::ready(core, kind, objects.iter()).await?;
    }
    let page = cut(request, kind, prefix, snapshot.range(prefix, after), revision);
    if !page.continue_token.is_empty() {
        table.keep(revision, snapshot);
    }
    Ok(page)
}

/// A page of what there was at a revision.
async fn at_revision(
    core: &Core,
    request: &Request,
    kind: &'static Kind,
    prefix: &str,
    after: Option<&str>,
    at: u64,
) -> status::Result<Page> {
    let table = core.cache.table(kind);
    if let Some(snapshot) = table.kept(at) {
        let objects: Vec<Arc<Object>> = snapshot.range(prefix, after).cloned().collect();
        convert::ready(core, kind, objects.iter()).await?;
        let page = cut(request, kind, prefix, objects.iter(), at);
        return complete(core, request, kind, prefix, after, page).await;
    }
    if kind.computed {
        // What is not stored has no history.
        return Err(expired(prefix, after));
    }
    if at > core.cache.revision() {
        core.catch_up().await?;
        core.cache.wait_for(at).await?;
    }
    let found = core.store.range(prefix, after, 0, Some(Revision(at))).await;
    let entries = match found {
        Ok(page) => page.entries,
        Err(StoreError::Compacted { .. }) => return Err(expired(prefix, after)),
        Err(error) => return Err(unavailable(error)),
    };
    let mut objects = Vec::with_capacity(entries.len());
    for entry in entries {
        match Object::stored(table.kind(), entry.key.clone(), entry.modified.0, &entry.value) {
            Ok(object) => objects.push(Arc::new(object)),
            Err(error) => {
                tracing::error!(key = %entry.key, %error, "a stored object cannot be read; it is not served");
                readable(core, kind, &entry.key).await?;
                return Err(Status::internal(format!("unable to decode key {:?}: {error}", &*entry.key)));
            }
        }
    }
    convert::ready(core, kind, objects.iter()).await?;
    Ok(cut(request, kind, prefix, objects.iter(), at))
}

/// As many objects as the client wants of those it means.
fn cut<'a>(
    request: &Request,
    kind: &'static Kind,
    prefix: &str,
    objects: impl Iterator<Item = &'a Arc<Object>>,
    revision: u64,
) -> Page {
    let limit = if request.options.limit == 0 { usize::MAX } else { request.options.limit };
    let selection = &request.selection;
    let mut page = Page { objects: Vec::new(), revision, continue_token: String::new(), remaining: None };
    let mut objects = objects.map(|it| it.served_as(kind)).filter(|it| selection.matches(kind, it));
    page.objects.extend(objects.by_ref().take(limit));
    if objects.next().is_some()
        && let Some(last) = page.objects.last()
    {
        page.continue_token = Token::new(revision, &last.key[prefix.len()..]).encode();
        // Only where nothing is left out is the rest worth counting.
        page.remaining = selection.is_everything().then(|| 1 + objects.count() as u64);
    }
    page
}

/// The refusal of a token whose revision is forgotten. Its text is Kubernetes' own.
fn expired(prefix: &str, after: Option<&str>) -> Status {
    let Some(after) = after else {
        return Status::expired("The resourceVersion for the provided list is too old.");
    };
    let token = Token::inconsistent(after.get(prefix.len()..).unwrap_or_default()).encode();
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.details = Some(Box::new(status::Details { continue_token: token, ..status::Details::default() }));
    status
}
