//! Reviews of identities: who am I, and whose is this token?

use orlop_api::status::{self, Status};
use orlop_client::clock;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authenticate::service_account::ISSUER;
use crate::stage::{Authenticator, Identity};

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
    let wanted = if spec.audiences.is_empty() { vec![ISSUER.to_owned()] } else { spec.audiences };
    answer["status"] = match by.review(&spec.token, &wanted) {
        Ok(Some((identity, audiences))) => {
            json!({"authenticated": true, "user": user(&identity), "audiences": audiences})
        }
        Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
        Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::{Peer, Reviewed};
    use http::HeaderMap;
    use std::sync::Arc;

    /// Knows the token `good`, which is for this server and for `vault`.
    struct One;

    impl Authenticator for One {
        fn authenticate(&self, _: &HeaderMap, _: &Peer) -> Result<Option<Arc<Identity>>, String> {
            Ok(None)
        }

        fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Reviewed>, String> {
            let good_for = audiences.iter().filter(|it| *it == ISSUER || *it == "vault").cloned().collect();
            match token {
                "good" => Ok(Some((Arc::new(Identity::new("ann", &["dev"])), good_for))),
                "bad" => Err("nobody issued it".to_owned()),
                _ => Ok(None),
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
        check("good", &[], json!({"authenticated": true, "user": user, "audiences": [ISSUER]}));
        check("good", &["x", "vault"], json!({"authenticated": true, "user": user, "audiences": ["vault"]}));
        check("bad", &[], json!({"user": {}, "error": "[invalid bearer token, nobody issued it]"}));
        check("strange", &[], json!({"user": {}, "error": "invalid bearer token"}));
        assert!(of_token(&One, Spec::default(), &mut json!({})).is_err());
    }
}
