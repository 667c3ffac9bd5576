//! The path of a request: `/apis/apps/v1/namespaces/default/deployments/web/scale` and what each segment means.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`. Simplification: there are no prefixes but `/api` and `/apis`.

use std::borrow::Cow;

use http::Method;
use orlop_api::kind::Sub;
use orlop_api::status::{self, Status};

use super::Verb;

/// The segments of a resource's path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
    /// What follows the subresource.
    pub rest: String,
    /// `/api/v1/watch/pods`: the old form of a watch.
    pub legacy_watch: bool,
}

impl Path {
    /// Reads a path; none if it is no resource's.
    ///
    /// # Errors
    /// `BadRequest` where its escapes are no text.
    pub fn parse(path: &str) -> status::Result<Option<Path>> {
        let segments: Vec<Cow<'_, str>> =
            path.split('/').filter(|it| !it.is_empty()).map(unescape).collect::<status::Result<_>>()?;
        let segments: Vec<&str> = segments.iter().map(|it| &**it).collect();
        let mut out = Path::default();
        let mut rest: &[&str] = match segments.as_slice() {
            ["api", version, rest @ ..] => {
                out.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] => {
                out.group = (*group).to_owned();
                out.version = (*version).to_owned();
                rest
            }
            _ => return Ok(None),
        };
        if let ["watch", more @ ..] = rest {
            out.legacy_watch = true;
            rest = more;
        }
        if let ["namespaces", namespace, more @ ..] = rest {
            // `namespaces/x` and its subresources are in the namespace they name, as authorization sees it.
            out.namespace = (*namespace).to_owned();
            if !matches!(more, [] | ["status" | "finalize", ..]) {
                rest = more;
            }
        }
        let [resource, more @ ..] = rest else { return Ok(None) };
        out.resource = (*resource).to_owned();
        if let [name, more @ ..] = more {
            out.name = (*name).to_owned();
            if let [sub, more @ ..] = more {
                out.subresource = (*sub).to_owned();
                out.rest = more.join("/");
            }
        }
        Ok(Some(out))
    }
}

/// What a method on a resource means.
///
/// # Errors
/// `MethodNotAllowed`.
pub fn verb(method: &Method, name: &str, subresource: &str, watch: bool, legacy_watch: bool) -> status::Result<Verb> {
    let collection = name.is_empty();
    Ok(match *method {
        Method::GET if legacy_watch => Verb::Watch,
        Method::GET | Method::HEAD if collection && watch => Verb::Watch,
        Method::GET | Method::HEAD if collection => Verb::List,
        Method::GET | Method::HEAD => Verb::Get,
        // Only what is proxied knows it; no rule but `*` allows it.
        Method::OPTIONS if subresource == Sub::Proxy.segment() => Verb::PlainOther,
        Method::POST if collection || !subresource.is_empty() => Verb::Create,
        Method::PUT if !collection => Verb::Update,
        Method::PATCH if !collection => Verb::Patch,
        Method::DELETE if collection => Verb::DeleteCollection,
        Method::DELETE => Verb::Delete,
        _ => return Err(Status::method_not_allowed()),
    })
}

/// A segment without its `%` escapes.
fn unescape(segment: &str) -> status::Result<Cow<'_, str>> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let bad = || Status::bad_request(format!("invalid URL escape in {segment:?}"));
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|it| char::from(it).to_digit(16)).ok_or_else(bad);
        let (high, low) = (digit()?, digit()?);
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<&str>) {
        let got = Path::parse(path).unwrap().map(|it| {
            let watch = if it.legacy_watch { " watch" } else { "" };
            format!(
                "{}|{}|{}|{}|{}|{}|{}{watch}",
                it.group, it.version, it.namespace, it.resource, it.name, it.subresource, it.rest
            )
        });
        assert_eq!(got.as_deref(), expected);
    }

    #[test]
    fn segments_have_kubernetes_meaning() {
        check("/healthz", None);
        check("/api", None);
        check("/api/v1", None);
        check("/apis/apps/v1", None);
        check("/api/v1/nodes", Some("|v1||nodes|||"));
        check("/api/v1/namespaces", Some("|v1||namespaces|||"));
        check("/api/v1/namespaces/a", Some("|v1|a|namespaces|a||"));
        check("/api/v1/namespaces/a/finalize", Some("|v1|a|namespaces|a|finalize|"));
        check("/api/v1/namespaces/a/pods", Some("|v1|a|pods|||"));
        check("/api/v1/namespaces/a/pods/b%3Ac/log", Some("|v1|a|pods|b:c|log|"));
        check("/apis/apps/v1/namespaces/a/deployments/b/scale", Some("apps|v1|a|deployments|b|scale|"));
        check("/api/v1/watch/namespaces/a/pods/b", Some("|v1|a|pods|b|| watch"));
        check("/api/v1/nodes/n/proxy/metrics/x", Some("|v1||nodes|n|proxy|metrics/x"));
        assert!(Path::parse("/api/v1/nodes/%zz").is_err());
    }

    #[test]
    fn methods_that_mean_nothing_are_not_allowed() {
        assert_eq!(verb(&Method::PUT, "", "", false, false).unwrap_err().code(), 405);
        assert_eq!(verb(&Method::POST, "a", "", false, false).unwrap_err().code(), 405);
        assert_eq!(verb(&Method::POST, "a", "binding", false, false).unwrap(), Verb::Create);
        assert_eq!(verb(&Method::GET, "a", "", true, false).unwrap(), Verb::Get);
        assert_eq!(verb(&Method::GET, "", "", true, false).unwrap(), Verb::Watch);
        assert_eq!(verb(&Method::DELETE, "", "", false, false).unwrap(), Verb::DeleteCollection);
    }
}
