//! PUT: an object replaced, or the part of it that a subresource owns.

use orlop_api::kind::{Body, Kind, Sub};
use orlop_api::status::{self, Reason, Status};
use serde::Deserialize;

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
    let (object, warnings) = content::object(request, kind, body)?;
    let writer = Writer::new(core, it, kind, sub);
    let change = Replace(object.clone());
    let outcome = writer.update(stage::part_of(sub), &change).await;
    let mut written = match outcome {
        Err(Status { reason: Reason::NotFound, .. }) if kind.create_on_update && sub.is_none() => {
            writer.create(object).await?
        }
        // Kubernetes looks at the uid before it looks whether there is anything.
        Err(Status { reason: Reason::NotFound, .. }) if !uid(&object).is_empty() => {
            let key = kind.key(writer.namespace, writer.name);
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {}, UID in object meta: ",
                uid(&object)
            );
            return Err(Status::conflict(kind.group, kind.names.plural, writer.name, &why));
        }
        outcome => outcome?,
    };
    written.warnings.splice(0..0, warnings);
    super::answer(request, kind, &written)
}

/// The uid that an object names; empty if none.
fn uid(object: &Body<'_>) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Slim {
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Metadata {
        uid: Option<String>,
    }
    let slim: Slim = match object {
        Body::Bytes(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
        Body::Value(value) => Slim::deserialize(value).unwrap_or_default(),
        // Only a patch makes one, only a binding the other.
        Body::Applied(_) | Body::Edit(_) => Slim::default(),
    };
    slim.metadata.uid.unwrap_or_default()
}
