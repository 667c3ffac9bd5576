//! Tokens of browsers: they cannot set `Authorization` for a WebSocket, and name the token among its subprotocols.
//!
//! Source: `k8s.io/apiserver/pkg/authentication/request/websocket`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::websocket::is_asked;

/// What stands before the token, which is in base64 for URLs.
const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Whether a subprotocol is none, but a token.
pub fn is_token(protocol: &str) -> bool {
    protocol.starts_with(PREFIX)
}

/// The token among the subprotocols; none if there is none.
///
/// # Errors
/// What is wrong with it. Beside it there must be a subprotocol that can be answered.
pub fn token(headers: &HeaderMap) -> Result<Option<String>, String> {
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) || !is_asked(headers) {
        return Ok(None);
    }
    let named = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|it| it.to_str().ok());
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        named.flat_map(|it| it.split(',')).map(str::trim).partition(|it| is_token(it));
    match (tokens.as_slice(), others.is_empty()) {
        ([], _) => Ok(None),
        ([only], false) => {
            let bytes = URL_SAFE_NO_PAD.decode(&only[PREFIX.len()..]);
            let bytes = bytes.map_err(|_| "invalid base64.bearer.authorization token encoding")?;
            let token = String::from_utf8(bytes).map_err(|_| "invalid base64.bearer.authorization token")?;
            Ok(Some(token))
        }
        ([_], true) => Err("missing additional subprotocol".to_owned()),
        _ => Err("multiple base64.bearer.authorization tokens specified".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, HeaderValue, UPGRADE};

    use super::*;

    #[track_caller]
    fn check(protocols: &str, expected: Result<Option<&str>, &str>) {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocols).unwrap());
        assert_eq!(token(&headers), Ok(None), "no websocket");
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        let got = token(&headers);
        assert_eq!(got.as_ref().map(|it| it.as_deref()).map_err(String::as_str), expected, "{protocols}");
    }

    #[test]
    fn tokens_stand_among_subprotocols() {
        check("binary.k8s.io", Ok(None));
        check("base64url.bearer.authorization.k8s.io.c2VjcmV0, binary.k8s.io", Ok(Some("secret")));
        check("base64url.bearer.authorization.k8s.io.c2VjcmV0", Err("missing additional subprotocol"));
        check("a, base64url.bearer.authorization.k8s.io.%%", Err("invalid base64.bearer.authorization token encoding"));
        check(
            "base64url.bearer.authorization.k8s.io.YQ,base64url.bearer.authorization.k8s.io.YQ,x",
            Err("multiple base64.bearer.authorization tokens specified"),
        );
    }
}
