//! PATCH: a change stated against whatever stands there, applied anew each time another writer was faster.

use http::header::CONTENT_TYPE;
use orlop_api::json::Strictness;
use orlop_api::kind::{Body, Kind, Sub};
use orlop_api::managed::apply::{self, Applied};
use orlop_api::managed::update::Standing;
use orlop_api::managed::{Subject, text};
use orlop_api::patch::{PatchType, json, merge, strategic};
use orlop_api::status::{self, Reason, Status};
use serde_json::Value;

use super::content;
use crate::cache::Object;
use crate::commit::{Change, Recorder, Writer, Written};
use crate::core::Core;
use crate::present::Response;
use crate::request::Request;
use crate::stage::{self, Authorized};

/// The patches that custom objects take.
const CUSTOM: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// A patch, read.
pub struct Patch<'b> {
    kind: &'static Kind,
    sub: Option<Sub>,
    patch: Read<'b>,
    /// Whether the patch itself is about managed fields.
    shows_managers: bool,
    /// What is to be said of keys that stand twice in an applied configuration.
    repeats: Vec<String>,
}

enum Read<'b> {
    Json(&'b [u8]),
    Merge(Value),
    Strategic(Value),
    Apply { config: Value, by: Recorder, force: bool },
}

impl<'b> Patch<'b> {
    /// Reads the body as the patch that its type says.
    ///
    /// # Errors
    /// `UnsupportedMediaType`, or `BadRequest` for what cannot be read.
    pub fn read(request: &Request, kind: &'static Kind, sub: Option<Sub>, body: &'b [u8]) -> status::Result<Self> {
        let given = request.headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let value = || {
            serde_json::from_slice::<Value>(body)
                .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
        };
        let mut repeats = Vec::new();
        let patch = match PatchType::parse(given)? {
            PatchType::Json => Read::Json(body),
            PatchType::Merge => Read::Merge(value()?),
            // How lists are merged only the built-in types say.
            PatchType::Strategic if kind.custom.is_some() => return Err(content::unsupported(CUSTOM)),
            PatchType::Strategic => Read::Strategic(value()?),
            PatchType::Apply => {
                if request.options.field_manager.is_empty() {
                    let mut errors = orlop_api::field::Errors::default();
                    errors.required("fieldManager", "is required for apply patch");
                    return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &errors));
                }
                let (config, by) = (content::yaml_with_repeats(body)?, Recorder::of(request, sub));
                let (config, twice) = config;
                repeats = twice;
                Read::Apply { config, by, force: request.options.force.unwrap_or(false) }
            }
        };
        if request.options.force.is_some() && !matches!(patch, Read::Apply { .. }) {
            let mut errors = orlop_api::field::Errors::default();
            errors.forbidden("force", "may not be specified for non-apply patch");
            return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &errors));
        }
        const NAME: &[u8] = b"managedFields";
        let shows_managers = body.windows(NAME.len()).any(|it| it == NAME);
        Ok(Patch { kind, sub, patch, shows_managers, repeats })
    }

    /// Whether it is a server-side apply, which creates what is not there.
    pub fn is_apply(&self) -> bool {
        matches!(self.patch, Read::Apply { .. })
    }

    /// The value after the patch.
    ///
    /// # Errors
    /// When the patch does not fit.
    pub fn applied_to(&self, old: Option<&Value>) -> status::Result<Value> {
        let empty = Value::Null;
        let mut value = match &self.patch {
            Read::Json(patch) => json::apply(old.unwrap_or(&empty), patch)?,
            Read::Merge(patch) => {
                let mut value = old.cloned().unwrap_or_default();
                merge::apply(&mut value, patch.clone());
                value
            }
            Read::Strategic(patch) => strategic::apply(self.kind, old.unwrap_or(&empty), patch.clone())?,
            // It is applied to text, see below.
            Read::Apply { .. } => return Err(Status::internal("an apply is no change of a value")),
        };
        // A patch means one state only if it names it: then it differs from, or is, what it was applied to.
        let named = match &self.patch {
            Read::Merge(patch) | Read::Strategic(patch) => patch["metadata"].get("resourceVersion").is_some(),
            _ => old.is_some_and(|old| old["metadata"]["resourceVersion"] != value["metadata"]["resourceVersion"]),
        };
        if let (false, Some(metadata)) = (named, value.get_mut("metadata").and_then(Value::as_object_mut)) {
            metadata.remove("resourceVersion");
        }
        Ok(value)
    }
}

impl Patch<'_> {
    /// What the apply makes of an object as it stands, or of none.
    fn applied(&self, old: Option<Standing<'_>>) -> status::Result<Applied> {
        let Read::Apply { config, by, force } = &self.patch else {
            return Err(Status::internal("only an apply makes an object of nothing"));
        };
        let subject = Subject::of(self.kind, stage::part_of(self.sub));
        apply::apply(&subject, old, config, &by.writer(), *force)
    }

    /// The configuration, who applies it, and whether against the will of others.
    pub fn as_apply(&self) -> Option<(&Value, &Recorder, bool)> {
        match &self.patch {
            Read::Apply { config, by, force } => Some((config, by, *force)),
            _ => None,
        }
    }
}

impl Change for Patch<'_> {
    fn apply<'a>(&'a self, old: &Object) -> status::Result<Body<'a>> {
        let whole = std::str::from_utf8(&old.json).map_err(Status::internal)?;
        let found = text::split(whole);
        let (bare, managed) = found.as_ref().map_or((whole, None), |(bare, managed)| (&**bare, Some(*managed)));
        match &self.patch {
            Read::Apply { .. } => self.applied(Some(Standing { bare, managed })).map(Body::Applied),
            _ if self.shows_managers => self.applied_to(Some(&old.value())).map(Body::Value),
            _ => {
                let value = serde_json::from_str(bare).map_err(Status::internal)?;
                self.applied_to(Some(&value)).map(Body::Value)
            }
        }
    }
}

/// Patches an object; an apply creates it where it is not there.
///
/// # Errors
/// `NotFound`, `Conflict`, and what the patch, its kind or admission refuse.
pub async fn patch(
    core: &Core,
    it: &Authorized,
    kind: &'static Kind,
    sub: Option<Sub>,
    body: &[u8],
) -> status::Result<Response> {
    let request = it.request();
    let patch = Patch::read(request, kind, sub, body)?;
    let mut writer = Writer::new(core, it, kind, sub);
    if patch.is_apply() && request.options.strictness == Strictness::Warn {
        // Unknown fields of an applied configuration are errors already; those of the live object are nobody's fault.
        writer.strictness = Strictness::Ignore;
    }
    if request.options.strictness == Strictness::Strict && !patch.repeats.is_empty() {
        let told = patch.repeats.join("\n  ");
        let text = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors";
        return Err(Status::bad_request(format!("{text}:\n  {told}")));
    }
    let answer = |mut written: Written| {
        if request.options.strictness == Strictness::Warn {
            written.warnings.extend(patch.repeats.iter().cloned());
        }
        super::answer(request, kind, &written)
    };
    for _ in 0..CREATE_RETRIES_MAX {
        match writer.update(stage::part_of(sub), &patch).await {
            Err(status) if status.reason == Reason::NotFound && patch.is_apply() && sub.is_none() => {}
            outcome => return answer(outcome?),
        }
        if let Some(uid) =
            patch.as_apply().and_then(|(config, ..)| config["metadata"]["uid"].as_str()).filter(|it| !it.is_empty())
        {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(Status::conflict(kind.group, kind.names.plural, &request.name, &why));
        }
        let applied = patch.applied(None)?;
        match writer.create(Body::Applied(applied)).await {
            // Somebody else was faster: it is there now, and can be changed.
            Err(status) if status.reason == Reason::AlreadyExists => {}
            outcome => return answer(outcome?),
        }
    }
    Err(Status::modified(kind.group, kind.names.plural, &request.name))
}

/// How often an apply goes between creating and changing while others delete and create.
const CREATE_RETRIES_MAX: usize = 5;
