//! DELETE of many: every object that a list would show, with the list as the answer: the objects as they were found.

use std::sync::Arc;

use futures::StreamExt;
use orlop_api::kind::Kind;
use orlop_api::status::{self, Reason};

use super::delete::{self, delete_one};
use super::list;
use crate::commit::Writer;
use crate::core::Core;
use crate::present::Response;
use crate::present::list as present;
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
    let page = list::page(core, request, kind).await?;
    let (core, options) = (&**core, &options);
    let mut deletions = futures::stream::iter(page.objects.clone())
        .map(|object| async move {
            let mut writer = Writer::new(core, it, kind, None);
            writer.namespace = &object.head.namespace;
            writer.name = &object.head.name;
            writer.dry_run |= dry_run;
            delete_one(&writer, options).await
        })
        .buffered(AT_ONCE);
    while let Some(outcome) = deletions.next().await {
        match outcome {
            // Somebody else was faster.
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
            Ok(_) => {}
        }
    }
    present::list(request, kind, page)
}
