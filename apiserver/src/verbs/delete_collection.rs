//! DELETE of many: every object that a list would show.

use std::sync::Arc;

use futures::StreamExt;
use http::StatusCode;
use orlop_api::kind::Kind;
use orlop_api::status::{self, Reason};
use serde_json::json;

use super::delete::{self, delete_one};
use super::list;
use crate::commit::Writer;
use crate::core::Core;
use crate::present::{self, Response};
use crate::stage::Authorized;

/// How many deletions are under way at once: enough for the store to write them together.
const AT_ONCE: usize = 32;

/// Deletes what the selectors mean, and lists it.
///
/// # Errors
/// The first refusal; what was deleted before it stays so.
pub async fn delete(core: &Arc<Core>, it: &Authorized, kind: &'static Kind, body: &[u8]) -> status::Result<Response> {
    let request = it.request();
    let (options, dry_run) = delete::options(request, body)?;
    core.catch_up().await?;
    let page = list::page(core, request, kind).await?;
    let (core, options) = (&**core, &options);
    let mut deletions = futures::stream::iter(page.objects)
        .map(|object| async move {
            let mut writer = Writer::new(core, it, kind, None);
            writer.namespace = &object.head.namespace;
            writer.name = &object.head.name;
            writer.dry_run |= dry_run;
            delete_one(&writer, options).await
        })
        .buffered(AT_ONCE);
    let mut items = Vec::new();
    while let Some(outcome) = deletions.next().await {
        match outcome {
            Ok(deleted) => items.push(deleted.object),
            // Somebody else was faster.
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    let answer = json!({
        "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
        "metadata": { "resourceVersion": page.revision.to_string() }, "items": items,
    });
    present::encoded(StatusCode::OK, answer.to_string().into(), &request.accept, request.options.pretty)
}
