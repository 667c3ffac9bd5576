//! The stages of the way in, as types: each can only be had from the one before it.
//!
//! [`Request`] → [`Authenticated`] → [`Authorized`] → (fairness) → [`Approved`]. The constructors are private to this file, so
//! that a verb, which takes an [`Authorized`], cannot be reached by a request that nobody authorized, and a commit, which takes
//! an [`Approved`], cannot store an object that admission did not see. Who decides are the traits below; the words in which a
//! refusal is told are here, because they are Kubernetes' and the same for every decider.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use orlop_api::json::{self, Strictness};
use orlop_api::kind::{Admitted, Body, Kind, Part, Sub, Write};
use orlop_api::status::{self, Reason, Status};
use serde_json::Value;

use crate::authorize::rbac::Rule;
use crate::request::Request;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// A user of these groups; everyone known is of `system:authenticated` too.
    pub fn new(user: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|it| (*it).to_owned()).collect();
        if !groups.iter().any(|it| it == "system:authenticated") {
            groups.push("system:authenticated".to_owned());
        }
        Identity { user: user.to_owned(), groups, ..Identity::default() }
    }

    /// One who brought no credentials.
    pub fn anonymous() -> Self {
        Identity {
            user: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Identity::default()
        }
    }

    /// Whether the user is of this group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|it| it == group)
    }
}

/// What the connection tells of the one at its other end. The listener puts it into the extensions of every HTTP request, as
/// `Arc<Peer>`; a client bound in process brings one with its identity.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// None in process.
    pub address: Option<SocketAddr>,
    /// What the TLS handshake proved, by a certificate of the cluster's CA; made once a connection.
    pub identity: Option<Arc<Identity>>,
    /// Until when it proves that: connections may outlive certificates. None in process.
    pub expires: Option<jiff::Timestamp>,
    /// Why the certificate that was shown proves nothing, if one was.
    pub refused: Option<String>,
}

/// Finds out who asks.
pub trait Authenticator: Send + Sync {
    /// The identity behind the credentials; none if there are none that this authenticator knows.
    ///
    /// # Errors
    /// When there are credentials and they are no good: the text is for the log, the client reads `Unauthorized`.
    fn authenticate(&self, headers: &http::HeaderMap, peer: &Peer) -> Result<Option<Arc<Identity>>, String>;
}

/// What is asked for, as authorizers see it.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    pub identity: &'a Identity,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other paths the method in small letters.
    pub verb: &'a str,
    /// Whether a resource is asked for; else only `path` counts.
    pub resource_request: bool,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: &'a str,
    /// The text of `fieldSelector`, which may narrow what is listed or watched to what the user may see.
    pub field_selector: &'a str,
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Refused, whatever others say.
    Deny(String),
    /// Not for this authorizer to allow; the text, if any, is added to the refusal.
    NoOpinion(String),
}

/// What someone may do, as far as rules say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub rules: Vec<Rule>,
    /// Why there may be more than the rules say; empty if there is not.
    pub incomplete: String,
}

/// Decides who may do what.
pub trait Authorizer: Send + Sync {
    /// Decides from what is in memory: it never waits.
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// The rules by which someone may do things in a namespace, as far as this authorizer goes by rules.
    fn rules(&self, _identity: &Identity, _namespace: &str) -> Rules {
        Rules::default()
    }
}

/// What a write does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// What admission plugins know of a write.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    pub identity: &'a Identity,
    pub operation: Operation,
    pub kind: &'static Kind,
    pub sub: Option<Sub>,
    pub namespace: &'a str,
    /// Empty while a generated name is not yet known.
    pub name: &'a str,
    pub dry_run: bool,
}

/// One rule of admission.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// As Kubernetes names it: `NamespaceLifecycle`.
    fn name(&self) -> &'static str;

    /// Refuses writes for where and by whom they are made, before anyone looks at the object: in Kubernetes these plugins run with those that
    /// change objects, so that their refusals come before a kind's.
    ///
    /// # Errors
    /// The refusal, as the client reads it.
    async fn admit(&self, _write: &Admission<'_>) -> status::Result<()> {
        Ok(())
    }

    /// Whether [`Plugin::mutate`] wants to see such writes. Only then is the object decoded for it.
    fn mutates(&self, _write: &Admission<'_>) -> bool {
        false
    }

    /// Changes the object before its kind defaults and validates it.
    ///
    /// # Errors
    /// The refusal, as the client reads it.
    async fn mutate(&self, _write: &Admission<'_>, _object: &mut Value) -> status::Result<()> {
        Ok(())
    }

    /// Refuses what may not be. `object` is the object as it would be stored (none for a deletion), `old` as it stands.
    ///
    /// # Errors
    /// The refusal, as the client reads it.
    async fn validate(
        &self,
        _write: &Admission<'_>,
        _object: Option<&[u8]>,
        _old: Option<&[u8]>,
    ) -> status::Result<()> {
        Ok(())
    }
}

/// Serves a subresource that is no view of the stored object: `pods/log`, `serviceaccounts/token`.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Which subresource of which kind (by plural name).
    fn serves(&self) -> (&'static str, Sub);

    /// Answers; `body` is the request's, read within its limit.
    ///
    /// # Errors
    /// As the client reads it.
    async fn connect(&self, request: &Authorized, body: Bytes) -> status::Result<crate::present::Response>;
}

/// A request of somebody known.
#[derive(Debug)]
pub struct Authenticated {
    request: Request,
    identity: Arc<Identity>,
}

impl Authenticated {
    /// Who asks.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// What for.
    pub fn request(&self) -> &Request {
        &self.request
    }
}

/// A request that may be served.
#[derive(Debug)]
pub struct Authorized {
    request: Request,
    identity: Arc<Identity>,
}

impl Authorized {
    /// Who asks.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// What for.
    pub fn request(&self) -> &Request {
        &self.request
    }
}

/// An object that may be committed: its kind has admitted it, and so have all plugins.
#[derive(Debug)]
pub struct Approved {
    admitted: Admitted,
}

impl Approved {
    /// What is to be stored.
    pub fn object(&self) -> &Admitted {
        &self.admitted
    }

    /// What was stored.
    pub fn into_object(self) -> Admitted {
        self.admitted
    }
}

/// A deletion that all plugins let pass.
#[derive(Debug)]
pub struct ApprovedDeletion(());

/// Finds out who asks. Who brings nothing is anonymous.
///
/// # Errors
/// `Unauthorized` for credentials that are no good.
pub fn authenticate(request: Request, peer: &Peer, by: &dyn Authenticator) -> status::Result<Authenticated> {
    match by.authenticate(&request.headers, peer) {
        Ok(Some(identity)) => Ok(Authenticated { request, identity }),
        Ok(None) => Ok(Authenticated { request, identity: Arc::new(Identity::anonymous()) }),
        Err(why) => {
            tracing::info!(path = %request.path, peer = ?peer.address, %why, "credentials were refused");
            Err(Status::unauthorized())
        }
    }
}

/// Lets them act as somebody else, if they ask for it and may.
///
/// # Errors
/// `Forbidden`, in Kubernetes' words.
pub fn impersonate(it: Authenticated, by: &dyn Authorizer) -> status::Result<Authenticated> {
    match crate::impersonate::asked(&it.request.headers, &it.identity, by)? {
        None => Ok(it),
        Some(identity) => Ok(Authenticated { request: it.request, identity: Arc::new(identity) }),
    }
}

/// Asks whether they may.
///
/// # Errors
/// `Forbidden`, in Kubernetes' words.
pub fn authorize(it: Authenticated, by: &dyn Authorizer) -> status::Result<Authorized> {
    let attributes = attributes(&it.identity, &it.request);
    match by.authorize(&attributes) {
        Decision::Allow => Ok(Authorized { request: it.request, identity: it.identity }),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(refusal(&attributes, &why)),
    }
}

/// The request as authorizers see it.
pub fn attributes<'a>(identity: &'a Identity, request: &'a Request) -> Attributes<'a> {
    Attributes {
        identity,
        verb: request.verb.as_str(),
        resource_request: request.is_resource(),
        group: &request.group,
        version: &request.version,
        resource: &request.resource,
        subresource: &request.subresource,
        namespace: &request.namespace,
        name: &request.name,
        path: &request.path,
        field_selector: &request.options.field_selector,
    }
}

/// The `Forbidden` that answers what was not allowed.
pub fn refusal(it: &Attributes<'_>, why: &str) -> Status {
    let user = &it.identity.user;
    if !it.resource_request {
        let mut text = format!("forbidden: User \"{user}\" cannot {} path \"{}\"", it.verb, it.path);
        if !why.is_empty() {
            text.push_str(": ");
            text.push_str(why);
        }
        return Status::new(Reason::Forbidden, text).with_details(status::Details::default());
    }
    let mut resource = it.resource.to_owned();
    if !it.subresource.is_empty() {
        resource.push('/');
        resource.push_str(it.subresource);
    }
    let mut text = format!("User \"{user}\" cannot {} resource \"{resource}\" in API group \"{}\"", it.verb, it.group);
    match it.namespace {
        "" => text.push_str(" at the cluster scope"),
        namespace => text.push_str(&format!(" in the namespace \"{namespace}\"")),
    }
    if !why.is_empty() {
        text.push_str(": ");
        text.push_str(why);
    }
    Status::forbidden(it.group, it.resource, it.name, &text)
}

/// Runs the plugins and the kind's own rules: mutate, then [`Kind::admit`], then validate.
///
/// # Errors
/// The first refusal.
pub async fn approve(
    plugins: &[Arc<dyn Plugin>],
    about: &Admission<'_>,
    mut write: Write<'_>,
) -> status::Result<Approved> {
    for plugin in plugins {
        if let Err(refusal) = plugin.admit(about).await {
            // A refusal names the object, whose name may stand in its body only.
            let name = if about.name.is_empty() { name_in(&write.new) } else { String::new() };
            if name.is_empty() {
                return Err(refusal);
            }
            return Err(plugin.admit(&Admission { name: &name, ..about.clone() }).await.err().unwrap_or(refusal));
        }
    }
    let mutating: Vec<&Arc<dyn Plugin>> = plugins.iter().filter(|it| it.mutates(about)).collect();
    // Strict field validation needs the client's own text; a value that plugins changed has lost its duplicates.
    let mut warnings = Vec::new();
    if !mutating.is_empty() {
        let mut value = match write.new {
            Body::Value(value) => value,
            Body::Bytes(bytes) => {
                warnings = duplicates(about.kind, bytes, write.strictness)?;
                serde_json::from_slice(bytes).map_err(|error| {
                    let kind = about.kind;
                    Status::bad_request(format!(
                        "{} in version \"{}\" cannot be handled as a {}: json: {error}",
                        kind.kind, kind.version, kind.kind
                    ))
                })?
            }
        };
        for plugin in mutating {
            plugin.mutate(about, &mut value).await?;
        }
        write.new = Body::Value(value);
    }
    let old = write.old;
    let mut admitted = about.kind.admit(write)?;
    warnings.append(&mut admitted.warnings);
    admitted.warnings = warnings;
    // By now also a generated name is known.
    let named = Admission { name: &admitted.name, ..about.clone() };
    for plugin in plugins {
        plugin.validate(&named, Some(&admitted.json), old).await?;
    }
    Ok(Approved { admitted })
}

/// The name that a body gives its object.
fn name_in(body: &Body<'_>) -> String {
    let name = |value: &Value| value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    match body {
        Body::Value(value) => name(value),
        Body::Bytes(bytes) => serde_json::from_slice(bytes).map_or_else(|_| String::new(), |it| name(&it)),
    }
}

/// The fields that stand twice in a body, as warnings or as the refusal that `Strict` asks for.
fn duplicates(kind: &Kind, bytes: &[u8], strictness: Strictness) -> status::Result<Vec<String>> {
    if strictness == Strictness::Ignore {
        return Ok(Vec::new());
    }
    let found = json::duplicates(bytes);
    if strictness == Strictness::Strict && !found.is_empty() {
        return Err(Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
            kind.kind,
            kind.version,
            kind.kind,
            found.join(", ")
        )));
    }
    Ok(found)
}

/// Runs the plugins over a deletion.
///
/// # Errors
/// The first refusal.
pub async fn approve_deletion(
    plugins: &[Arc<dyn Plugin>],
    about: &Admission<'_>,
    old: Option<&[u8]>,
) -> status::Result<ApprovedDeletion> {
    for plugin in plugins {
        plugin.admit(about).await?;
        plugin.validate(about, None, old).await?;
    }
    Ok(ApprovedDeletion(()))
}

/// The part of an object that a subresource owns.
pub fn part_of(sub: Option<Sub>) -> Part {
    match sub {
        Some(Sub::Status) => Part::Status,
        Some(Sub::Finalize) => Part::Finalize,
        Some(Sub::Binding) => Part::Binding,
        _ => Part::Main,
    }
}
