//! PUT: an object replaced, or the part of it that a subresource owns.

use orlop_api::kind::{Body, Kind, Sub};
use orlop_api::status::{self, Reason, Status};

use super::content;
use crate::cache::Object;
use crate::commit::{Change, Writer};
use crate::core::Core;
use crate::present::Response;
use crate::stage::{self, Authorized};

/// What the client sent, whatever stands there.
struct Replace<'b>(Body<'b>);

impl Change for Replace<'_> {
    fn apply<'a>(&'a self, _old: &Object) -> status::Result<Body<'a>> {
        Ok(match &self.0 {
            Body::Bytes(bytes) => Body::Bytes(bytes),
            other => other.clone(),
        })
    }
}

/// Replaces an object; creates it where its kind allows that.
///
/// # Errors
/// `NotFound`, `Conflict`, and what its kind or admission refuse.
pub async fn update(
    core: &Core,
    it: &Authorized,
    kind: &'static Kind,
    sub: Option<Sub>,
    body: &[u8],
) -> status::Result<Response> {
    let request = it.request();
    let object = content::object(request, kind, body)?;
    let writer = Writer::new(core, it, kind, sub);
    let change = Replace(object.clone());
    let outcome = writer.update(stage::part_of(sub), &change).await;
    let written = match outcome {
        Err(Status { reason: Reason::NotFound, .. }) if kind.create_on_update && sub.is_none() => {
            writer.create(object).await?
        }
        outcome => outcome?,
    };
    super::answer(request, kind, &written)
}
