//! What of a request's and an answer's headers goes through the proxy.
//!
//! What concerns one connection stays there (RFC 9110, section 7.6.1), as do the credentials for this server; who asked and for what is added.
//! Source: Go's `httputil.ReverseProxy`, `k8s.io/apimachinery/pkg/util/{net,proxy}`.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::authenticate::websocket::is_token;
use crate::request::Request;

/// Headers of one connection.
const HOPS: &[&str] = &[
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What says to this server who asks, and is no business of the target's.
const OURS: &[&str] = &["authorization", "impersonate-", "x-remote-", "audit-id"];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// The protocol to which a request asks to change.
pub fn upgrade_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|it| it.to_str().ok());
    let named = connection.flat_map(|it| it.split(',')).any(|it| it.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| named)
}

/// The host that the client asked; empty if it named none.
pub fn host(request: &Request) -> &str {
    request.headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default()
}

/// Removes what concerns one connection.
pub fn strip_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','))
        .filter_map(|it| it.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOPS {
        headers.remove(*name);
    }
}

/// The headers with which a request goes on.
pub fn onward(request: &Request, authority: &str) -> HeaderMap {
    let upgrade = upgrade_of(&request.headers).cloned();
    let mut out = request.headers.clone();
    strip_hops(&mut out);
    let ours: Vec<HeaderName> =
        out.keys().filter(|name| OURS.iter().any(|it| name.as_str().starts_with(it))).cloned().collect();
    for name in ours {
        out.remove(name);
    }
    if let Some(upgrade) = upgrade {
        out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        out.insert(header::UPGRADE, upgrade);
        hide_token(&mut out);
    }
    if let (None, Ok(value)) = (out.get(header::HOST), HeaderValue::from_str(authority)) {
        out.insert(header::HOST, value);
    }
    if let Ok(value) = HeaderValue::from_str(&request.path) {
        out.insert(FORWARDED_URI, value);
    }
    if let Some(address) = request.client {
        let before = request.headers.get(FORWARDED_FOR).and_then(|it| it.to_str().ok());
        let chain = before.map_or_else(|| address.to_string(), |it| format!("{it}, {address}"));
        if let Ok(value) = HeaderValue::from_str(&chain) {
            out.insert(FORWARDED_FOR, value);
        }
    }
    out
}

/// A token among the subprotocols was for us.
fn hide_token(headers: &mut HeaderMap) {
    let named = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|it| it.to_str().ok());
    let left: Vec<&str> = named.flat_map(|it| it.split(',')).map(str::trim).filter(|it| !is_token(it)).collect();
    let left = HeaderValue::from_str(&left.join(", "));
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(left) = left
        && !left.is_empty()
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn credentials_and_hops_stay_here() {
        let head = http::Request::get("/api/v1/namespaces/d/pods/web/proxy/x")
            .header("host", "api.example.com")
            .header("authorization", "Bearer secret")
            .header("impersonate-user", "jane")
            .header("impersonate-extra-x", "y")
            .header("connection", "Upgrade, X-Mine")
            .header("x-mine", "1")
            .header("upgrade", "websocket")
            .header("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, chat")
            .header("cookie", "a=b")
            .header("x-forwarded-for", "192.0.2.7")
            .extension(std::sync::Arc::new(crate::stage::Peer {
                address: "192.0.2.8:4000".parse().ok(),
                ..Default::default()
            }));
        let request = Request::parse(head.body(()).unwrap().into_parts().0, &Registry::default()).unwrap();
        let out = onward(&request, "10.0.0.1:80");
        let mut shown: Vec<String> =
            out.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "connection: Upgrade",
                "cookie: a=b",
                "host: api.example.com",
                "sec-websocket-protocol: chat",
                "upgrade: websocket",
                "x-forwarded-for: 192.0.2.7, 192.0.2.8",
                "x-forwarded-uri: /api/v1/namespaces/d/pods/web/proxy/x",
            ]
        );
    }
}
