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
use orlop_api::draft::Draft;
use orlop_api::kind::{Admitted, Kind, Part, Sub, Write};
use orlop_api::status::{self, Reason, Status};
use parking_lot::Mutex;

use crate::aside::Aside;
use crate::authorize::rbac::Rule;
use crate::quota::Charge;
use crate::request::{Request, Verb};

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
    /// When the certificate was made. None without one.
    pub issued: Option<jiff::Timestamp>,
    /// Until when it proves that: connections may outlive certificates. None in process.
    pub expires: Option<jiff::Timestamp>,
    /// Why the certificate that was shown proves nothing, if one was.
    pub refused: Option<String>,
}

/// Whose a token is, and for which of the wanted audiences it is good.
pub type Reviewed = (Arc<Identity>, Vec<String>);

/// Finds out who asks.
pub trait Authenticator: Send + Sync {
    /// The identity behind the credentials; none if there are none that this authenticator knows.
    ///
    /// # Errors
    /// When there are credentials and they are no good: the text is for the log, the client reads `Unauthorized`.
    fn authenticate(&self, headers: &http::HeaderMap, peer: &Peer) -> Result<Option<Arc<Identity>>, String>;

    /// Whose token this is, and for which of these audiences it is good; none if nobody here knows it.
    ///
    /// # Errors
    /// Why it is no good, for whoever asks for the review.
    fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Reviewed>, String>;
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
    /// The text of `labelSelector`, likewise.
    pub label_selector: &'a str,
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
    /// A connection to what runs in the cluster; nothing is written.
    Connect,
}

/// What admission plugins know of a write.
#[derive(Debug)]
pub struct Admission<'a> {
    pub identity: &'a Identity,
    pub operation: Operation,
    pub kind: &'static Kind,
    pub sub: Option<Sub>,
    pub namespace: &'a str,
    /// Empty while a generated name is not yet known.
    pub name: &'a str,
    pub dry_run: bool,
    /// The object as it stands, as clients read it; none for a creation.
    pub old: Option<&'a [u8]>,
    /// What the request is about, where that is no form of the stored object.
    pub aside: Option<&'a Aside>,
    /// What was asked for, with its options; none where the server itself writes.
    pub request: Option<&'a Request>,
    /// What plugins have to say besides yes and no.
    pub notes: Notes,
}

impl Admission<'_> {
    /// The subresource's name; empty for the resource itself.
    pub fn subresource(&self) -> &'static str {
        self.aside.map_or_else(|| self.sub.map_or("", Sub::segment), |it| it.subresource)
    }
}

/// What plugins have to say of a write that they let pass.
#[derive(Debug, Default)]
pub struct Notes {
    warnings: Mutex<Vec<String>>,
    annotations: Mutex<BTreeMap<String, String>>,
    charge: Mutex<Option<Charge>>,
    rerun: Mutex<Rerun>,
}

/// What is remembered of mutating webhooks, so that plugins can run once more after a change.
#[derive(Debug, Default)]
struct Rerun {
    wanted: bool,
    running: bool,
    /// What each webhook left of the object.
    left: BTreeMap<String, serde_json::Value>,
}

impl Notes {
    /// Warns the client: the text becomes a `Warning` header.
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.lock().push(text.into());
    }

    /// Notes something for the audit record, under a key that nobody else uses.
    pub fn annotate(&self, key: impl Into<String>, text: impl Into<String>) {
        self.annotations.lock().insert(key.into(), text.into());
    }

    /// Asks for another run of the plugins, since the object was changed by somebody outside.
    pub fn run_again(&self) {
        self.rerun.lock().wanted = true;
    }

    /// Whether this is that other run.
    pub fn runs_again(&self) -> bool {
        self.rerun.lock().running
    }

    /// Remembers what a webhook left of the object.
    pub fn leave(&self, webhook: &str, object: serde_json::Value) {
        self.rerun.lock().left.insert(webhook.to_owned(), object);
    }

    /// What a webhook left of the object.
    pub fn left_by(&self, webhook: &str) -> Option<serde_json::Value> {
        self.rerun.lock().left.get(webhook).cloned()
    }

    /// Begins the other run, if one is wanted and this is the first.
    fn begin_again(&self) -> bool {
        let mut rerun = self.rerun.lock();
        let begins = rerun.wanted && !rerun.running;
        rerun.running |= begins;
        begins
    }

    /// Keeps what was charged to quotas until the write is done.
    pub fn hold(&self, charge: Charge) {
        *self.charge.lock() = Some(charge);
    }

    /// Writes the audit record's annotations into the log: there is no other record as yet.
    fn record(&self, operation: Operation, kind: &Kind, namespace: &str, name: &str) {
        for (key, text) in self.annotations.lock().iter() {
            tracing::info!(target: "audit", ?operation, ?kind, namespace, name, key, text, "admission");
        }
    }
}

/// What validating plugins judge: the object as it would be stored. There is none where one is deleted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// Its bytes.
    pub json: Option<&'a [u8]>,
    /// The same, decoded, with the old object.
    pub draft: Option<&'a Draft<'a>>,
}

/// One rule of admission. A plugin is asked first, without waiting, whether a write is any of its business: most have none with most.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// As Kubernetes names it: `NamespaceLifecycle`.
    fn name(&self) -> &'static str;

    /// Whether it is asked about what is no form of a stored object, too ([`Aside`]): nobody is who does not say so.
    fn sees_asides(&self) -> bool {
        false
    }

    /// Whether [`Plugin::admit`] wants to see such writes.
    fn admits(&self, _write: &Admission<'_>) -> bool {
        false
    }

    /// Changes the object before its kind prepares and checks it, or refuses the write. There is no draft where an object is deleted.
    ///
    /// # Errors
    /// The refusal, as the client reads it.
    async fn admit(&self, _write: &Admission<'_>, _draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        Ok(())
    }

    /// Whether [`Plugin::validate`] wants to see such writes.
    fn validates(&self, _write: &Admission<'_>) -> bool {
        false
    }

    /// Refuses what may not be.
    ///
    /// # Errors
    /// The refusal, as the client reads it.
    async fn validate(&self, _write: &Admission<'_>, _subject: Subject<'_>) -> status::Result<()> {
        Ok(())
    }
}

/// Records in an object, when it is decoded and nobody else has changed it, who manages which of its fields.
pub trait Managers: Send + Sync {
    /// Records this write.
    ///
    /// # Errors
    /// Where the record cannot be made.
    fn record(&self, draft: &mut Draft<'_>) -> status::Result<()>;
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
    /// What quotas were charged for it.
    charge: Option<Charge>,
}

impl Approved {
    /// What is to be stored.
    pub fn object(&self) -> &Admitted {
        &self.admitted
    }

    /// What was stored: what it was charged for stands.
    pub fn into_object(self) -> Admitted {
        if let Some(charge) = self.charge {
            charge.stored();
        }
        self.admitted
    }
}

/// A deletion that all plugins let pass.
#[derive(Debug)]
pub struct ApprovedDeletion {
    warnings: Vec<String>,
}

impl ApprovedDeletion {
    /// What they have to say to the client.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

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

/// Asks whether they may do what was authorized under another verb, too.
///
/// # Errors
/// `Forbidden`, in Kubernetes' words.
pub fn authorize_as(it: &Authorized, verb: Verb, by: &dyn Authorizer) -> status::Result<()> {
    if it.request.verb == verb {
        return Ok(());
    }
    let attributes = Attributes { verb: verb.as_str(), ..attributes(&it.identity, &it.request) };
    match by.authorize(&attributes) {
        Decision::Allow => Ok(()),
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
        label_selector: &request.options.label_selector,
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

/// Runs the plugins and the kind's own rules, in Kubernetes' order: decode and default, record who manages the fields, admit, prepare and
/// check, validate.
///
/// # Errors
/// The first refusal.
pub async fn approve(
    plugins: &[Arc<dyn Plugin>],
    about: Admission<'_>,
    write: Write<'_>,
    managers: Option<&dyn Managers>,
) -> status::Result<Approved> {
    let mut draft = about.kind.draft(write)?;
    if let Some(managers) = managers {
        managers.record(&mut draft)?;
    }
    // A refusal names the object, whose name may stand in its body only.
    let given = if about.name.is_empty() { draft.name().to_owned() } else { String::new() };
    let name = if about.name.is_empty() { given.as_str() } else { about.name };
    let about = Admission { name, ..about };
    loop {
        for plugin in plugins.iter().filter(|it| it.admits(&about)) {
            plugin.admit(&about, Some(&mut draft)).await?;
        }
        if !about.notes.begin_again() {
            break;
        }
    }
    let mut admitted = draft.finish()?;
    // By now also a generated name is known.
    let about = Admission { name: &admitted.name, ..about };
    let subject = Subject { json: Some(&admitted.json), draft: Some(&draft) };
    for plugin in plugins.iter().filter(|it| it.validates(&about)) {
        plugin.validate(&about, subject).await?;
    }
    about.notes.record(about.operation, about.kind, about.namespace, about.name);
    let notes = about.notes;
    admitted.warnings.append(&mut notes.warnings.into_inner());
    Ok(Approved { admitted, charge: notes.charge.into_inner() })
}

/// Runs the plugins over a deletion.
///
/// # Errors
/// The first refusal.
pub async fn approve_deletion(plugins: &[Arc<dyn Plugin>], about: Admission<'_>) -> status::Result<ApprovedDeletion> {
    for plugin in plugins.iter().filter(|it| it.admits(&about)) {
        plugin.admit(&about, None).await?;
    }
    for plugin in plugins.iter().filter(|it| it.validates(&about)) {
        plugin.validate(&about, Subject::default()).await?;
    }
    about.notes.record(about.operation, about.kind, about.namespace, about.name);
    Ok(ApprovedDeletion { warnings: about.notes.warnings.into_inner() })
}

/// Runs over what is no form of a stored object those plugins that look at such things. What they have changed stands in the aside; what
/// they have to say to the client is given.
///
/// # Errors
/// The first refusal.
pub async fn approve_aside(plugins: &[Arc<dyn Plugin>], about: Admission<'_>) -> status::Result<Vec<String>> {
    loop {
        for plugin in plugins.iter().filter(|it| it.sees_asides() && it.admits(&about)) {
            plugin.admit(&about, None).await?;
        }
        if !about.notes.begin_again() {
            break;
        }
    }
    for plugin in plugins.iter().filter(|it| it.sees_asides() && it.validates(&about)) {
        plugin.validate(&about, Subject::default()).await?;
    }
    about.notes.record(about.operation, about.kind, about.namespace, about.name);
    Ok(about.notes.warnings.into_inner())
}

/// The part of an object that a subresource owns.
pub fn part_of(sub: Option<Sub>) -> Part {
    match sub {
        Some(Sub::Status) => Part::Status,
        Some(Sub::Finalize) => Part::Finalize,
        Some(Sub::Binding) => Part::Binding,
        Some(Sub::Approval) => Part::Approval,
        Some(Sub::EphemeralContainers) => Part::EphemeralContainers,
        Some(Sub::Resize) => Part::Resize,
        _ => Part::Main,
    }
}
