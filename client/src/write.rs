//! A write as data: one request that changes one object, with the preconditions under which it may.
//!
//! In: an [`Action`], made by code that decides and does not act. Out: what the server answered. The executor has no
//! choices left; a [`Refused`] says whether trying again later can help. An action prints as one line.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::key::Key;

/// How long a write may take before it counts as failed: longer than the server's own limit for one fsync, far shorter
/// than a leader's lease.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(8);

/// A kind as the API's paths name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: &'static str,
    /// For instance `v1`.
    pub version: &'static str,
    /// For instance `Pod`.
    pub kind: &'static str,
    /// For instance `pods`.
    pub plural: &'static str,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// `v1`, or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of the collection in `namespace`, which is ignored for kinds of the cluster; in all namespaces if empty.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let version = self.api_version();
        if self.namespaced && !namespace.is_empty() {
            format!("{root}/{version}/namespaces/{namespace}/{}", self.plural)
        } else {
            format!("{root}/{version}/{}", self.plural)
        }
    }
}

/// What happens to dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay, without the owner.
    Orphan,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Makes an object; `body` carries its name or `generateName`.
    Create {
        /// The kind.
        resource: Resource,
        /// Empty for kinds of the cluster.
        namespace: String,
        /// The whole object, without `apiVersion` and `kind`.
        body: Value,
    },
    /// Merges `patch` into an object (RFC 7386), if it still has this uid and, where given, this version.
    Patch {
        /// The kind.
        resource: Resource,
        /// The object.
        key: Key,
        /// `status` or another subresource.
        sub: Option<&'static str>,
        /// The object may not be another one of the same name.
        uid: String,
        /// The object may not have changed.
        revision: Option<String>,
        /// What to merge.
        patch: Value,
    },
    /// Posts `body` to a subresource, or puts it there.
    Sub {
        /// The kind.
        resource: Resource,
        /// The object.
        key: Key,
        /// The subresource.
        sub: &'static str,
        /// Whether to `PUT` instead of to `POST`.
        put: bool,
        /// What to send.
        body: Value,
    },
    /// Deletes an object, if it still has this uid and, where given, this version.
    Delete {
        /// The kind.
        resource: Resource,
        /// The object.
        key: Key,
        /// The object may not be another one of the same name.
        uid: String,
        /// The object may not have changed.
        revision: Option<String>,
        /// Seconds a pod gets to end; the object's own if absent.
        grace_seconds: Option<u32>,
        /// What happens to its dependents; what its kind says if absent.
        propagation: Option<Propagation>,
    },
    /// Deletes all objects of a kind in a namespace.
    DeleteAll {
        /// The kind, by the path of its collection.
        path: String,
    },
}

/// What an action brought about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// The object's name; the server chose it where a prefix was given.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that this write made; empty if it made none, as with an object that is gone at once.
    pub revision: String,
    /// Whether the object stays for now: it was deleted, but ends gracefully or waits for finalizers.
    pub lingers: bool,
}

/// Why a write was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such object. A deletion that meets this has its way.
    #[error("not found: {0}")]
    NotFound(String),
    /// The object is another one, or has changed, or the name is taken, or the fence fell: decide again.
    #[error("conflict: {0}")]
    Conflict(String),
    /// There is an object of that name already.
    #[error("already exists: {0}")]
    Exists(String),
    /// The object's namespace goes away; nothing can be made in it.
    #[error("the namespace is terminating: {0}")]
    Terminating(String),
    /// The server will never take this: the object is invalid, or we may not.
    #[error("{message}")]
    Never {
        /// Kubernetes' reason.
        reason: String,
        /// The server's words.
        message: String,
    },
    /// The server did not take it now; later it may.
    #[error("{0}")]
    Later(String),
}

#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: AnswerMeta,
}

#[derive(Default, Deserialize)]
struct AnswerMeta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default, rename = "resourceVersion")]
    revision: String,
    #[serde(default, rename = "deletionTimestamp")]
    deleted: Option<String>,
}

impl Action {
    /// Sends the write and waits for the answer, at most [`WRITE_TIMEOUT`].
    ///
    /// # Errors
    /// When the server refuses it or does not answer.
    pub async fn apply(&self, client: &kube::Client) -> Result<Done, Refused> {
        let request = self.request().map_err(|error| Refused::Later(error.to_string()))?;
        let answer = tokio::time::timeout(WRITE_TIMEOUT, client.request_text(request)).await;
        let text = answer.map_err(|_| Refused::Later("the server did not answer in time".to_owned()))?;
        let text = text.map_err(refused)?;
        let answer: Answer = serde_json::from_str(&text).unwrap_or_default();
        if answer.kind == "Status" {
            return Ok(Done::default());
        }
        let meta = answer.metadata;
        let gone = matches!(self, Action::Delete { .. }) && meta.deleted.is_none();
        let revision = if gone { String::new() } else { meta.revision };
        Ok(Done { name: meta.name, uid: meta.uid, revision, lingers: meta.deleted.is_some() })
    }

    /// The kind that the action writes; none for whole collections.
    pub fn resource(&self) -> Option<Resource> {
        match self {
            Action::Create { resource, .. }
            | Action::Patch { resource, .. }
            | Action::Sub { resource, .. }
            | Action::Delete { resource, .. } => Some(*resource),
            Action::DeleteAll { .. } => None,
        }
    }

    fn request(&self) -> Result<http::Request<Vec<u8>>, http::Error> {
        let (method, path, media, body) = match self {
            Action::Create { resource, namespace, body } => {
                let mut body = body.clone();
                body["apiVersion"] = resource.api_version().into();
                body["kind"] = resource.kind.into();
                (http::Method::POST, resource.path(namespace), JSON, body)
            }
            Action::Patch { resource, key, sub, uid, revision, patch } => {
                let mut patch = patch.clone();
                if !uid.is_empty() {
                    patch["metadata"]["uid"] = uid.as_str().into();
                }
                if let Some(revision) = revision {
                    patch["metadata"]["resourceVersion"] = revision.as_str().into();
                }
                (http::Method::PATCH, path(*resource, key, *sub), "application/merge-patch+json", patch)
            }
            Action::Sub { resource, key, sub, put, body } => {
                let method = if *put { http::Method::PUT } else { http::Method::POST };
                (method, path(*resource, key, Some(sub)), JSON, body.clone())
            }
            Action::Delete { resource, key, uid, revision, grace_seconds, propagation } => {
                let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
                if !uid.is_empty() {
                    options["preconditions"]["uid"] = uid.as_str().into();
                }
                if let Some(revision) = revision {
                    options["preconditions"]["resourceVersion"] = revision.as_str().into();
                }
                if let Some(grace) = grace_seconds {
                    options["gracePeriodSeconds"] = (*grace).into();
                }
                if let Some(propagation) = propagation {
                    options["propagationPolicy"] = format!("{propagation:?}").into();
                }
                (http::Method::DELETE, path(*resource, key, None), JSON, options)
            }
            Action::DeleteAll { path } => {
                let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
                (http::Method::DELETE, path.clone(), JSON, options)
            }
        };
        let request = http::Request::builder().method(method).uri(path);
        request.header("content-type", media).header("accept", JSON).body(body.to_string().into_bytes())
    }
}

const JSON: &str = "application/json";

fn path(resource: Resource, key: &Key, sub: Option<&str>) -> String {
    let object = format!("{}/{}", resource.path(key.namespace()), key.name());
    sub.map_or(object.clone(), |sub| format!("{object}/{sub}"))
}

fn refused(error: kube::Error) -> Refused {
    let kube::Error::Api(status) = error else { return Refused::Later(error.to_string()) };
    let message = status.message.clone();
    let causes = status.details.iter().flat_map(|it| &it.causes);
    if causes.into_iter().any(|it| it.reason == "NamespaceTerminating") {
        return Refused::Terminating(message);
    }
    match (status.code, status.reason.as_str()) {
        (404, _) => Refused::NotFound(message),
        (409, "AlreadyExists") => Refused::Exists(message),
        (409, _) => Refused::Conflict(message),
        (400 | 401 | 403 | 405 | 413 | 415 | 422, reason) => Refused::Never { reason: reason.to_owned(), message },
        _ => Refused::Later(message),
    }
}

/// One line: the verb, the object, and what is written.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Create { resource, namespace, body } => {
                let meta = &body["metadata"];
                let generated = || meta["generateName"].as_str().map(|it| format!("{it}*"));
                let name = meta["name"].as_str().map(str::to_owned).or_else(generated).unwrap_or_default();
                write!(f, "create {} {} {}", resource.plural, Key::new(namespace, &name), body)
            }
            Action::Patch { resource, key, sub, patch, revision, .. } => {
                let sub = sub.map(|it| format!("/{it}")).unwrap_or_default();
                let at = revision.as_ref().map(|it| format!(" at {it}")).unwrap_or_default();
                write!(f, "patch {}{sub} {key}{at} {patch}", resource.plural)
            }
            Action::Sub { resource, key, sub, put, body } => {
                write!(f, "{} {}/{sub} {key} {body}", if *put { "put" } else { "post" }, resource.plural)
            }
            Action::Delete { resource, key, uid, revision, grace_seconds, propagation } => {
                write!(f, "delete {} {key} uid={uid}", resource.plural)?;
                if let Some(revision) = revision {
                    write!(f, " at {revision}")?;
                }
                if let Some(grace) = grace_seconds {
                    write!(f, " grace={grace}")?;
                }
                propagation.map_or(Ok(()), |it| write!(f, " propagation={it:?}"))
            }
            Action::DeleteAll { path } => write!(f, "delete all {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: Resource = Resource { group: "", version: "v1", kind: "Pod", plural: "pods", namespaced: true };
    const SETS: Resource =
        Resource { group: "apps", version: "v1", kind: "ReplicaSet", plural: "replicasets", namespaced: true };

    #[test]
    fn requests_carry_their_preconditions() {
        let key = Key::new("a", "web");
        let delete = Action::Delete {
            resource: PODS,
            key: key.clone(),
            uid: "u".into(),
            revision: None,
            grace_seconds: Some(0),
            propagation: Some(Propagation::Background),
        };
        let request = delete.request().unwrap();
        assert_eq!((request.method().as_str(), request.uri().path()), ("DELETE", "/api/v1/namespaces/a/pods/web"));
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["preconditions"], json!({ "uid": "u" }));
        assert_eq!((&body["gracePeriodSeconds"], &body["propagationPolicy"]), (&json!(0), &json!("Background")));

        let patch = Action::Patch {
            resource: SETS,
            key,
            sub: Some("status"),
            uid: "u".into(),
            revision: Some("7".into()),
            patch: json!({ "status": { "replicas": 1 } }),
        };
        let request = patch.request().unwrap();
        assert_eq!(request.uri().path(), "/apis/apps/v1/namespaces/a/replicasets/web/status");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["metadata"], json!({ "uid": "u", "resourceVersion": "7" }));
        assert_eq!(patch.to_string(), r#"patch replicasets/status a/web at 7 {"status":{"replicas":1}}"#);
    }
}
