//! DELETE of one object: at once, or marked until its finalizers, its grace period or its contents are done with.
//!
//! Source: `k8s.io/apiserver/pkg/registry/rest/delete.go` and `registry/generic/registry/store.go`.

pub mod decide;

use http::StatusCode;
use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};
use orlop_client::clock;
use orlop_store::StoreError;
use serde_json::Value;

use super::content;
use crate::commit::Writer;
use crate::core::{Core, unavailable};
use crate::present::{self, Response};
use crate::request::Request;
use crate::stage::Authorized;
use decide::{Options, Outcome, decide};

/// How often a deletion begins anew when others were faster: as often as an update does.
const RETRIES_MAX: usize = 100;

/// What a deletion has done.
#[derive(Debug)]
pub struct Deleted {
    /// The object as it is now, or was last.
    pub object: Value,
    /// Whether it is gone, and not only marked.
    pub gone: bool,
}

/// Deletes an object.
///
/// # Errors
/// `NotFound`, `Conflict` for preconditions that do not hold, `Invalid` for options that contradict each other.
pub async fn delete(core: &Core, it: &Authorized, kind: &'static Kind, body: &[u8]) -> status::Result<Response> {
    let request = it.request();
    let (options, dry_run) = options(request, body)?;
    let mut writer = Writer::new(core, it, kind, None);
    writer.dry_run |= dry_run;
    let deleted = delete_one(&writer, &options).await?;
    // Kubernetes keeps this form for old clients: only who asked in the oldest way for dependents to go first is told of the wait.
    let waits = options.orphan_dependents == Some(false);
    let code = if !deleted.gone && waits { StatusCode::ACCEPTED } else { StatusCode::OK };
    let answer = if deleted.gone && !kind.returns_deleted {
        let uid = deleted.object["metadata"]["uid"].as_str().unwrap_or_default();
        present::success(kind, &request.name, uid)
    } else {
        deleted.object
    };
    present::encoded(code, answer.to_string().into(), &request.accept, request.options.pretty)
}

/// The options of a deletion, from its body or its query, and whether it is only tried.
///
/// # Errors
/// `BadRequest` for a body that cannot be read, `Invalid` for options that contradict each other.
pub fn options(request: &Request, body: &[u8]) -> status::Result<(Options, bool)> {
    let (options, dry_run) = if body.iter().all(u8::is_ascii_whitespace) {
        let query = &request.options;
        let options = Options {
            grace_period_seconds: query.grace_period_seconds,
            propagation: query.propagation,
            orphan_dependents: query.orphan_dependents,
            ..Options::default()
        };
        (options, query.dry_run)
    } else {
        Options::read(&content::value_of(request, "DeleteOptions", "v1", body)?)?
    };
    options.check()?;
    Ok((options, dry_run))
}

/// Deletes the object that a writer is for.
///
/// # Errors
/// As [`delete`].
pub async fn delete_one(writer: &Writer<'_>, options: &Options) -> status::Result<Deleted> {
    // From the store: a deletion rests on what stands there, and is seldom enough.
    let mut old = writer.fresh().await?;
    for _ in 0..RETRIES_MAX {
        let approved = writer.approve_deletion(&old).await?;
        let now = orlop_api::meta::whole_seconds(clock::now());
        let grace = writer.kind.grace_period_seconds(&old.json);
        let held = writer.kind.held(&old.json);
        let outcome = decide(writer.kind, old.value(), grace, held, options, now)?;
        let (done, object, gone) = match outcome {
            Outcome::Nothing => return Ok(Deleted { object: old.value(), gone: false }),
            Outcome::Remove => (writer.remove(&old, &approved).await, old.value(), true),
            Outcome::Mark(value) => {
                let json = serde_json::to_vec(&value).map_err(Status::internal)?;
                (writer.mark(&old, json, &approved).await, value, false)
            }
        };
        match done {
            Ok(revision) => {
                let mut object = object;
                object["metadata"]["resourceVersion"] = revision.to_string().into();
                return Ok(Deleted { object, gone });
            }
            Err(StoreError::Mismatch { current: Some(entry) }) => old = writer.decoded(&entry).await?,
            Err(StoreError::Mismatch { current: None }) => return Err(writer.not_found()),
            Err(error) => return Err(unavailable(error)),
        }
    }
    let kind = writer.kind;
    Err(Status::modified(kind.group, kind.names.plural, writer.name))
}
