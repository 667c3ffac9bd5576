//! GET of one object.

use http::StatusCode;
use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};

use crate::commit::Writer;
use crate::core::Core;
use crate::present::{self, Response};
use crate::request::Request;
use crate::stage::Authorized;

/// The object, not older than the resource version that was asked for; without one, than the latest write.
///
/// # Errors
/// `NotFound`, or `Timeout` for a version that is not reached.
pub async fn get(core: &Core, it: &Authorized, kind: &'static Kind) -> status::Result<Response> {
    let request = it.request();
    match request.options.resource_version.as_str() {
        "" => core.catch_up().await?,
        "0" => {}
        given => core.cache.wait_for(revision(given)?).await?,
    }
    let found = core.get(kind, request.object_namespace(), &request.name).await?;
    let found = match found {
        Some(found) => found,
        // What cannot be read is in the store and not in the cache; to call it absent would be wrong.
        None if is_unreadable(core, kind, request) => Writer::new(core, it, kind, None).fresh().await?,
        None => return Err(Status::not_found(kind.group, kind.names.plural, &request.name)),
    };
    present::object(request, kind, StatusCode::OK, &found)
}

/// Whether the store has the object, and it cannot be read.
fn is_unreadable(core: &Core, kind: &'static Kind, request: &Request) -> bool {
    let key = kind.key(request.object_namespace(), &request.name);
    core.cache.table(kind).unreadable(&key, None, Some(&key)).is_some()
}

/// A resource version as a number.
///
/// # Errors
/// `BadRequest`, worded as Kubernetes does.
pub fn revision(text: &str) -> status::Result<u64> {
    text.parse().map_err(|_| {
        Status::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}
