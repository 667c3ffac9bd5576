//! What can be asked of the resource tree: one file a verb, the same for every kind.
//!
//! In: an [`Authorized`] request and its body. Out: a [`Response`]. A verb that writes hands its object to [`crate::commit`]; one that
//! reads takes it from the cache. Subresources that are views of an object stand beside the verbs.

pub mod binding;
pub mod content;
pub mod create;
pub mod delete;
pub mod delete_collection;
pub mod eviction;
pub mod fence;
pub mod get;
pub mod list;
pub mod patch;
pub mod scale;
pub mod update;
pub mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use orlop_api::custom::Custom;
use orlop_api::discovery;
use orlop_api::kind::{Kind, Sub};
use orlop_api::status::{self, Status};

use crate::aside;
use crate::commit::Written;
use crate::components;
use crate::core::Core;
use crate::present::{self, Response};
use crate::registry;
use crate::request::{Request, Verb};
use crate::stage::Authorized;
use crate::usage;

/// Serves a request for a resource.
///
/// # Errors
/// The `Status` that answers it.
pub async fn serve(core: &Arc<Core>, it: &Authorized, body: Bytes) -> status::Result<Response> {
    let request = it.request();
    if !request.verb.reads() {
        fence::check(core, &request.headers).await?;
    }
    if request.group.is_empty() && request.resource == "bindings" && request.verb == Verb::Create {
        return binding::create(core, it, &body).await;
    }
    let kind = request.kind.ok_or_else(Status::no_such_path)?;
    // A kind without namespaces is not found below one, and one with them only there, but for lists over all.
    let below = !request.object_namespace().is_empty();
    let alone = matches!(request.verb, Verb::List | Verb::Watch) && request.subresource.is_empty();
    if kind.namespaced() && !below && !alone {
        return Err(if request.verb.reads() { Status::no_such_path() } else { Status::method_not_allowed() });
    }
    if !kind.namespaced() && !request.namespace.is_empty() && request.resource != "namespaces" {
        return Err(Status::no_such_path());
    }
    // Before it is known whether anybody serves it: who refuses connections is heard first.
    aside::admit_connection(core, it, kind).await?;
    let sub = match request.subresource.as_str() {
        "" => None,
        segment => Some(registry::subresource(kind, segment).ok_or_else(Status::no_such_path)?),
    };
    if let Some(sub) = sub
        && let Some(connector) = core.connector(kind.names.plural, sub)
    {
        return connector.connect(it, body).await;
    }
    if kind.computed {
        if !request.verb.reads() {
            return Err(Status::method_not_allowed());
        }
        core.catch_up().await?;
        if components::computes(kind) {
            components::look(&core.cache);
        } else if usage::computes(kind) {
            // A later page is of the same look as the first.
            if request.options.continued.is_empty() {
                Box::pin(core.usage.look(core, kind)).await;
            }
        } else {
            core.labels.prepare(&core.draining).await?;
        }
    }
    let response = dispatch(core, it, kind, sub, &body).await;
    let warning = kind.custom.map(Custom::now).and_then(|it| it.version().warning.clone());
    let warning = warning.map(String::from).or_else(|| kind.deprecated.map(str::to_owned));
    response.map(|mut response| {
        if let Some(warning) = warning {
            present::warn(response.headers_mut(), &[warning]);
        }
        response
    })
}

async fn dispatch(
    core: &Arc<Core>,
    it: &Authorized,
    kind: &'static Kind,
    sub: Option<Sub>,
    body: &[u8],
) -> status::Result<Response> {
    let request = it.request();
    match (sub, request.verb) {
        (None | Some(Sub::Status | Sub::Approval | Sub::EphemeralContainers | Sub::Resize), Verb::Get) => {
            get::get(core, it, kind).await
        }
        (None, Verb::List) => list::list(core, it, kind).await,
        (None, Verb::Watch) if discovery::verbs(kind).contains(&"watch") => watch::watch(core, it, kind).await,
        (None, Verb::Create) => create::create(core, it, kind, body).await,
        (
            None | Some(Sub::Status | Sub::Finalize | Sub::Approval | Sub::EphemeralContainers | Sub::Resize),
            Verb::Update,
        ) => update::update(core, it, kind, sub, body).await,
        (None | Some(Sub::Status | Sub::Approval | Sub::EphemeralContainers | Sub::Resize), Verb::Patch) => {
            patch::patch(core, it, kind, sub, body).await
        }
        (None, Verb::Delete) => delete::delete(core, it, kind, body).await,
        (None, Verb::DeleteCollection) if discovery::verbs(kind).contains(&request.verb.as_str()) => {
            delete_collection::delete(core, it, kind, body).await
        }
        (Some(Sub::Scale), Verb::Get) => scale::get(core, it, kind).await,
        (Some(Sub::Scale), Verb::Update) => scale::update(core, it, kind, body).await,
        (Some(Sub::Scale), Verb::Patch) => scale::patch(core, it, kind, body).await,
        (Some(Sub::Eviction), Verb::Create) => eviction::create(core, it, body).await,
        (Some(Sub::Binding), Verb::Create) => binding::create(core, it, body).await,
        _ => Err(Status::method_not_allowed()),
    }
}

/// Answers a write with the object that it has left.
///
/// # Errors
/// When a form cannot be made.
fn answer(request: &Request, kind: &'static Kind, written: &Written) -> status::Result<Response> {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = match request.accept.form {
        crate::request::accept::Form::Whole => {
            present::encoded(code, written.json.clone(), &request.accept, request.options.pretty)?
        }
        _ => present::object(request, kind, code, &written.object()?)?,
    };
    present::warn(response.headers_mut(), &written.warnings);
    Ok(response)
}
