//! Writes: the compare-and-set loop, and the only place that commits to the store.
//!
//! In: an object that admission has [`Approved`], or a way to make one from what stands. Out: what was [`Written`]. The old object
//! comes from the cache, which may be a moment behind: whatever a refusal rests on is looked up in the store before it is told, and
//! a commit that finds another state tries again with that state, unless the client named the state it meant.

use std::sync::Arc;

use bytes::Bytes;
use http::header::USER_AGENT;
use orlop_api::draft::Draft;
use orlop_api::head;
use orlop_api::json::Strictness;
use orlop_api::kind::{Body, Kind, Part, Sub, Write};
use orlop_api::managed;
use orlop_api::meta::{self, MetaContext};
use orlop_api::status::{self, Status};
use orlop_client::{clock, random};
use orlop_store::{Commit, Entry, Expect, Revision, StoreError};
use serde_json::Value;

use crate::cache::Object;
use crate::convert;
use crate::core::{Core, unavailable};
use crate::request::Request;
use crate::service_addresses::Claims;
use crate::stage::{self, Admission, Approved, ApprovedDeletion, Authorized, Managers, Notes, Operation};
use crate::verbs::scale;

/// How often a write without a resource version begins anew when others were faster: with 100 writers on one object, each
/// loses at most to the 99 others.
const RETRIES_MAX: usize = 100;

/// The most bytes of a key and its object as it is stored: etcd's 1.5 MiB for a request, less room for what encryption and the request itself
/// add. It holds over every engine, so that what one took can move to another.
const STORED_BYTES_MAX: usize = (3 << 19) - 2048;

/// How often a generated name is drawn anew, as Kubernetes does (KEP-4420).
const NAME_RETRIES_MAX: usize = 8;

/// What a write has done.
#[derive(Clone, Debug)]
pub struct Written {
    pub kind: &'static Kind,
    pub key: Arc<str>,
    pub revision: u64,
    /// The object as clients read it.
    pub json: Bytes,
    pub warnings: Vec<String>,
    pub created: bool,
    /// Whether the write took the last finalizer away, so that the object is gone.
    pub deleted: bool,
}

impl Written {
    /// The object with its head, for the forms that need one.
    ///
    /// # Errors
    /// When the bytes have no head, which [`Kind::admit`] excludes.
    pub fn object(&self) -> status::Result<Arc<Object>> {
        let made = Object::served(self.kind, self.key.clone(), self.revision, self.json.clone());
        made.map(Arc::new).map_err(Status::internal)
    }
}

/// Makes the new state of an object from the old one.
pub trait Change: Send + Sync {
    /// The new state.
    ///
    /// # Errors
    /// When it cannot be made of this old state.
    fn apply<'a>(&'a self, old: &Object) -> status::Result<Body<'a>>;
}

/// One write to one object.
pub struct Writer<'a> {
    pub core: &'a Core,
    pub who: &'a Authorized,
    pub kind: &'static Kind,
    /// Empty for kinds without namespaces.
    pub namespace: &'a str,
    /// Empty for creations, whose name stands in the object.
    pub name: &'a str,
    pub sub: Option<Sub>,
    pub dry_run: bool,
    pub strictness: Strictness,
    /// Whether the write is the server's own, in the course of a request for something else: it then is recorded as the server's.
    pub by_server: bool,
}

/// The name under which the server's own writes are recorded.
const SERVER: &str = "kube-apiserver";

/// Records a request as the writer of an object.
pub struct Recorder {
    manager: String,
    subresource: &'static str,
    now: String,
    unowned: Option<String>,
}

impl Recorder {
    /// The writer that a request names: its `fieldManager`, or what its user agent begins with.
    pub fn of(request: &Request, sub: Option<Sub>) -> Self {
        let manager = match request.options.field_manager.as_str() {
            "" => {
                let agent = request.headers.get(USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or_default();
                managed::manager_of(agent)
            }
            given => given.to_owned(),
        };
        let now = meta::whole_seconds(clock::now()).to_string();
        Recorder { manager, subresource: sub.map_or("", Sub::segment), now, unowned: None }
    }

    /// As the record takes it.
    pub fn writer(&self) -> managed::Writer<'_> {
        managed::Writer {
            manager: &self.manager,
            subresource: self.subresource,
            now: &self.now,
            unowned: self.unowned.as_deref(),
        }
    }
}

impl Managers for Recorder {
    fn record(&self, draft: &mut Draft<'_>) -> status::Result<()> {
        draft.record(&self.writer())
    }
}

/// The old state, and whether it is known to be the store's.
struct Standing {
    object: Arc<Object>,
    fresh: bool,
}

/// How one turn at a change ends, unless with a refusal.
enum Turn {
    Written(Written),
    /// It rested on a state that is past: this is what stands now.
    Passed(Standing),
}

impl<'a> Writer<'a> {
    /// A writer of what the request names.
    pub fn new(core: &'a Core, who: &'a Authorized, kind: &'static Kind, sub: Option<Sub>) -> Self {
        let request = who.request();
        Writer {
            core,
            who,
            kind,
            namespace: request.object_namespace(),
            name: &request.name,
            sub,
            dry_run: request.options.dry_run,
            strictness: request.options.strictness,
            by_server: false,
        }
    }

    fn about<'b>(&'b self, operation: Operation, old: Option<&'b Object>) -> Admission<'b> {
        Admission {
            identity: self.who.identity(),
            operation,
            kind: self.kind,
            sub: self.sub,
            namespace: self.namespace,
            name: self.name,
            dry_run: self.dry_run,
            old: old.map(|it| &*it.json),
            aside: None,
            request: Some(self.who.request()),
            notes: Notes::default(),
        }
    }

    /// Creates an object under its own or a generated name.
    ///
    /// # Errors
    /// What admission refuses, and `AlreadyExists`.
    pub async fn create(&self, body: Body<'_>) -> status::Result<Written> {
        let generated = self.name.is_empty() && !names_itself(&body);
        let mut claims = self.core.addresses.begin(self.kind, self.dry_run);
        let before = self.core.addresses.watched(self.kind, &body);
        let body = claims.claim_for_new(&self.core.store, self.namespace, body).await?;
        let recorder = self.recorder(&body, before.as_ref());
        let mut outcome = self.create_once(&body, recorder.as_ref()).await;
        if generated {
            for _ in 1..NAME_RETRIES_MAX {
                if !matches!(&outcome, Err(it) if it.reason == status::Reason::AlreadyExists) {
                    break;
                }
                outcome = self.create_once(&body, recorder.as_ref()).await;
            }
        }
        match outcome {
            Ok(written) => {
                claims.keep();
                Ok(written)
            }
            Err(refusal) => {
                claims.refused(&self.core.store, &refusal).await;
                Err(refusal)
            }
        }
    }

    async fn create_once(&self, body: &Body<'_>, recorder: Option<&Recorder>) -> status::Result<Written> {
        let (uid, suffix) = (random::uid(), random::suffix());
        let write = Write {
            part: Part::Main,
            new: body.clone(),
            old: None,
            meta: MetaContext {
                name: (!self.name.is_empty()).then_some(self.name),
                namespace: self.namespace,
                now: clock::now(),
                uid: &uid,
                suffix: &suffix,
            },
            strictness: self.strictness,
        };
        let by = recorder.map(|it| it as &dyn Managers);
        let approved = stage::approve(&self.core.plugins, self.about(Operation::Create, None), write, by).await?;
        let name = approved.object().name.clone();
        let key: Arc<str> = self.kind.key(self.namespace, &name).into();
        let stored = convert::to_stored(self.core, self.kind, &approved.object().json).await?.into_owned();
        match self.commit(&key, Expect::Absent, &approved, stored).await {
            Ok(revision) => self.written(key, revision, approved, true),
            Err(StoreError::Mismatch { current }) => {
                let mut status = Status::already_exists(self.kind.group, self.kind.names.plural, &name);
                let standing = match current {
                    Some(entry) => self.decoded(&entry).await.ok(),
                    None => None,
                };
                if standing.is_some_and(|it| it.head.deleting) {
                    status.message.insert_str(0, "object is being deleted: ");
                }
                Err(status)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Changes the object until the change is committed or refused.
    ///
    /// # Errors
    /// `NotFound`, what the change or admission refuse, and `Conflict` where the client meant another state.
    pub async fn update(&self, part: Part, change: &dyn Change) -> status::Result<Written> {
        let key: Arc<str> = self.kind.key(self.namespace, self.name).into();
        let mut standing = self.standing(&key).await?;
        for _ in 0..RETRIES_MAX {
            let mut claims = self.core.addresses.begin(self.kind, self.dry_run);
            match self.update_once(&key, part, change, &standing, &mut claims).await {
                Ok(Turn::Written(written)) => {
                    claims.keep();
                    return Ok(written);
                }
                Ok(Turn::Passed(now)) => {
                    claims.release(&self.core.store).await;
                    standing = now;
                }
                Err(refusal) => {
                    claims.refused(&self.core.store, &refusal).await;
                    return Err(refusal);
                }
            }
        }
        Err(Status::modified(self.kind.group, self.kind.names.plural, self.name))
    }

    async fn update_once(
        &self,
        key: &Arc<str>,
        part: Part,
        change: &dyn Change,
        standing: &Standing,
        claims: &mut Claims,
    ) -> status::Result<Turn> {
        let old = &standing.object;
        let approved = match self.approve_change(part, change, old, claims).await {
            Ok(approved) => approved,
            Err(refusal) if standing.fresh => return Err(refusal),
            Err(refusal) => {
                // It may rest on a state that is already past.
                let now = self.look_up(key).await?;
                return if now.object.revision == old.revision { Err(refusal) } else { Ok(Turn::Passed(now)) };
            }
        };
        let admitted = approved.object();
        if let Some(expected) = &admitted.expected_revision
            && *expected != old.revision.to_string()
        {
            is_number(expected)?;
            if !standing.fresh {
                return Ok(Turn::Passed(self.look_up(key).await?));
            }
            return Err(Status::modified(self.kind.group, self.kind.names.plural, self.name));
        }
        let unchanged = !admitted.releasable
            && !self.core.store.is_stale(key, Revision(old.revision))
            && head::with_revision(&admitted.json, old.revision)
                .is_ok_and(|it| it == old.json || (old.head.deleting && same(&it, &old.json)));
        if unchanged {
            if !standing.fresh {
                let now = self.look_up(key).await?;
                if now.object.revision != old.revision {
                    return Ok(Turn::Passed(now));
                }
            }
            return self.written(key.clone(), Revision(old.revision), approved, false).map(Turn::Written);
        }
        let pinned = admitted.expected_revision.is_some();
        let stored = convert::to_stored(self.core, self.kind, &admitted.json).await?.into_owned();
        match self.commit(key, Expect::At(Revision(old.revision)), &approved, stored).await {
            Ok(revision) => {
                let admitted = approved.object();
                if admitted.releasable && !self.dry_run {
                    self.core.addresses.released(&self.core.store, self.kind, old).await;
                } else if !self.dry_run {
                    self.core.addresses.given_up(&self.core.store, self.kind, old, &admitted.json).await;
                }
                self.written(key.clone(), revision, approved, false).map(Turn::Written)
            }
            Err(StoreError::Mismatch { current: None }) => Err(self.not_found()),
            Err(StoreError::Mismatch { current: Some(_) }) if pinned => {
                Err(Status::modified(self.kind.group, self.kind.names.plural, self.name))
            }
            Err(StoreError::Mismatch { current: Some(entry) }) => {
                Ok(Turn::Passed(Standing { object: self.decoded(&entry).await?, fresh: true }))
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn approve_change(
        &self,
        part: Part,
        change: &dyn Change,
        old: &Object,
        claims: &mut Claims,
    ) -> status::Result<Approved> {
        let given = change.apply(old)?;
        let before = self.core.addresses.watched(self.kind, &given);
        let new = self.core.addresses.for_update(&self.core.store, old, given, claims).await?;
        let recorder = self.recorder(&new, before.as_ref());
        let write = Write {
            part,
            new,
            old: Some(&old.json),
            meta: MetaContext {
                name: Some(self.name),
                namespace: self.namespace,
                now: clock::now(),
                uid: &old.head.uid,
                suffix: "",
            },
            strictness: self.strictness,
        };
        let view = match (self.sub, &write.new) {
            (Some(Sub::Scale), Body::Applied(it)) => Some(scale::aside(self.kind, &it.bare, old)?),
            _ => None,
        };
        let about = Admission { aside: view.as_ref(), ..self.about(Operation::Update, Some(old)) };
        stage::approve(&self.core.plugins, about, write, recorder.as_ref().map(|it| it as &dyn Managers)).await
    }

    /// Who is recorded as the writer of a body; none for what says itself who manages its fields, and for bindings, which Kubernetes does not
    /// record. `before` is the body without what the server has filled in.
    fn recorder(&self, new: &Body<'_>, before: Option<&Value>) -> Option<Recorder> {
        if matches!(new, Body::Applied(_)) || self.sub == Some(Sub::Binding) {
            return None;
        }
        let unowned = before.and_then(|it| managed::filled_in(self.kind, it, &new.value().ok()?));
        let mut recorder = Recorder { unowned, ..Recorder::of(self.who.request(), self.sub) };
        if self.by_server {
            SERVER.clone_into(&mut recorder.manager);
        }
        Some(recorder)
    }

    /// Runs admission over a deletion.
    ///
    /// # Errors
    /// The refusal.
    pub async fn approve_deletion(&self, old: &Object) -> status::Result<ApprovedDeletion> {
        stage::approve_deletion(&self.core.plugins, self.about(Operation::Delete, Some(old))).await
    }

    /// Deletes the object in exactly this state.
    ///
    /// # Errors
    /// The store's: a mismatch says what stands there now.
    pub async fn remove(&self, old: &Object, _approved: &ApprovedDeletion) -> Result<Revision, StoreError> {
        if self.dry_run {
            return Ok(Revision(old.revision));
        }
        let expect = Expect::At(Revision(old.revision));
        let revision = self.core.store.commit(Commit { key: old.key.clone(), expect, value: None }).await?;
        self.core.addresses.released(&self.core.store, self.kind, old).await;
        Ok(revision)
    }

    /// Marks the object as being deleted: `json` is the object in exactly this state but for that.
    ///
    /// # Errors
    /// The store's: a mismatch says what stands there now.
    pub async fn mark(
        &self,
        old: &Object,
        json: Vec<u8>,
        _approved: &ApprovedDeletion,
    ) -> Result<Revision, StoreError> {
        if self.dry_run {
            return Ok(Revision(old.revision));
        }
        let unavailable = |it: Status| StoreError::Unavailable { reason: it.message, unknown: false };
        let value = convert::to_stored(self.core, self.kind, &json).await.map_err(unavailable)?.into_owned();
        let expect = Expect::At(Revision(old.revision));
        self.core.store.commit(Commit { key: old.key.clone(), expect, value: Some(value.into()) }).await
    }

    /// The object as it stands in the store.
    ///
    /// # Errors
    /// `NotFound`, or that the store is away.
    pub async fn fresh(&self) -> status::Result<Arc<Object>> {
        let key: Arc<str> = self.kind.key(self.namespace, self.name).into();
        self.look_up(&key).await.map(|it| it.object)
    }

    /// An entry of the store as an object of this kind.
    ///
    /// # Errors
    /// When its bytes cannot be read.
    pub async fn decoded(&self, entry: &Entry) -> status::Result<Arc<Object>> {
        let stored_kind = self.core.cache.table(self.kind).kind();
        let object = Object::stored(stored_kind, entry.key.clone(), entry.modified.0, &entry.value)
            .map(Arc::new)
            .map_err(|error| Status::internal(format!("the stored {} cannot be read: {error}", self.kind.kind)))?;
        convert::ready(self.core, self.kind, std::iter::once(&object)).await?;
        Ok(object.served_as(self.kind))
    }

    /// `pods "web" not found`.
    pub fn not_found(&self) -> Status {
        Status::not_found(self.kind.group, self.kind.names.plural, self.name)
    }

    async fn standing(&self, key: &Arc<str>) -> status::Result<Standing> {
        match self.core.get(self.kind, self.namespace, self.name).await? {
            Some(object) => Ok(Standing { object, fresh: false }),
            None => self.look_up(key).await,
        }
    }

    async fn look_up(&self, key: &str) -> status::Result<Standing> {
        let (entry, _) = self.core.store.get(key).await.map_err(unavailable)?;
        let entry = entry.ok_or_else(|| self.not_found())?;
        Ok(Standing { object: self.decoded(&entry).await?, fresh: true })
    }

    async fn commit(
        &self,
        key: &Arc<str>,
        expect: Expect,
        approved: &Approved,
        stored: Vec<u8>,
    ) -> Result<Revision, StoreError> {
        let admitted = approved.object();
        if self.dry_run {
            let (entry, _) = self.core.store.get(key).await?;
            return match (expect, entry) {
                (Expect::Absent, None) => Ok(Revision(0)),
                (Expect::At(revision), Some(entry)) if entry.modified == revision => Ok(revision),
                (_, current) => Err(StoreError::Mismatch { current }),
            };
        }
        let size_bytes = key.len() + stored.len();
        if size_bytes > STORED_BYTES_MAX {
            return Err(StoreError::TooLarge { size_bytes, limit_bytes: STORED_BYTES_MAX });
        }
        let value = (!admitted.releasable || expect == Expect::Absent).then(|| Bytes::from(stored));
        self.core.store.commit(Commit { key: key.clone(), expect, value }).await
    }

    fn written(&self, key: Arc<str>, revision: Revision, approved: Approved, created: bool) -> status::Result<Written> {
        let deleted = approved.object().releasable && !created;
        let admitted = approved.into_object();
        let json = match revision.0 {
            // A dry run has created nothing that could have a revision.
            0 => Bytes::from(admitted.json),
            revision => head::with_revision(&admitted.json, revision).map_err(Status::internal)?,
        };
        let (kind, warnings) = (self.kind, admitted.warnings);
        Ok(Written { kind, key, revision: revision.0, json, warnings, created, deleted })
    }
}

/// Refuses what can be no resource version, in Kubernetes' words. Kubernetes lets the failure of its parser through as a 500; here
/// that code is kept for failures of the server, and what a client got wrong is a `BadRequest`.
fn is_number(revision: &str) -> status::Result<()> {
    if revision.parse::<u64>().is_ok() {
        return Ok(());
    }
    let digits = revision.bytes().all(|it| it.is_ascii_digit());
    let why = if digits { "value out of range" } else { "invalid syntax" };
    let text = format!("strconv.ParseUint: parsing {revision:?}: {why}");
    Err(Status::bad_request(text))
}

/// Whether the object brings its own name.
fn names_itself(body: &Body<'_>) -> bool {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Option<std::borrow::Cow<'a, str>>,
    }
    #[derive(serde::Deserialize)]
    struct Shell<'a> {
        #[serde(borrow, default)]
        metadata: Named<'a>,
    }
    match body {
        Body::Value(value) => value["metadata"]["name"].as_str().is_some_and(|it| !it.is_empty()),
        // An apply and an edit are to a name.
        Body::Applied(_) | Body::Edit(_) => true,
        // What cannot be read is refused by its kind.
        Body::Bytes(bytes) => serde_json::from_slice::<Shell<'_>>(bytes)
            .map_or(true, |it| it.metadata.name.is_some_and(|it| !it.is_empty())),
    }
}

/// Whether two texts are the same object. A mark of deletion is written without going through the object's type, so that what
/// follows has its fields in another order.
fn same(new: &[u8], old: &[u8]) -> bool {
    let value = |it| serde_json::from_slice::<Value>(it).ok();
    new.len() == old.len() && value(new) == value(old)
}
