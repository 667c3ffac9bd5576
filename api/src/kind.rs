//! What makes one kind of object different from another, and the one way in which all of them are written.
//!
//! A kind implements [`Strategy`] over its `k8s-openapi` type: names, columns, and three functions that say nothing special by
//! default. [`Kind::of`] erases it into a [`Kind`] record, the form in which the server knows kinds; a custom resource builds the
//! same record from its schema. [`Kind::draft`] is the only place where an object takes its Rust type; what becomes of it there is told
//! in [`crate::draft`]. It knows no verbs, no users and no store: what a write may change is its [`Part`], and what it must find comes
//! as the old bytes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::computed;
use crate::custom::{Custom, record as custom};
use crate::draft::{Draft, Object};
use crate::field::Errors;
use crate::head::{Head, HeadError};
use crate::json::{self, Strictness};
use crate::managed::apply::Applied;
use crate::meta::MetaContext;
use crate::name::NameRule;
use crate::shape::Shapes;
use crate::status::{self, Status};
use crate::table::{Column, Completed};

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// The subresources a kind has beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sub {
    Status,
    Scale,
    Binding,
    Finalize,
    Log,
    Proxy,
    Token,
    Approval,
    Eviction,
    EphemeralContainers,
    Resize,
    Exec,
    Attach,
    PortForward,
}

impl Sub {
    /// The last segment of the subresource's path.
    pub const fn segment(self) -> &'static str {
        match self {
            Sub::Status => "status",
            Sub::Scale => "scale",
            Sub::Binding => "binding",
            Sub::Finalize => "finalize",
            Sub::Log => "log",
            Sub::Proxy => "proxy",
            Sub::Token => "token",
            Sub::Approval => "approval",
            Sub::Eviction => "eviction",
            Sub::EphemeralContainers => "ephemeralcontainers",
            Sub::Resize => "resize",
            Sub::Exec => "exec",
            Sub::Attach => "attach",
            Sub::PortForward => "portforward",
        }
    }
}

/// Which part of an object a write may change; everything else is kept from the old object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but what the subresources own.
    Main,
    /// What `/status` owns.
    Status,
    /// What `/finalize` owns: a namespace's `spec.finalizers`.
    Finalize,
    /// What `/approval` owns: a certificate request's conditions.
    Approval,
    /// What `/ephemeralcontainers` owns: a pod's `spec.ephemeralContainers`.
    EphemeralContainers,
    /// What `/resize` owns: the resources of a pod's containers, and how they take to a change of them.
    Resize,
    /// What `/binding` owns: a pod's `spec.nodeName` and its `PodScheduled` condition.
    Binding,
}

/// What a user may call a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    pub plural: &'static str,
    pub singular: &'static str,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
}

/// A field that clients may select by, besides `metadata.name` and `metadata.namespace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selectable {
    /// `spec.nodeName`: the field's path, dots between the segments, no lists on the way.
    pub path: &'static str,
    /// The value of an object in which the field is not set: `""`, `"false"`, `"0"`.
    pub absent: &'static str,
    /// Where the value stands if not at the path: the first of these that is set.
    pub from: &'static [&'static str],
}

/// Everything that makes one kind different from another. The default of every item is "nothing special".
pub trait Strategy: Resource + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone + 'static {
    const NAMES: Names;
    const SCOPE: Scope = Scope::Namespaced;
    const SUBS: &'static [Sub] = &[];
    /// Field selectors beside `metadata.name` and `metadata.namespace`.
    const FIELDS: &'static [Selectable] = &[];
    /// The columns after NAME; AGE included, where the kind shows it. A kind with a column called `Name` of its own gets no other:
    /// events put theirs last. See [`crate::table`].
    const COLUMNS: &'static [Column] = &[];
    /// Whether an object has come to its end, where tables tell (Kubernetes: the row condition `Completed`).
    const COMPLETED: Option<fn(&Value) -> Option<Completed>> = None;
    /// By what the rows of a list are sorted before their names.
    const ROW_ORDER: Option<fn(&Value) -> i64> = None;
    /// What a write to its status does not own, as paths: besides the spec, some metadata (Kubernetes: `GetResetFields` of its status strategy).
    const STATUS_RESETS: &'static [&'static [&'static str]] = &[&["spec"]];
    /// Which names its objects may have.
    const NAME_RULE: NameRule = NameRule::Subdomain;
    /// Where its objects are stored below `/registry/`, where that is not the plural name: `services/specs`, `minions`.
    const STORED_AS: Option<&'static str> = None;
    /// Whether an update may leave out `metadata.resourceVersion`.
    const UNCONDITIONAL_UPDATE: bool = true;
    /// Whether a PUT or an apply to a name that does not exist creates it (Kubernetes: only few kinds; apply always may).
    const CREATE_ON_UPDATE: bool = false;
    /// Whether a deletion is answered with the object that was deleted, and not with a `Status` that names it (Kubernetes:
    /// `ReturnDeletedObject` in the storage of a few kinds).
    const RETURNS_DELETED: bool = false;
    /// Whether a deletion leaves what the object owns if the client does not say (Kubernetes: the oldest versions of a few workloads).
    const ORPHANS_DEPENDENTS: bool = false;
    /// What the first deletion changes in the object besides marking it: definitions wait for their objects.
    const BEFORE_DELETION: Option<fn(&mut Value, Timestamp)> = None;
    /// The warning with which every answer about the kind comes, if its version is deprecated.
    const DEPRECATED: Option<&'static str> = None;
    /// How long a deletion waits if the client does not say, in seconds; none deletes at once.
    fn grace_period_seconds(&self) -> Option<i64> {
        None
    }
    /// Fills in what the client left out.
    fn default(&mut self) {}
    /// Resets what this write may not change. For [`Part::Main`] on create, clears what only subresources may set; on update, keeps it
    /// from `old`. For the other parts, keeps all but that part from `old`.
    fn prepare(&mut self, _part: Part, _old: Option<&Self>) {}
    /// Whether something of the kind's own, besides `metadata.finalizers`, keeps the object while it is being deleted:
    /// a namespace's `spec.finalizers`.
    fn held(&self) -> bool {
        false
    }
    /// Whether the desired state differs from `old`'s, so that `metadata.generation` rises. None: the kind has no generation.
    fn generation_rises(&self, _old: &Self) -> Option<bool> {
        None
    }
    /// Notes every mistake. Metadata has been checked already.
    fn validate(&self, _part: Part, _old: Option<&Self>, _errors: &mut Errors) {}
    /// Warnings for the client about what is deprecated or ineffective, in what it creates or, with `old`, updates: each becomes a
    /// `Warning` header.
    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        Vec::new()
    }
}

/// A change of an object as it stands, by who knows its type.
pub trait Edit: std::fmt::Debug + Send + Sync {
    /// Makes the change, on a copy.
    ///
    /// # Errors
    /// When it cannot be made of this state.
    fn edit(&self, object: &mut dyn Object) -> status::Result<()>;
}

/// What a write brings: the bytes of a request, or a value that a patch has made.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    Bytes(&'a [u8]),
    Value(Value),
    /// What becomes of the object as it stands, which need not be read a second time for that.
    Edit(&'a dyn Edit),
    /// What a server-side apply has made, with its managed fields.
    Applied(Applied),
}

impl<'a> Body<'a> {
    /// The object as a value, without managed fields that an apply has made.
    ///
    /// # Errors
    /// `BadRequest` for bytes that are no JSON.
    pub fn value(&self) -> status::Result<Value> {
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| Status::bad_request(error.to_string()));
        match self {
            Body::Bytes(bytes) => read(bytes),
            Body::Value(value) => Ok(value.clone()),
            Body::Applied(it) => read(it.bare.as_bytes()),
            Body::Edit(_) => Err(edits_nothing()),
        }
    }

    /// The same body with another object in it.
    #[must_use]
    pub fn with(self, value: Value) -> Body<'a> {
        match self {
            Body::Applied(it) => Body::Applied(Applied { bare: value.to_string(), ..it }),
            _ => Body::Value(value),
        }
    }
}

/// One object on its way into the store.
#[derive(Debug)]
pub struct Write<'a> {
    pub part: Part,
    pub new: Body<'a>,
    /// The object as it stands; none creates it.
    pub old: Option<&'a [u8]>,
    pub meta: MetaContext<'a>,
    pub strictness: Strictness,
}

/// An object that may be stored.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The encoded object without `resourceVersion`: what the store keeps.
    pub json: Vec<u8>,
    pub name: String,
    pub namespace: String,
    /// The `resourceVersion` the client named, if any: the write is only for that state.
    pub expected_revision: Option<String>,
    /// Whether the object is being deleted and nothing holds it any more: the write must delete instead.
    pub releasable: bool,
    /// For the client, as `Warning` headers.
    pub warnings: Vec<String>,
}

/// What conversion a kind needs between the form it is stored in and the form it is served in. Both take and give whole objects.
#[derive(Clone, Copy)]
pub struct Conversion {
    pub from_stored: fn(Value) -> Value,
    pub to_stored: fn(Value) -> Value,
}

/// An object as a client sent it, with what is to be said about its fields.
pub(crate) type Decoded = status::Result<(Box<dyn Object>, Vec<String>)>;

/// Decodes what a client sent.
pub(crate) type Decode = fn(&Kind, Body<'_>, Strictness) -> Decoded;
/// Decodes what the server has encoded.
pub(crate) type Read = fn(&Kind, &[u8]) -> serde_json::Result<Box<dyn Object>>;

/// The erased record the server works with.
#[derive(Clone)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub names: Names,
    pub scope: Scope,
    pub subs: &'static [Sub],
    pub fields: &'static [Selectable],
    pub columns: &'static [Column],
    pub(crate) completed: Option<fn(&Value) -> Option<Completed>>,
    /// By what the rows of a list are sorted before their names.
    pub row_order: Option<fn(&Value) -> i64>,
    pub stored_as: &'static str,
    pub unconditional_update: bool,
    pub create_on_update: bool,
    /// Whether a deletion is answered with the object that was deleted.
    pub returns_deleted: bool,
    /// Whether a deletion leaves what the object owns if the client does not say.
    pub orphans_dependents: bool,
    /// What the first deletion changes in the object besides marking it.
    pub before_deletion: Option<fn(&mut Value, Timestamp)>,
    /// Where another kind of the list holds the stored form (events of `events.k8s.io` are stored as core events).
    pub conversion: Option<Conversion>,
    /// What it is at the moment, where a CustomResourceDefinition has made it.
    pub custom: Option<&'static Custom>,
    /// Whether the server computes its objects, so that nobody can write them.
    pub computed: bool,
    /// The verbs that it knows, where they are not those of all.
    pub verbs: &'static [&'static str],
    /// The warning with which every answer about it comes.
    pub deprecated: Option<&'static str>,
    /// The schema's name in OpenAPI: `io.k8s.api.apps.v1.Deployment`.
    pub schema: fn() -> schemars::Schema,
    /// What a write to its status does not own.
    status_resets: &'static [&'static [&'static str]],
    /// Which names its objects may have.
    pub name_rule: NameRule,
    decode: Decode,
    read: Read,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.kind)
    }
}

impl Kind {
    /// The record of a built-in kind.
    pub const fn of<T: Strategy + Send + Sync + schemars::JsonSchema>() -> Self {
        Kind {
            group: T::GROUP,
            version: T::VERSION,
            kind: T::KIND,
            names: T::NAMES,
            scope: T::SCOPE,
            subs: T::SUBS,
            fields: T::FIELDS,
            columns: T::COLUMNS,
            completed: T::COMPLETED,
            row_order: T::ROW_ORDER,
            stored_as: match T::STORED_AS {
                Some(path) => path,
                None => T::NAMES.plural,
            },
            unconditional_update: T::UNCONDITIONAL_UPDATE,
            create_on_update: T::CREATE_ON_UPDATE,
            returns_deleted: T::RETURNS_DELETED,
            orphans_dependents: T::ORPHANS_DEPENDENTS,
            before_deletion: T::BEFORE_DELETION,
            conversion: None,
            custom: None,
            computed: false,
            verbs: &[],
            deprecated: T::DEPRECATED,
            schema: schema_of::<T>,
            status_resets: T::STATUS_RESETS,
            name_rule: T::NAME_RULE,
            decode: decode::<T>,
            read: read::<T>,
        }
    }

    /// The record of a custom kind.
    pub(crate) fn custom(parts: custom::Parts) -> Self {
        Kind {
            group: parts.group,
            version: parts.version,
            kind: parts.kind,
            names: parts.names,
            scope: parts.scope,
            subs: parts.subs,
            fields: parts.fields,
            columns: &[],
            completed: None,
            row_order: None,
            stored_as: parts.stored_as,
            unconditional_update: false,
            create_on_update: false,
            returns_deleted: false,
            orphans_dependents: false,
            before_deletion: None,
            conversion: None,
            custom: Some(parts.custom),
            computed: false,
            verbs: &[],
            deprecated: None,
            schema: || schemars::json_schema!({"type": "object"}),
            status_resets: &[&["metadata"], &["spec"]],
            name_rule: NameRule::Subdomain,
            decode: parts.decode,
            read: parts.read,
        }
    }

    /// The record of a computed kind.
    pub(crate) const fn computed(parts: computed::Parts) -> Self {
        Kind {
            group: parts.group,
            version: parts.version,
            kind: parts.kind,
            names: parts.names,
            scope: parts.scope,
            subs: &[],
            fields: parts.fields,
            columns: parts.columns,
            completed: None,
            row_order: None,
            stored_as: parts.stored_as,
            unconditional_update: false,
            create_on_update: false,
            returns_deleted: false,
            orphans_dependents: false,
            before_deletion: None,
            conversion: None,
            custom: None,
            computed: true,
            verbs: parts.verbs,
            deprecated: parts.deprecated,
            schema: parts.schema,
            status_resets: &[],
            name_rule: NameRule::Subdomain,
            decode: |_, _, _| Err(Status::method_not_allowed()),
            read: |_, _| Err(serde::de::Error::custom("objects of this kind are computed")),
        }
    }

    /// The same kind, stored in the form of another.
    pub const fn stored_as(mut self, stored_as: &'static str, conversion: Conversion) -> Self {
        self.stored_as = stored_as;
        self.conversion = Some(conversion);
        self
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The shape of its objects.
    pub fn shapes(&self) -> Shapes {
        match self.custom {
            Some(custom) => custom.now().version().shapes(),
            None => Shapes::of(self),
        }
    }

    /// What a write to a part of its objects does not own, as paths: the other parts.
    pub fn reset_fields(&self, part: Part) -> &'static [&'static [&'static str]] {
        match part {
            Part::Status => self.status_resets,
            Part::Approval => &[&["spec"], &["status", "certificate"]],
            _ if self.has(Sub::Status) => &[&["status"]],
            _ => &[],
        }
    }

    /// Whether its objects live in a namespace.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether its objects may be stored in another form than the one they are served in.
    pub fn is_converted(&self) -> bool {
        self.conversion.is_some() || self.custom.is_some()
    }

    /// Whether it has this subresource.
    pub fn has(&self, sub: Sub) -> bool {
        self.subs.contains(&sub)
    }

    /// Whether its objects' names make the first column of its tables; otherwise one of [`Kind::columns`] is called `Name`.
    pub fn name_comes_first(&self) -> bool {
        !self.columns.iter().any(|it| it.name == "Name")
    }

    /// The store's prefix of all its objects: `/registry/pods/`.
    pub fn prefix(&self) -> String {
        format!("/registry/{}/", self.stored_as)
    }

    /// The store's key of one object: `/registry/pods/default/web`.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        match self.scope {
            Scope::Namespaced => format!("/registry/{}/{namespace}/{name}", self.stored_as),
            Scope::Cluster => format!("/registry/{}/{name}", self.stored_as),
        }
    }

    /// Decodes, defaults, prepares, validates and encodes one object.
    ///
    /// # Errors
    /// `BadRequest` where the body is no object of this kind, `Invalid` with a cause per mistake, `Conflict` for a uid that is another's.
    pub fn admit(&self, write: Write<'_>) -> status::Result<Admitted> {
        self.draft(write)?.finish()
    }

    /// Decodes and defaults one object, so that others may change it before it is finished.
    ///
    /// # Errors
    /// `BadRequest` where the body is no object of this kind, or names another object than the request.
    pub fn draft<'a>(&'a self, write: Write<'a>) -> status::Result<Draft<'a>> {
        Draft::new(self, write)
    }

    /// Decodes what a client sent.
    pub(crate) fn decode(&self, new: Body<'_>, strictness: Strictness) -> Decoded {
        (self.decode)(self, new, strictness)
    }

    /// The unknown fields of an object, as warnings name them.
    ///
    /// # Errors
    /// `BadRequest` where the value is no object of this kind.
    pub fn unknown_fields(&self, object: &Value) -> status::Result<Vec<String>> {
        self.decode(Body::Value(object.clone()), Strictness::Warn).map(|(_, unknown)| unknown)
    }

    /// Decodes what the server has encoded.
    ///
    /// # Errors
    /// When the bytes are no object of this kind.
    pub fn read(&self, json: &[u8]) -> status::Result<Box<dyn Object>> {
        (self.read)(self, json)
            .map_err(|error| Status::internal(format!("the stored {} cannot be read: {error}", self.kind)))
    }

    /// The head of one stored object.
    ///
    /// # Errors
    /// When the bytes are no object.
    pub fn head(&self, json: &[u8]) -> Result<Head, HeadError> {
        Head::parse(json, self.fields)
    }

    /// How long deletion of this object waits unless the client says otherwise, in seconds; none deletes at once.
    pub fn grace_period_seconds(&self, json: &[u8]) -> Option<i64> {
        (self.read)(self, json).ok()?.waits_seconds()
    }

    /// Whether this object holds itself, besides by `metadata.finalizers`, so that a deletion may only mark it.
    pub fn held(&self, json: &[u8]) -> bool {
        (self.read)(self, json).is_ok_and(|it| it.holds_itself())
    }
}

/// An edit has no object before there is one that it is made on, which [`Draft`](crate::draft::Draft) sees to.
pub(crate) fn edits_nothing() -> Status {
    Status::internal("an edit is of an object that stands")
}

fn schema_of<T: schemars::JsonSchema>() -> schemars::Schema {
    schemars::schema_for!(T)
}

fn decode<T: Strategy + Send + Sync>(kind: &Kind, new: Body<'_>, strictness: Strictness) -> Decoded {
    let (object, warnings): (T, _) = match new {
        Body::Bytes(bytes) => json::decode(kind, bytes, strictness)?,
        Body::Value(value) => json::decode_value(kind, value, strictness)?,
        Body::Applied(it) => json::decode(kind, it.bare.as_bytes(), strictness)?,
        Body::Edit(_) => return Err(edits_nothing()),
    };
    Ok((Box::new(object), warnings))
}

fn read<T: Strategy + Send + Sync>(_kind: &Kind, json: &[u8]) -> serde_json::Result<Box<dyn Object>> {
    Ok(Box::new(serde_json::from_slice::<T>(json)?))
}
