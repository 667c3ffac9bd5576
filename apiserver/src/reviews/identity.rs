//! Reviews of identities: who am I, and whose is this token?

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use orlop_api::status::{self, Status};
use orlop_client::clock;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authenticate::service_account::ISSUER;
use crate::stage::{Authenticator, Identity, Peer};

/// A token, and for whom it should be.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    token: String,
    audiences: Vec<String>,
}

/// Who asks.
pub fn own(identity: &Identity, answer: &mut Value) {
    let now = orlop_api::meta::whole_seconds(clock::now()).to_string();
    answer["metadata"]["creationTimestamp"] = now.into();
    answer["status"] = json!({"userInfo": user(identity)});
}

fn user(identity: &Identity) -> Value {
    let mut out = json!({"username": identity.user});
    if !identity.uid.is_empty() {
        out["uid"] = identity.uid.as_str().into();
    }
    if !identity.groups.is_empty() {
        out["groups"] = identity.groups.clone().into();
    }
    if !identity.extra.is_empty() {
        out["extra"] = json!(identity.extra);
    }
    out
}

/// Whose token it is.
///
/// # Errors
/// `BadRequest` where there is none.
pub fn of_token(by: &dyn Authenticator, spec: Spec, answer: &mut Value) -> status::Result<()> {
    if spec.token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    // Tokens are signed for this server only: for another audience none is good.
    let wanted = &spec.audiences;
    let audiences: Vec<&String> = wanted.iter().filter(|it| *it == ISSUER).collect();
    let found = if !wanted.is_empty() && audiences.is_empty() {
        Err(format!("token audiences [{ISSUER:?}] is invalid for the target audiences {wanted:?}"))
    } else {
        authenticated(by, &spec.token)
    };
    answer["status"] = match found {
        Ok(Some(identity)) => {
            let mut out = json!({"authenticated": true, "user": user(&identity)});
            if !audiences.is_empty() {
                out["audiences"] = json!(audiences);
            }
            out
        }
        Ok(None) => json!({"user": {}}),
        Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
    };
    Ok(())
}

/// Asks as if the token had come with a request.
fn authenticated(by: &dyn Authenticator, token: &str) -> Result<Option<std::sync::Arc<Identity>>, String> {
    let header = HeaderValue::try_from(format!("Bearer {token}"));
    let header = header.map_err(|_| "the token has characters that no header can have".to_owned())?;
    by.authenticate(&HeaderMap::from_iter([(AUTHORIZATION, header)]), &Peer::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Knows the token `good`.
    struct One;

    impl Authenticator for One {
        fn authenticate(&self, headers: &HeaderMap, _: &Peer) -> Result<Option<Arc<Identity>>, String> {
            match headers[AUTHORIZATION].to_str() {
                Ok("Bearer good") => Ok(Some(Arc::new(Identity::new("ann", &["dev"])))),
                _ => Err("nobody issued it".to_owned()),
            }
        }
    }

    #[track_caller]
    fn check(token: &str, audiences: &[&str], expected: Value) {
        let audiences = audiences.iter().map(|it| (*it).to_owned()).collect();
        let mut answer = json!({});
        of_token(&One, Spec { token: token.to_owned(), audiences }, &mut answer).unwrap();
        assert_eq!(answer["status"], expected);
    }

    #[test]
    fn tells_whose_a_token_is() {
        let user = json!({"username": "ann", "groups": ["dev", "system:authenticated"]});
        check("good", &[], json!({"authenticated": true, "user": user}));
        check("good", &[ISSUER, "x"], json!({"authenticated": true, "user": user, "audiences": [ISSUER]}));
        check("bad", &[], json!({"user": {}, "error": "[invalid bearer token, nobody issued it]"}));
        let why =
            format!("[invalid bearer token, token audiences [{ISSUER:?}] is invalid for the target audiences [\"x\"]]");
        check("good", &["x"], json!({"user": {}, "error": why}));
        assert!(of_token(&One, Spec::default(), &mut json!({})).is_err());
    }
}
