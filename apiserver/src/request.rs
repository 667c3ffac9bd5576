//! A request, parsed once at the door: what is asked of which resource, with which options, to be answered in which form.
//!
//! In: the method, path, query and headers of an HTTP request. Out: a [`Request`], or the `Status` of what cannot be understood.
//! Whether the resource exists is the registry's knowledge (a request for one that does not is refused only after
//! authorization, as Kubernetes does); the body is read later, by the verb that wants it.

pub mod accept;
pub mod list_options;
pub mod options;
pub mod path;
pub mod selection;
pub mod timeout;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use orlop_api::kind::{Kind, Sub};
use orlop_api::protobuf::answer;
use orlop_api::status::{self, Status};

use crate::registry::Registry;
use crate::stage::Peer;
use accept::Accept;
use options::Options;
use path::Path;
use selection::Selection;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// Methods on paths that are no resources.
    PlainGet,
    PlainHead,
    PlainPost,
    PlainPut,
    PlainOther,
}

impl Verb {
    /// As rules and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Get | Verb::PlainGet => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::PlainHead => "head",
            Verb::PlainPost => "post",
            Verb::PlainPut => "put",
            Verb::PlainOther => "other",
        }
    }

    /// Whether it only looks.
    pub const fn reads(self) -> bool {
        matches!(self, Verb::Get | Verb::List | Verb::Watch | Verb::PlainGet | Verb::PlainHead)
    }

    /// The verb that a method means for a path that is no resource's.
    pub fn plain(method: &Method) -> Self {
        match *method {
            Method::GET => Verb::PlainGet,
            Method::HEAD => Verb::PlainHead,
            Method::POST => Verb::PlainPost,
            Method::PUT => Verb::PlainPut,
            _ => Verb::PlainOther,
        }
    }
}

/// A request, understood.
#[derive(Debug)]
pub struct Request {
    pub verb: Verb,
    pub method: Method,
    /// The whole path, for authorization of what is no resource, and for logs.
    pub path: String,
    /// The raw query.
    pub query: String,
    /// Empty for the core group, and for paths that are no resources.
    pub group: String,
    pub version: String,
    /// The plural name; empty for paths that are no resources.
    pub resource: String,
    pub subresource: String,
    /// The segments behind the subresource (`proxy/metrics` has `metrics`).
    pub rest: String,
    pub namespace: String,
    /// Also from a field selector `metadata.name=x`, as Kubernetes does for authorization.
    pub name: String,
    /// The kind, where the registry knows the resource.
    pub kind: Option<&'static Kind>,
    /// What a list, a watch or a deletion of many means.
    pub selection: Selection,
    pub options: Options,
    pub accept: Accept,
    /// How long it may take, where it says so.
    pub timeout: Option<Duration>,
    pub headers: HeaderMap,
    /// The client's address, where it came over a connection.
    pub client: Option<IpAddr>,
    /// The connection itself, for what is spoken on it once both sides have changed to another protocol; none in process and over HTTP/2.
    pub upgrade: Option<OnUpgrade>,
}

impl Request {
    /// Reads the head of a request to a server that has these kinds.
    ///
    /// # Errors
    /// `BadRequest` for selectors that cannot be read, `NotAcceptable` for forms nobody can give, `MethodNotAllowed`.
    pub fn parse(mut head: http::request::Parts, registry: &Registry) -> status::Result<Self> {
        let query = head.uri.query().unwrap_or_default().to_owned();
        let full = head.uri.path().to_owned();
        let path = Path::parse(&full)?;
        let mut options = Options::parse(&query);
        let upgrade = head.extensions.remove::<OnUpgrade>();
        let client = head.extensions.get::<Arc<Peer>>().and_then(|it| it.address).map(|it| it.ip());
        let timeout = timeout::parse(&options.request_timeout)?;
        let Some(path) = path else {
            let accept = Accept::parse(&head.headers, || true);
            options.pretty = is_for_people(&options, &accept, &head.headers);
            return Ok(Request {
                verb: Verb::plain(&head.method),
                method: head.method,
                path: full,
                query,
                group: String::new(),
                version: String::new(),
                resource: String::new(),
                subresource: String::new(),
                rest: String::new(),
                namespace: String::new(),
                name: String::new(),
                kind: None,
                selection: Selection::default(),
                timeout,
                options,
                accept,
                headers: head.headers,
                client,
                upgrade,
            });
        };
        if path.legacy_watch {
            options.watch = true;
        }
        let mut name = path.name;
        let verb = path::verb(&head.method, &name, &path.subresource, options.watch, path.legacy_watch)?;
        let kind = registry.find(&path.group, &path.version, &path.resource);
        let accept = Accept::parse(&head.headers, || kind.is_none_or(|it| answer::speaks(it.kind, &it.api_version())));
        options.pretty = is_for_people(&options, &accept, &head.headers);
        // These answer in their own form.
        let foreign = [Sub::Proxy, Sub::Log, Sub::Exec, Sub::Attach, Sub::PortForward];
        if !foreign.iter().any(|it| path.subresource == it.segment()) {
            accept.check(verb)?;
        }
        if path.legacy_watch && !name.is_empty() && options.field_selector.is_empty() {
            options.field_selector = format!("metadata.name={name}");
        }
        let many = matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
        if many {
            list_options::set_defaults(&mut options);
        }
        let selection = match kind {
            Some(kind) if many => Selection::parse(kind, &options.label_selector, &options.field_selector)?,
            _ => Selection::default(),
        };
        if path.legacy_watch && !name.is_empty() && selection.name() != Some(&name) {
            return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
        if name.is_empty() {
            name = selection.name().unwrap_or_default().to_owned();
        }
        Ok(Request {
            verb,
            method: head.method,
            kind,
            path: full,
            query,
            group: path.group,
            version: path.version,
            resource: path.resource,
            subresource: path.subresource,
            rest: path.rest,
            namespace: path.namespace,
            name,
            selection,
            timeout,
            options,
            accept,
            headers: head.headers,
            client,
            upgrade,
        })
    }

    /// The namespace in which the object lives: none for kinds that have none, whatever the path says (`namespaces/a`).
    pub fn object_namespace(&self) -> &str {
        match self.kind {
            Some(kind) if !kind.namespaced() => "",
            _ => &self.namespace,
        }
    }

    /// Whether a resource is asked for, and not one of the server's own paths.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }
}

/// Whether the answer is indented: where the client says so, and for programs by which people look (`isPrettyPrint` in
/// `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`).
fn is_for_people(options: &Options, accept: &Accept, headers: &HeaderMap) -> bool {
    accept.pretty
        || options.pretty_given.unwrap_or_else(|| {
            let agent = headers.get(USER_AGENT).map_or(&[][..], |it| it.as_bytes());
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|it| agent.starts_with(it.as_bytes()))
        })
}
