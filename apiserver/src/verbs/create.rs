//! POST: a new object under its own or a generated name.

use orlop_api::kind::Kind;
use orlop_api::status;

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
    let object = content::object(request, kind, body)?;
    let written = Writer::new(core, it, kind, None).create(object).await?;
    super::answer(request, kind, &written)
}
