//! The rules of `metadata` that hold for every kind: what the server sets, what a client may change, what is a mistake.
//!
//! Source: `k8s.io/apiserver/pkg/registry/rest` (BeforeCreate, BeforeUpdate) and `k8s.io/apimachinery/pkg/api/validation`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::kind::{Kind, Scope};
use crate::status::{self, Status};

mod validate;

pub use validate::{ANNOTATIONS_LIMIT_BYTES, validate, validate_annotations, validate_finalizer, validate_labels};

/// What the request and the server contribute to an object's metadata.
#[derive(Clone, Debug)]
pub struct MetaContext<'a> {
    /// The name in the request's path; none on POST.
    pub name: Option<&'a str>,
    /// The namespace in the request's path; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    pub now: Timestamp,
    /// A fresh uid, used if the object is created.
    pub uid: &'a str,
    /// Five random characters that follow `generateName`.
    pub suffix: &'a str,
}

/// The characters of generated name suffixes: no vowels, so that no words arise (`k8s.io/apimachinery/pkg/util/rand`).
pub const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// How many random characters follow `generateName`.
pub const SUFFIX_LENGTH: usize = 5;

/// The longest name that leaves room for the suffix: a label's 63 bytes less [`SUFFIX_LENGTH`].
const GENERATE_NAME_LIMIT_BYTES: usize = 63 - SUFFIX_LENGTH;

/// Settles what an object is called and where it lives, before anyone else looks at it, and takes from a new one what only the server
/// sets.
///
/// # Errors
/// `BadRequest` where name or namespace differ from the path's.
pub fn settle(meta: &mut ObjectMeta, kind: &Kind, context: &MetaContext<'_>, is_new: bool) -> status::Result<()> {
    settle_namespace(meta, kind, context)?;
    settle_name(meta, context)?;
    if is_new {
        meta.uid = None;
        meta.creation_timestamp = None;
        meta.deletion_timestamp = None;
        meta.deletion_grace_period_seconds = None;
        meta.self_link = None;
    }
    Ok(())
}

/// Sets what the server owns in a new object's metadata.
///
/// # Errors
/// `BadRequest` where name or namespace differ from the path's or a resource version is given.
pub fn prepare_create(
    meta: &mut ObjectMeta,
    kind: &Kind,
    context: &MetaContext<'_>,
    revision: Option<&str>,
) -> status::Result<()> {
    if revision.is_some_and(|it| it != "0") {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    settle_namespace(meta, kind, context)?;
    settle_name(meta, context)?;
    let unnamed = meta.name.as_deref().unwrap_or_default().is_empty();
    if let Some(base) = meta.generate_name.as_deref().filter(|it| unnamed && !it.is_empty()) {
        let mut end = base.len().min(GENERATE_NAME_LIMIT_BYTES);
        while !base.is_char_boundary(end) {
            end -= 1;
        }
        meta.name = Some(format!("{}{}", &base[..end], context.suffix));
    }
    meta.uid = Some(context.uid.to_owned());
    meta.creation_timestamp = Some(Time(whole_seconds(context.now)));
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.self_link = None;
    Ok(())
}

/// Keeps what a client may not change in an existing object's metadata.
///
/// # Errors
/// `BadRequest` where name or namespace differ from the path's, `Conflict` where the client means an object of another uid.
pub fn prepare_update(
    meta: &mut ObjectMeta,
    old: &ObjectMeta,
    kind: &Kind,
    context: &MetaContext<'_>,
) -> status::Result<()> {
    settle_namespace(meta, kind, context)?;
    settle_name(meta, context)?;
    let name = old.name.as_deref().unwrap_or_default();
    if let Some(uid) = meta.uid.as_deref().filter(|it| !it.is_empty()) {
        let stands = old.uid.as_deref().unwrap_or_default();
        if uid != stands {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stands}");
            return Err(Status::conflict(kind.group, kind.names.plural, name, &why));
        }
    }
    meta.name.clone_from(&old.name);
    meta.generate_name.clone_from(&old.generate_name);
    meta.uid.clone_from(&old.uid);
    meta.creation_timestamp.clone_from(&old.creation_timestamp);
    // A client cannot take a deletion back; one that sets its own is refused by the validation.
    if old.deletion_timestamp.is_some() {
        meta.deletion_timestamp.clone_from(&old.deletion_timestamp);
    }
    if meta.deletion_grace_period_seconds.is_none() {
        meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    }
    meta.self_link = None;
    Ok(())
}

/// `metadata` times have whole seconds.
pub fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn settle_namespace(meta: &mut ObjectMeta, kind: &Kind, context: &MetaContext<'_>) -> status::Result<()> {
    let given = meta.namespace.as_deref().unwrap_or_default();
    match kind.scope {
        Scope::Cluster => meta.namespace = None,
        Scope::Namespaced if given.is_empty() || given == context.namespace => {
            meta.namespace = Some(context.namespace.to_owned());
        }
        Scope::Namespaced => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

fn settle_name(meta: &mut ObjectMeta, context: &MetaContext<'_>) -> status::Result<()> {
    let Some(asked) = context.name else { return Ok(()) };
    match meta.name.as_deref().unwrap_or_default() {
        "" => meta.name = Some(asked.to_owned()),
        given if given == asked => {}
        given => {
            return Err(Status::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({asked})"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use serde_json::{Value, json};

    fn context(name: Option<&'static str>) -> MetaContext<'static> {
        let now = "2026-01-02T03:04:05.678Z".parse().unwrap();
        MetaContext { name, namespace: "d", now, uid: "u1", suffix: "bcdfg" }
    }

    fn check(old: Option<Value>, new: Value, name: Option<&'static str>, expected: Result<Value, (u16, &str)>) {
        let kind = KINDS.iter().find(|it| it.kind == "ConfigMap").unwrap();
        let mut meta: ObjectMeta = serde_json::from_value(new).unwrap();
        let revision = meta.resource_version.clone();
        let result = match old.map(|it| serde_json::from_value(it).unwrap()) {
            None => prepare_create(&mut meta, kind, &context(name), revision.as_deref()),
            Some(old) => prepare_update(&mut meta, &old, kind, &context(name)),
        };
        match (result, expected) {
            (Ok(()), Ok(expected)) => assert_eq!(serde_json::to_value(&meta).unwrap(), expected),
            (Err(error), Err((code, text))) => assert_eq!((error.code(), error.message.as_str()), (code, text)),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn new_objects_get_what_the_server_owns() {
        let server = json!({"namespace": "d", "uid": "u1", "creationTimestamp": "2026-01-02T03:04:05Z"});
        let with = |name: &str, generate: Option<&str>| {
            let mut out = server.clone();
            out["name"] = name.into();
            if let Some(base) = generate {
                out["generateName"] = base.into();
            }
            out
        };
        let forged = json!({"name": "a", "uid": "mine", "deletionTimestamp": "2020-01-01T00:00:00Z", "selfLink": "/x"});
        check(None, forged, None, Ok(with("a", None)));
        check(None, json!({"generateName": "a-"}), None, Ok(with("a-bcdfg", Some("a-"))));
        check(None, json!({"name": "b", "generateName": "a-"}), None, Ok(with("b", Some("a-"))));
        let long = "ä".repeat(40);
        let cut = format!("{}bcdfg", "ä".repeat(29));
        check(None, json!({"generateName": long}), None, Ok(with(&cut, Some(&long))));
        check(
            None,
            json!({"name": "a", "namespace": "other"}),
            None,
            Err((400, "the namespace of the provided object does not match the namespace sent on the request")),
        );
        check(
            None,
            json!({"name": "a", "resourceVersion": "7"}),
            None,
            Err((400, "resourceVersion should not be set on objects to be created")),
        );
    }

    #[test]
    fn updates_keep_what_the_server_owns() {
        let old = json!({"name": "a", "namespace": "d", "uid": "u0", "creationTimestamp": "2025-01-01T00:00:00Z"});
        let forged = json!({"name": "a", "creationTimestamp": "2020-01-01T00:00:00Z", "selfLink": "/x"});
        check(Some(old.clone()), forged, Some("a"), Ok(old.clone()));
        check(
            Some(old.clone()),
            json!({"name": "b"}),
            Some("a"),
            Err((400, "the name of the object (b) does not match the name on the URL (a)")),
        );
        check(
            Some(old),
            json!({"name": "a", "uid": "u9"}),
            Some("a"),
            Err((
                409,
                "Operation cannot be fulfilled on configmaps \"a\": Precondition failed: UID in precondition: u9, UID in object meta: u0",
            )),
        );
    }
}
