//! What a request to a subresource brings that is no form of the stored object: the options of a connection, a binding, an eviction, a scale.
//!
//! In: an authorized request. Out: the object by which Kubernetes' admission knows it, shown to those plugins that look at such things
//! (webhooks and policies), who may refuse or change it. It knows no target: what the request is for is done afterwards by whoever
//! serves the subresource. Source: `k8s.io/apiserver/pkg/endpoints/handlers/rest.go` (ConnectResource), `pkg/apis/core/v1`.

use std::sync::Arc;

use orlop_api::kind::{Kind, Sub};
use orlop_api::status;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::core::Core;
use crate::proxy::target;
use crate::request::{Request, Verb};
use crate::stage::{self, Admission, Authorized, Notes, Operation, Plugin};

/// An object that is not stored.
#[derive(Debug)]
pub struct Aside {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub subresource: &'static str,
    /// Mutating plugins change it.
    pub object: Mutex<Value>,
    /// What stood before, in the same form; null where nothing did.
    pub old: Value,
    /// Puts a changed object into the one that is stored, where this one is a view of it.
    pub write_back: Option<WriteBack>,
}

/// Puts a view into an object of a kind.
pub type WriteBack = fn(Value, &Kind, &Value) -> status::Result<Value>;

impl Aside {
    /// An object as a client sent it.
    pub fn new(api_version: &'static str, kind: &'static str, sub: Sub, mut object: Value) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        Aside {
            group,
            version,
            kind,
            subresource: sub.segment(),
            object: Mutex::new(object),
            old: Value::Null,
            write_back: None,
        }
    }

    /// What a connection is asked for with; none where the request asks for no connection.
    pub fn of_connection(kind: &Kind, request: &Request) -> Option<Self> {
        if !kind.group.is_empty() {
            return None;
        }
        let streams = matches!(request.verb, Verb::Get | Verb::Create);
        let path = || json!({"path": target::path(&request.path, kind.namespaced())});
        let (named, subresource, mut object) = match (kind.names.plural, request.subresource.as_str()) {
            ("pods", "attach") if streams => ("PodAttachOptions", "attach", terminal(&request.query, false)),
            ("pods", "exec") if streams => ("PodExecOptions", "exec", terminal(&request.query, true)),
            ("pods", "portforward") if streams => ("PodPortForwardOptions", "portforward", ports(&request.query)),
            ("pods", "proxy") => ("PodProxyOptions", "proxy", path()),
            ("services", "proxy") => ("ServiceProxyOptions", "proxy", path()),
            ("nodes", "proxy") => ("NodeProxyOptions", "proxy", path()),
            _ => return None,
        };
        object["kind"] = named.into();
        object["apiVersion"] = "v1".into();
        let object = Mutex::new(object);
        Some(Aside { group: "", version: "v1", kind: named, subresource, object, old: Value::Null, write_back: None })
    }
}

/// The options of a terminal in a container. Output is always asked for: Go's decoder cannot tell "no" from nothing.
fn terminal(query: &str, with_command: bool) -> Value {
    let mut out = json!({"stdout": true, "stderr": true});
    let mut command = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            // A flag that is there and says nothing is set, too.
            "stdin" | "tty" if !matches!(&*value, "false" | "0") => out[&*name] = true.into(),
            "container" if !value.is_empty() => out["container"] = value.into(),
            "command" if with_command => command.push(value.into_owned()),
            _ => {}
        }
    }
    if !command.is_empty() {
        out["command"] = json!(command);
    }
    out
}

fn ports(query: &str) -> Value {
    let given = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "ports");
    let ports: Vec<i32> = given.filter_map(|(_, value)| value.parse().ok()).collect();
    if ports.is_empty() { json!({}) } else { json!({"ports": ports}) }
}

/// Asks admission about what is brought; what it has changed stands in the aside afterwards.
///
/// # Errors
/// The first refusal.
pub async fn admit(
    plugins: &[Arc<dyn Plugin>],
    it: &Authorized,
    kind: &'static Kind,
    name: &str,
    operation: Operation,
    aside: &Aside,
) -> status::Result<Vec<String>> {
    let request = it.request();
    let about = Admission {
        identity: it.identity(),
        operation,
        kind,
        sub: None,
        namespace: if kind.namespaced() { &request.namespace } else { "" },
        name,
        dry_run: request.options.dry_run,
        old: None,
        aside: Some(aside),
        request: Some(request),
        notes: Notes::default(),
    };
    stage::approve_aside(plugins, about).await
}

/// Asks admission about a connection; a request for anything else passes.
///
/// # Errors
/// The first refusal.
pub async fn admit_connection(core: &Core, it: &Authorized, kind: &'static Kind) -> status::Result<()> {
    let request = it.request();
    let Some(aside) = Aside::of_connection(kind, request) else { return Ok(()) };
    admit(&core.plugins, it, kind, &request.name, Operation::Connect, &aside).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_go_reads_them() {
        let query = "container=c&stdin=true&stdout=false&tty=false&command=a&command=b%20c";
        assert_eq!(terminal(query, false), json!({"container": "c", "stdin": true, "stdout": true, "stderr": true}));
        assert_eq!(terminal(query, true)["command"], json!(["a", "b c"]));
        assert_eq!(terminal("stdin=&tty", true), json!({"stdin": true, "tty": true, "stdout": true, "stderr": true}));
        assert_eq!(ports("ports=80&ports=x&ports=443"), json!({"ports": [80, 443]}));
        assert_eq!(ports(""), json!({}));
    }
}
