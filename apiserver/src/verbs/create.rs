//! POST: a new object under its own or a generated name.

use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};

use super::content;
use crate::commit::Writer;
use crate::core::Core;
use crate::present::Response;
use crate::stage::Authorized;

/// Creates an object.
///
/// # Errors
/// What its kind or admission refuse, and `AlreadyExists`.
pub async fn create(core: &Core, it: &Authorized, kind: &'static Kind, body: &[u8]) -> status::Result<Response> {
    let request = it.request();
    if kind.custom.is_some_and(|it| it.now().definition.terminating) {
        let text = "create not allowed while custom resource definition is terminating";
        return Err(Status { message: text.to_owned(), ..Status::method_not_allowed() });
    }
    let (object, warnings) = content::object(request, kind, body)?;
    let mut written = Writer::new(core, it, kind, None).create(object).await?;
    written.warnings.splice(0..0, warnings);
    super::answer(request, kind, &written)
}
