//! GET of many: a page of objects as they were at one revision.
//!
//! The first page is taken from the cache now, or at the version asked for; the next ones from the snapshot that the continue token
//! names, or, once that is let go of, from the store at the same revision, until the store has forgotten it too.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orlop_api::field::Errors;
use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};
use orlop_store::{Revision, StoreError};
use serde::{Deserialize, Serialize};

use super::get::revision;
use crate::cache::Object;
use crate::core::{Core, unavailable};
use crate::present::Response;
use crate::present::list::{self as present, Page};
use crate::request::Request;
use crate::request::options::Match;
use crate::stage::Authorized;

/// What a continue token says: the revision of all pages, and where the next begins. Opaque to clients.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
struct Token {
    v: String,
    rv: i64,
    /// The last key that was shown, behind the list's prefix.
    start: String,
}

/// The version of the token's form.
const TOKEN_VERSION: &str = "meta.k8s.io/v1";

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
    check(request)?;
    let prefix = prefix(kind, request.object_namespace());
    if !options.continued.is_empty() {
        if !matches!(options.resource_version.as_str(), "" | "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let token = decode(&options.continued)?;
        let after = format!("{prefix}{}", token.start);
        let Ok(at) = u64::try_from(token.rv) else {
            // The token of an inconsistent continuation: what follows, as it is now.
            core.catch_up().await?;
            return Ok(now(core, request, kind, &prefix, Some(&after)));
        };
        return at_revision(core, request, kind, &prefix, Some(&after), at).await;
    }
    match (options.resource_version.as_str(), options.version_match) {
        ("" | "0", Some(Match::NotOlderThan)) | ("0", None) => {}
        ("", _) => core.catch_up().await?,
        (given, Some(Match::Exact)) => return at_revision(core, request, kind, &prefix, None, revision(given)?).await,
        // Before there was a word for it, a limit made the version exact.
        (given, None) if options.limit > 0 => {
            return at_revision(core, request, kind, &prefix, None, revision(given)?).await;
        }
        (given, _) => core.cache.wait_for(revision(given)?).await?,
    }
    Ok(now(core, request, kind, &prefix, None))
}

/// What all keys of a kind's objects in a namespace begin with; of all namespaces if it is empty.
pub fn prefix(kind: &Kind, namespace: &str) -> String {
    match namespace {
        "" => kind.prefix(),
        namespace => format!("{}{namespace}/", kind.prefix()),
    }
}

fn check(request: &Request) -> status::Result<()> {
    let options = &request.options;
    let mut errors = Errors::default();
    if options.version_match.is_some() && !options.continued.is_empty() {
        errors.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided");
    } else if options.version_match.is_some() && options.resource_version.is_empty() {
        errors
            .forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided");
    } else if options.version_match == Some(Match::Exact) && options.resource_version == "0" {
        errors
            .forbidden("resourceVersionMatch", "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    }
    if options.send_initial_events.is_some() {
        errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
}

/// A page of what the cache holds.
fn now(core: &Core, request: &Request, kind: &'static Kind, prefix: &str, after: Option<&str>) -> Page {
    let table = core.cache.table(kind);
    let selection = &request.selection;
    // Read before the objects: everything up to it is among them.
    let complete = core.cache.revision();
    if let Some(name) = selection.name().filter(|_| !kind.namespaced() || !request.object_namespace().is_empty()) {
        let found = core.cache.get(kind, request.object_namespace(), name);
        let objects = found.into_iter().filter(|it| selection.matches(kind, it)).collect();
        return Page { objects, revision: complete, continue_token: String::new(), remaining: None };
    }
    if request.options.limit == 0
        && let Some(term) = selection.term(kind)
    {
        let (found, last) = table.with_term(&term, prefix);
        let found = found.into_iter().map(|it| it.served_as(kind)).filter(|it| selection.matches(kind, it));
        let objects = found.collect();
        return Page { objects, revision: complete.max(last), continue_token: String::new(), remaining: None };
    }
    let snapshot = table.snapshot();
    let revision = complete.max(snapshot.revision);
    let page = cut(request, kind, prefix, snapshot.range(prefix, after), revision);
    if !page.continue_token.is_empty() {
        table.keep(revision, snapshot);
    }
    page
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
        return Ok(cut(request, kind, prefix, snapshot.range(prefix, after), at));
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
            Err(error) => tracing::error!(key = %entry.key, %error, "a stored object cannot be read; it is not served"),
        }
    }
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
        let start = last.key[prefix.len()..].to_owned();
        page.continue_token = encode(&Token { v: TOKEN_VERSION.to_owned(), rv: revision as i64, start });
        // Only where nothing is left out is the rest worth counting.
        page.remaining = selection.is_everything().then(|| 1 + objects.count() as u64);
    }
    page
}

fn encode(token: &Token) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(token).unwrap_or_default())
}

fn decode(text: &str) -> status::Result<Token> {
    let bad = |why: String| Status::bad_request(format!("continue key is not valid: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| bad(error.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    if token.v != TOKEN_VERSION {
        return Err(bad(format!("server does not recognize this encoded version {:?}", token.v)));
    }
    if token.rv == 0 {
        return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".to_owned()));
    }
    Ok(token)
}

/// The refusal of a token whose revision is forgotten. Its text is Kubernetes' own.
fn expired(prefix: &str, after: Option<&str>) -> Status {
    let Some(after) = after else {
        return Status::expired("The resourceVersion for the provided list is too old.");
    };
    let start = after.get(prefix.len()..).unwrap_or_default().to_owned();
    let token = encode(&Token { v: TOKEN_VERSION.to_owned(), rv: -1, start });
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.details = Some(Box::new(status::Details { continue_token: token, ..status::Details::default() }));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        let token = Token { v: TOKEN_VERSION.to_owned(), rv: 7, start: "default/web".to_owned() };
        assert_eq!(decode(&encode(&token)).unwrap(), token);
        for bad in ["%%%", "e30", &encode(&Token { v: "v2".to_owned(), rv: 1, start: String::new() })] {
            let status = decode(bad).unwrap_err();
            assert_eq!(status.code(), 400);
            assert!(status.message.starts_with("continue key is not valid: "), "{status}");
        }
    }
}
