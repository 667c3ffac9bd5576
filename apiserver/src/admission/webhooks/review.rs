//! `AdmissionReview`: the question that a webhook is asked, and what its answer may be.
//!
//! In: the request as [`crate::admission::expressions::request`] tells it, with the objects. Out: the answer's verdict, checked: who answers
//! another question, in another version or with half a patch lies. Source: `k8s.io/apiserver/pkg/admission/plugin/webhook/request`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_api::status::{Reason, Status};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a webhook says.
#[derive(Debug, Default)]
pub struct Verdict {
    pub allowed: bool,
    /// Code, reason and message of a refusal.
    pub refusal: Refusal,
    /// A JSON patch.
    pub patch: Option<Vec<u8>>,
    pub warnings: Vec<String>,
    pub annotations: BTreeMap<String, String>,
}

/// Why it refuses.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    pub code: u16,
    pub reason: String,
    pub message: String,
    pub details: Option<Value>,
}

impl Refusal {
    /// The status that the client reads.
    pub fn status(&self, webhook: &str) -> Status {
        let denied = format!("admission webhook {webhook:?} denied the request");
        let message = match (self.message.as_str(), self.reason.as_str()) {
            ("", "") => format!("{denied} without explanation"),
            ("", reason) => format!("{denied}: {reason}"),
            (message, _) => format!("{denied}: {message}"),
        };
        let code = if self.code < 400 { 400 } else { self.code };
        Status::new(Reason::Unknown, message).with_code(code, self.reason.clone())
    }
}

/// The version in which a webhook is asked: the first of its list that we speak.
pub fn version(known: &[String]) -> &'static str {
    match known.iter().find(|it| matches!(it.as_str(), "v1" | "v1beta1")) {
        Some(it) if it == "v1beta1" => "admission.k8s.io/v1beta1",
        _ => "admission.k8s.io/v1",
    }
}

/// The question.
pub fn question(version: &str, uid: &str, request: &Value, object: &Value, old: &Value) -> Vec<u8> {
    let mut request = request.clone();
    request["uid"] = uid.into();
    request["object"] = object.clone();
    request["oldObject"] = old.clone();
    json!({"kind": "AdmissionReview", "apiVersion": version, "request": request}).to_string().into_bytes()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    response: Option<Response>,
}

/// Bytes as Go reads them: base64, or a list of numbers, as webhooks written with kube-rs send them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    List(Vec<u8>),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: String,
    allowed: bool,
    status: Option<Refusal>,
    patch: Option<Bytes>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

/// Reads the answer.
///
/// # Errors
/// Why it is none, in Kubernetes' words.
pub fn answer(body: &[u8], version: &str, uid: &str, mutates: bool) -> Result<Verdict, String> {
    let review: Review = serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let invalid = |why: String| Err(format!("received invalid webhook response: {why}"));
    let Some(response) = review.response else { return invalid("webhook response was absent".to_owned()) };
    // The oldest form may leave out the rest.
    if version.ends_with("/v1") {
        if response.uid != uid {
            return invalid(format!("expected response.uid={uid:?}, got {:?}", response.uid));
        }
        if (review.api_version.as_str(), review.kind.as_str()) != (version, "AdmissionReview") {
            let got = &review.api_version;
            return invalid(format!(
                "expected webhook response of {version}, Kind=AdmissionReview, got {got}, Kind={}",
                review.kind
            ));
        }
    }
    let patch = match response.patch {
        None => None,
        Some(Bytes::List(patch)) => Some(patch),
        Some(Bytes::Text(text)) => match STANDARD.decode(text) {
            Ok(patch) => Some(patch),
            Err(error) => return invalid(format!("response.patch: {error}")),
        },
    };
    let patch = patch.filter(|it| !it.is_empty());
    if mutates && version.ends_with("/v1") {
        match (&patch, response.patch_type.as_deref()) {
            (Some(_), None) => return invalid("webhook returned response.patch but not response.patchType".to_owned()),
            (None, Some(_)) => return invalid("webhook returned response.patchType but not response.patch".to_owned()),
            (Some(_), Some(other)) if other != "JSONPatch" => {
                return invalid(format!("webhook returned invalid response.patchType of {other:?}"));
            }
            _ => {}
        }
    } else if patch.is_some() && version.ends_with("/v1") {
        return invalid("validating webhook may not return response.patch".to_owned());
    }
    Ok(Verdict {
        allowed: response.allowed,
        refusal: response.status.unwrap_or_default(),
        patch,
        warnings: response.warnings.unwrap_or_default(),
        annotations: response.audit_annotations.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "admission.k8s.io/v1";

    fn check(response: Value, mutates: bool, expected: Result<bool, &str>) {
        let body = json!({"apiVersion": V1, "kind": "AdmissionReview", "response": response}).to_string();
        let got = answer(body.as_bytes(), V1, "u", mutates).map(|it| it.allowed);
        assert_eq!(got, expected.map_err(str::to_owned));
    }

    #[test]
    fn who_lies_is_told_apart() {
        check(json!({"uid": "u", "allowed": true}), true, Ok(true));
        check(json!({"uid": "u"}), false, Ok(false));
        let start = "received invalid webhook response: ";
        let lie = |why: &str| format!("{start}{why}");
        check(json!({"uid": "x", "allowed": true}), true, Err(&lie("expected response.uid=\"u\", got \"x\"")));
        for patch in [json!("W10="), json!([91, 93])] {
            check(
                json!({"uid": "u", "allowed": true, "patch": patch}),
                true,
                Err(&lie("webhook returned response.patch but not response.patchType")),
            );
            check(json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"}), true, Ok(true));
        }
        check(
            json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "Merge"}),
            true,
            Err(&lie("webhook returned invalid response.patchType of \"Merge\"")),
        );
        check(Value::Null, true, Err(&lie("webhook response was absent")));
    }

    #[test]
    fn refusals_say_who_refuses() {
        let status = |value: Value| serde_json::from_value::<Refusal>(value).unwrap().status("a.b.c");
        assert_eq!(status(json!({})).message, "admission webhook \"a.b.c\" denied the request without explanation");
        assert_eq!(status(json!({"code": 200})).code(), 400);
        let told = status(json!({"code": 418, "message": "no", "reason": "Tea"}));
        assert_eq!((told.code(), told.message.as_str()), (418, "admission webhook \"a.b.c\" denied the request: no"));
        assert_eq!(told.to_json()["reason"], "Tea");
    }
}
