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
    strictness: Strictness,
    /// What field validation finds in the patch itself.
    problems: Vec<String>,
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
        let strictness = request.options.strictness;
        let mut problems;
        let patch = match PatchType::parse(given)? {
            PatchType::Json => {
                problems = json::problems(body);
                Read::Json(body)
            }
            PatchType::Merge => {
                problems = orlop_api::json::duplicates(body);
                Read::Merge(value()?)
            }
            // How lists are merged only the built-in types say.
            PatchType::Strategic if kind.custom.is_some() => return Err(content::unsupported(CUSTOM)),
            PatchType::Strategic => {
                problems = orlop_api::json::duplicates(body);
                Read::Strategic(value()?)
            }
            PatchType::Apply => {
                if request.options.field_manager.is_empty() {
                    let mut errors = orlop_api::field::Errors::default();
                    errors.required("fieldManager", "is required for apply patch");
                    return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &errors));
                }
                let (config, twice) = content::yaml_with_repeats(body)?;
                if strictness == Strictness::Strict && !twice.is_empty() {
                    let told = content::told_by_yaml(&twice);
                    let text = format!("error strict decoding YAML: error converting YAML to JSON: {told}");
                    return Err(Status::bad_request(text));
                }
                problems = twice;
                let by = Recorder::of(request, sub);
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
        if strictness == Strictness::Ignore {
            problems.clear();
        }
        Ok(Patch { kind, sub, patch, shows_managers, strictness, problems })
    }

    /// Whether it is a server-side apply, which creates what is not there.
    pub fn is_apply(&self) -> bool {
        matches!(self.patch, Read::Apply { .. })
    }

    /// The value after the patch.
    ///
    /// # Errors
    /// When the patch does not fit.
    pub fn applied_to(&self, old: Value) -> status::Result<Value> {
        // A patch means one state only if it names it: then it differs from, or is, what it was applied to.
        let (mut value, named) = match &self.patch {
            Read::Json(patch) => {
                let value = json::apply(&old, patch)?;
                let named = old["metadata"]["resourceVersion"] != value["metadata"]["resourceVersion"];
                (value, named)
            }
            Read::Merge(patch) => {
                let mut value = old;
                merge::apply(&mut value, patch.clone());
                (value, names_a_state(patch))
            }
            Read::Strategic(patch) => (strategic::apply(self.kind, &old, patch.clone())?, names_a_state(patch)),
            // It is applied to text, see below.
            Read::Apply { .. } => return Err(Status::internal("an apply is no change of a value")),
        };
        if let (false, Some(metadata)) = (named, value.get_mut("metadata").and_then(Value::as_object_mut)) {
            metadata.remove("resourceVersion");
        }
        Ok(value)
    }
}

fn names_a_state(patch: &Value) -> bool {
    patch["metadata"].get("resourceVersion").is_some()
}

impl Patch<'_> {
    /// Refuses what strict field validation finds in the patch and in the object that it makes.
    ///
    /// # Errors
    /// `Invalid`, with both, as Kubernetes words it.
    fn check_fields(&self, patched: &Value) -> status::Result<()> {
        if self.strictness != Strictness::Strict {
            return Ok(());
        }
        let mut problems = self.problems.clone();
        problems.extend(self.kind.unknown_fields(patched)?);
        if problems.is_empty() {
            return Ok(());
        }
        let mut errors = orlop_api::field::Errors::default();
        errors.invalid("patch", self.shown(patched), format!("strict decoding error: {}", problems.join(", ")));
        Err(Status::invalid("", "", "", &errors))
    }

    /// The refusal of a patch after which the object cannot be decoded, as Kubernetes words it; none where it can.
    fn unfitting(&self, old: &Object) -> Option<Status> {
        let patched = self.applied_to(old.value()).ok()?;
        let why = self.kind.unknown_fields(&patched).err()?.message;
        let prefix = format!("{} in version {:?} cannot be handled as a {0}: ", self.kind.kind, self.kind.version);
        let mut errors = orlop_api::field::Errors::default();
        errors.invalid("patch", self.shown(&patched), why.strip_prefix(&prefix).unwrap_or(&why));
        Some(Status::invalid("", "", "", &errors))
    }

    /// What a refusal shows of the patch: the object that it makes, or itself where it is a strategic one.
    fn shown(&self, patched: &Value) -> String {
        match &self.patch {
            Read::Strategic(patch) => strategic::shown(patch),
            _ => patched.to_string(),
        }
    }

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
            _ => {
                let value = match self.shows_managers {
                    true => old.value(),
                    false => serde_json::from_str(bare).map_err(Status::internal)?,
                };
                let patched = self.applied_to(value)?;
                self.check_fields(&patched)?;
                Ok(Body::Value(patched))
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
    let warned = |mut written: Written| {
        written.warnings.splice(0..0, patch.problems.iter().cloned());
        super::answer(request, kind, &written)
    };
    for _ in 0..CREATE_RETRIES_MAX {
        match writer.update(stage::part_of(sub), &patch).await {
            Err(status) if status.reason == Reason::NotFound && patch.is_apply() && sub.is_none() => {}
            Err(status) if status.reason == Reason::BadRequest && !patch.is_apply() => {
                let found = core.get(kind, request.object_namespace(), &request.name).await?;
                return Err(found.and_then(|it| patch.unfitting(&it)).unwrap_or(status));
            }
            outcome => return warned(outcome?),
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
            outcome => return warned(outcome?),
        }
    }
    Err(Status::modified(kind.group, kind.names.plural, &request.name))
}

/// How often an apply goes between creating and changing while others delete and create.
const CREATE_RETRIES_MAX: usize = 5;
