//! Continue tokens: the revision of all pages of a list, and where the next begins. Opaque to clients.
//!
//! Source: `k8s.io/apiserver/pkg/storage/continue.go`, whose form and words these are.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orlop_api::status::{self, Status};
use serde::{Deserialize, Serialize};

/// The version of the token's form.
const VERSION: &str = "meta.k8s.io/v1";

/// The revision in the token of a list that goes on as things are now.
const INCONSISTENT: i64 = -1;

/// What a token says.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Token {
    v: String,
    rv: i64,
    /// The last key that was shown, behind the list's prefix.
    start: String,
}

impl Token {
    /// A token for what comes after `start` at a revision.
    pub fn new(revision: u64, start: &str) -> Self {
        Token { v: VERSION.to_owned(), rv: i64::try_from(revision).unwrap_or(i64::MAX), start: start.to_owned() }
    }

    /// A token for what comes after `start`, whenever that is asked.
    pub fn inconsistent(start: &str) -> Self {
        Token { rv: INCONSISTENT, ..Token::new(0, start) }
    }

    /// The revision of the list; none if it goes on as things are now.
    pub fn revision(&self) -> Option<u64> {
        u64::try_from(self.rv).ok()
    }

    /// The last key that was shown, behind the list's prefix.
    pub fn start(&self) -> &str {
        &self.start
    }

    /// As clients carry it.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads what a client has carried back.
    ///
    /// # Errors
    /// `BadRequest` for what nobody issued.
    pub fn decode(text: &str) -> status::Result<Self> {
        let bad = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| bad(&error.to_string()))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        if token.v != VERSION {
            return Err(bad(&format!("server does not recognize this encoded version {}", token.v)));
        }
        if token.rv == 0 {
            return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if token.start.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
        }
        // A start is a key below the list's, never a way up.
        let climbs = token.start.trim_start_matches('/').split('/').any(|it| matches!(it, "" | "." | ".."));
        if climbs { Err(bad(&token.start)) } else { Ok(token) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        let token = Token::new(7, "default/web");
        assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        assert_eq!(Token::decode(&Token::inconsistent("a").encode()).unwrap().revision(), None);
        let other = Token { v: "v2".to_owned(), ..Token::new(1, "a") };
        for (bad, why) in [
            ("%%%", "Invalid symbol"),
            ("e30", "missing field"),
            (&other.encode(), "server does not recognize this encoded version v2"),
            (&Token::new(0, "a").encode(), "incorrect encoded start resourceVersion"),
            (&Token::new(1, "").encode(), "encoded start key empty"),
            (&Token::new(1, "../secrets/a").encode(), "../secrets/a"),
        ] {
            let status = Token::decode(bad).unwrap_err();
            assert_eq!(status.code(), 400);
            let expected = format!("invalid continue token: continue key is not valid: {why}");
            assert!(status.message.starts_with(&expected), "{status}");
        }
    }
}
