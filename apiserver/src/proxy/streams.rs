//! `pods/exec`, `pods/attach` and `pods/portforward`: where a session with a container is asked for.
//!
//! In: a request, and the objects. Out: the pod's agent, and the kubelet's path with its parameters, which have other names than the API's. What
//! is spoken afterwards is theirs alone. Source: `pkg/registry/core/pod/strategy.go` (ExecLocation, AttachLocation, PortForwardLocation,
//! streamParams).

use form_urlencoded::Serializer;
use orlop_api::kind::Sub;
use orlop_api::status::{self, Status};
use serde_json::Value;

use super::target::{Scheme, Target};
use crate::admission::Sight;
use crate::connect::log_proxy::{Place, container};
use crate::request::Request;

/// The sessions.
const SESSIONS: [Sub; 3] = [Sub::Exec, Sub::Attach, Sub::PortForward];

/// Which session a request asks for, if any.
pub fn asked(request: &Request) -> Option<Sub> {
    let kind = request.kind?;
    SESSIONS.into_iter().find(|it| request.subresource == it.segment() && kind.has(*it))
}

/// Where a session is to be had: the agent, and what to ask it for.
///
/// # Errors
/// `NotFound`; `BadRequest` where the container is not named, or the pod is nowhere.
pub async fn find(sight: &Sight, request: &Request, sub: Sub) -> status::Result<(Target, String)> {
    let (namespace, name) = (request.namespace.as_str(), request.name.as_str());
    let found = sight.find("Pod", namespace, name).await?;
    let found = found.ok_or_else(|| Status::not_found("", "pods", name))?;
    let pod: Value = serde_json::from_slice(&found.json).map_err(Status::internal)?;
    let path = path(&pod, request, sub)?;
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(|it| !it.is_empty()) else {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    };
    let found = sight.find("Node", "", node).await?;
    let place = Place::of(node, &found.ok_or_else(|| Status::not_found("", "nodes", node))?)?;
    let target = Target { scheme: Scheme::Https, host: place.host, port: place.port, agent: Some(place.node) };
    Ok((target, path))
}

/// The kubelet's path and query.
fn path(pod: &Value, request: &Request, sub: Sub) -> status::Result<String> {
    let (namespace, name) = (request.namespace.as_str(), request.name.as_str());
    let given: Vec<(_, _)> = form_urlencoded::parse(request.query.as_bytes()).collect();
    let mut query = Serializer::new(String::new());
    let path = if sub == Sub::PortForward {
        let ports: Vec<&str> = given.iter().filter(|(name, _)| name == "ports").map(|(_, it)| &**it).collect();
        if !ports.is_empty() {
            query.append_pair("port", &ports.join(","));
        }
        format!("/portForward/{namespace}/{name}")
    } else {
        let value = |wanted: &str| given.iter().find(|(name, _)| name == wanted).map(|(_, it)| &**it);
        let no = |it: &str| matches!(it, "false" | "0");
        // As the API's defaults have it: output unless it is refused, the rest if it is asked for. A flag that says nothing is set.
        for (theirs, kubelets, default) in
            [("stdin", "input", false), ("stdout", "output", true), ("stderr", "error", true), ("tty", "tty", false)]
        {
            if value(theirs).map_or(default, |it| !no(it)) {
                query.append_pair(kubelets, "1");
            }
        }
        if sub == Sub::Exec {
            query.extend_pairs(given.iter().filter(|(name, _)| name == "command"));
        }
        let container = container(pod, name, value("container").unwrap_or_default())?;
        format!("/{}/{namespace}/{name}/{container}", sub.segment())
    };
    let query = query.finish();
    Ok(if query.is_empty() { path } else { format!("{path}?{query}") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    #[track_caller]
    fn check(asked_for: &str, expected: Result<&str, &str>) {
        let uri = format!("/api/v1/namespaces/d/pods/web/{asked_for}");
        let head = http::Request::post(uri).body(()).unwrap().into_parts().0;
        let request = Request::parse(head, &Registry::default()).unwrap();
        let sub = asked(&request).unwrap();
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let path = path(&pod, &request, sub).map_err(|it| it.message);
        assert_eq!(path, expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn the_kubelet_is_asked_in_its_own_words() {
        check(
            "exec?command=ls&command=-l%20a&container=b&stdin=true&stdout=true&stderr=true&tty=false",
            Ok("/exec/d/web/b?input=1&output=1&error=1&command=ls&command=-l+a"),
        );
        check("exec?command=ls&container=a&stdout=true&stderr=false", Ok("/exec/d/web/a?output=1&command=ls"));
        check("attach?container=a&command=ls&stdin=&tty", Ok("/attach/d/web/a?input=1&output=1&error=1&tty=1"));
        check("portforward?ports=80&ports=443", Ok("/portForward/d/web?port=80%2C443"));
        check("portforward", Ok("/portForward/d/web"));
        check("exec?command=ls", Err("a container name must be specified for pod web, choose one of: [a b]"));
        check("exec?command=ls&container=c", Err("container c is not valid for pod web"));
    }
}
