//! The operations on the kinds, before they take the form of either OpenAPI version.

use super::schema::{self, BINDING, DELETE_OPTIONS, EVICTION, SCALE, STATUS, TOKEN_REQUEST};
use crate::discovery;
use crate::kind::{Kind, Scope, Sub};
use crate::review::Review;

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    /// `string`, `integer` or `boolean`.
    pub kind: &'static str,
    pub description: &'static str,
}

const fn parameter(name: &'static str, kind: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind, description }
}

/// The parameter that every path has.
pub const PRETTY: Parameter = parameter("pretty", "string", "If 'true', then the output is pretty printed.");
const DRY_RUN: Parameter = parameter(
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. Valid values are: - All: all dry run stages will be processed",
);
const FIELD_MANAGER: Parameter = parameter(
    "fieldManager",
    "string",
    "fieldManager is a name associated with the actor or entity that is making these changes. The value must be less than or 128 characters long, and only contain printable characters.",
);
const FIELD_VALIDATION: Parameter = parameter(
    "fieldValidation",
    "string",
    "fieldValidation instructs the server on how to handle objects in the request (POST/PUT/PATCH) containing unknown or duplicate fields. Valid values are: Ignore, Warn, Strict.",
);
const FORCE: Parameter = parameter(
    "force",
    "boolean",
    "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people. Force flag must be unset for non-apply patch requests.",
);
const SELECTORS: [Parameter; 2] = [
    parameter("fieldSelector", "string", "A selector to restrict the list of returned objects by their fields."),
    parameter("labelSelector", "string", "A selector to restrict the list of returned objects by their labels."),
];
const LISTS: [Parameter; 8] = [
    parameter("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."),
    parameter("continue", "string", "The continue option should be set when retrieving more results from the server."),
    parameter("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    parameter(
        "resourceVersion",
        "string",
        "resourceVersion sets a constraint on what resource versions a request may be served from.",
    ),
    parameter(
        "resourceVersionMatch",
        "string",
        "resourceVersionMatch determines how resourceVersion is applied to list calls.",
    ),
    parameter("sendInitialEvents", "boolean", "`sendInitialEvents=true` may be set together with `watch=true`."),
    parameter("timeoutSeconds", "integer", "Timeout for the list/watch call."),
    parameter("watch", "boolean", "Watch for changes to the described resources and return them as a stream."),
];
const DELETES: [Parameter; 3] = [
    parameter("gracePeriodSeconds", "integer", "The duration in seconds before the object should be deleted."),
    parameter("orphanDependents", "boolean", "Deprecated: please use the PropagationPolicy."),
    parameter("propagationPolicy", "string", "Whether and how garbage collection will be performed."),
];
const LOGS: [Parameter; 9] = [
    parameter("container", "string", "The container for which to stream logs."),
    parameter("follow", "boolean", "Follow the log stream of the pod."),
    parameter(
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Do not confirm the validity of the serving certificate of the backend.",
    ),
    parameter(
        "limitBytes",
        "integer",
        "If set, the number of bytes to read from the server before terminating the log output.",
    ),
    parameter("previous", "boolean", "Return previous terminated container logs."),
    parameter("sinceSeconds", "integer", "A relative time in seconds before the current time from which to show logs."),
    parameter("tailLines", "integer", "If set, the number of lines from the end of the logs to show."),
    parameter(
        "timestamps",
        "boolean",
        "If true, add an RFC3339 timestamp at the beginning of every line of log output.",
    ),
    parameter("sinceTime", "string", "An RFC3339 timestamp from which to show logs."),
];

/// What a request's body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    /// An object of this schema.
    Object(String),
    /// A patch: of any type, or of any but the strategic merge, which custom kinds do not take. kubectl looks here for which it may send.
    Patch {
        strategic: bool,
    },
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    pub path: String,
    /// The HTTP method in lower case.
    pub method: &'static str,
    /// `x-kubernetes-action`.
    pub action: &'static str,
    pub id: String,
    pub description: String,
    /// Group, version and kind of the objects it is about.
    pub gvk: (&'static str, &'static str, &'static str),
    pub parameters: Vec<Parameter>,
    pub body: Body,
    /// The schema of the answer; none is plain text.
    pub answer: Option<String>,
    /// Whether the operation may create an object.
    pub creates: bool,
}

/// The parameters in a path: `namespace`, `name`.
pub fn path_parameters(path: &str) -> impl Iterator<Item = (&str, &'static str)> {
    let names = path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let text = if name == "name" {
            "name of the object"
        } else {
            "object name and auth scope, such as for teams and projects"
        };
        (name, text)
    })
}

/// `Apps`, `RbacAuthorization`: a group within operation names.
fn group_word(group: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    group.split('.').map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|it| it.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// All operations on a kind.
pub fn of(kind: &Kind) -> Vec<Operation> {
    let base = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    let scope = match kind.scope {
        Scope::Namespaced => "/namespaces/{namespace}",
        Scope::Cluster => "",
    };
    let collection = format!("{base}{scope}/{}", kind.names.plural);
    let item = format!("{collection}/{{name}}");
    let build = Builder { kind, schema: schema::name_of(kind) };
    let list = format!("{}List", build.schema);
    let object = Body::Object(build.schema.clone());
    let delete_options = Body::Object(DELETE_OPTIONS.to_owned());
    let status = Some(STATUS.to_owned());
    let own = Some(build.schema.clone());
    let listing = || SELECTORS.iter().chain(&LISTS).copied().collect::<Vec<_>>();
    let mut out = vec![
        build.operation(&collection, "get", "list", "list", listing(), Body::None, Some(list.clone())),
        build.operation(&collection, "post", "post", "create", writing(), object.clone(), own.clone()),
        build.operation(&item, "get", "get", "read", vec![], Body::None, own.clone()),
        build.operation(&item, "put", "put", "replace", writing(), object.clone(), own.clone()),
        build.operation(&item, "patch", "patch", "patch", patching(), build.patch(), own.clone()),
        build.operation(&item, "delete", "delete", "delete", deleting(), delete_options.clone(), status.clone()),
    ];
    if discovery::verbs(kind).contains(&"deletecollection") {
        let parameters = deleting().into_iter().chain(listing()).collect();
        let mut all = build.operation(
            &collection,
            "delete",
            "deletecollection",
            "deleteCollection",
            parameters,
            delete_options,
            status,
        );
        all.id = all.id.replacen("deleteCollection", "delete", 1).replacen(
            &capital(kind.version),
            &format!("{}Collection", capital(kind.version)),
            1,
        );
        out.push(all);
    }
    if kind.computed {
        out.retain(|it| it.method == "get");
    }
    if kind.scope == Scope::Namespaced {
        let everywhere = format!("{base}/{}", kind.names.plural);
        let mut all = build.operation(&everywhere, "get", "list", "list", listing(), Body::None, Some(list));
        all.id = format!("{}ForAllNamespaces", all.id.replacen("Namespaced", "", 1));
        out.push(all);
    }
    // What is proxied has no schema, and every method; a session has neither body nor answer.
    let plain = |it: &&Sub| !matches!(it, Sub::Proxy | Sub::Exec | Sub::Attach | Sub::PortForward);
    for sub in kind.subs.iter().filter(plain) {
        build.sub(*sub, &item, &mut out);
    }
    out
}

/// The one operation on a review.
pub fn of_review(review: &Review) -> Operation {
    let (below, scope) = match review.scope {
        Scope::Namespaced => ("/namespaces/{namespace}", "Namespaced"),
        Scope::Cluster => ("", ""),
    };
    let schema = schema::name_of_review(review);
    Operation {
        path: format!("/apis/{}{below}/{}", review.api_version(), review.plural),
        method: "post",
        action: "post",
        id: format!("create{}{}{scope}{}", group_word(review.group), capital(review.version), review.kind),
        description: format!("create a {}", review.kind),
        gvk: (review.group, review.version, review.kind),
        parameters: writing(),
        body: Body::Object(schema.clone()),
        answer: Some(schema),
        creates: true,
    }
}

fn writing() -> Vec<Parameter> {
    vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION]
}

fn patching() -> Vec<Parameter> {
    vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE]
}

fn deleting() -> Vec<Parameter> {
    [DRY_RUN].into_iter().chain(DELETES).collect()
}

struct Builder<'a> {
    kind: &'a Kind,
    schema: String,
}

impl Builder<'_> {
    /// The body of a patch of the kind's objects.
    fn patch(&self) -> Body {
        Body::Patch { strategic: self.kind.custom.is_none() }
    }

    #[allow(clippy::too_many_arguments)]
    fn operation(
        &self,
        path: &str,
        method: &'static str,
        action: &'static str,
        verb: &str,
        parameters: Vec<Parameter>,
        body: Body,
        answer: Option<String>,
    ) -> Operation {
        let kind = self.kind;
        let scope = if kind.scope == Scope::Namespaced { "Namespaced" } else { "" };
        let (group, version) = (group_word(kind.group), capital(kind.version));
        let description = match action {
            "list" => format!("list or watch objects of kind {}", kind.kind),
            "post" => format!("create a {}", kind.kind),
            "put" => format!("replace the specified {}", kind.kind),
            "patch" => format!("partially update the specified {}", kind.kind),
            "delete" => format!("delete a {}", kind.kind),
            "deletecollection" => format!("delete collection of {}", kind.kind),
            _ => format!("read the specified {}", kind.kind),
        };
        Operation {
            path: path.to_owned(),
            method,
            action,
            id: format!("{verb}{group}{version}{scope}{}", kind.kind),
            description,
            gvk: (kind.group, kind.version, kind.kind),
            parameters,
            body,
            answer,
            creates: matches!(method, "post" | "put" | "patch"),
        }
    }

    fn sub(&self, sub: Sub, item: &str, out: &mut Vec<Operation>) {
        let (verbs, foreign) = discovery::sub_verbs(sub);
        let schema = match sub {
            Sub::Scale => SCALE.to_owned(),
            Sub::Binding => BINDING.to_owned(),
            Sub::Token => TOKEN_REQUEST.to_owned(),
            Sub::Eviction => EVICTION.to_owned(),
            Sub::Status
            | Sub::Finalize
            | Sub::Log
            | Sub::Proxy
            | Sub::Approval
            | Sub::EphemeralContainers
            | Sub::Resize
            | Sub::Exec
            | Sub::Attach
            | Sub::PortForward => self.schema.clone(),
        };
        let path = format!("{item}/{}", sub.segment());
        for verb in verbs {
            let object = Body::Object(schema.clone());
            let answer = Some(schema.clone()).filter(|_| sub != Sub::Log);
            let logs = if sub == Sub::Log { LOGS.to_vec() } else { Vec::new() };
            let mut operation = match *verb {
                "create" => self.operation(&path, "post", "post", "create", writing(), object, answer),
                "update" => self.operation(&path, "put", "put", "replace", writing(), object, answer),
                "patch" => self.operation(&path, "patch", "patch", "patch", patching(), self.patch(), answer),
                _ => self.operation(&path, "get", "get", "read", logs, Body::None, answer),
            };
            operation.id.push_str(&capital(sub.segment()));
            if let Some(gvk) = foreign {
                operation.gvk = gvk;
            }
            out.push(operation);
        }
    }
}
