//! Custom objects in the versions that a webhook converts between (ConversionReview v1, and v1beta1 for webhooks that know only that).
//!
//! In: objects as they are stored, and the version that is asked for. Out: their forms, put beside the objects in the cache, so that each revision
//! is converted once; or the bytes to be stored. Objects of other kinds, and those that only change `apiVersion`, pass through without a look.
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use orlop_api::custom::definition::{Conversion, Webhook};
use orlop_api::custom::{Served, read};
use orlop_api::kind::Kind;
use orlop_api::status::{self, Reason, Status};
use orlop_client::random;
use serde_json::{Value, json};

use crate::cache::{Object, object};
use crate::callout::{Call, Caller, Place};
use crate::core::Core;

/// How long a webhook may take.
const TIMEOUT_SECONDS: u8 = 30;

/// The largest answer: a page of a list, converted, with room for what a version adds.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The port of a service at which a webhook is, if it does not say.
const PORT: u16 = 443;

/// The oldest form of reviews, whose answers name neither themselves nor what they answer.
const OLDEST: &str = "apiextensions.k8s.io/v1beta1";

/// Who converts to the version of a kind; none if nobody has to be asked.
fn webhook(kind: &Kind) -> Option<(Arc<Served>, Arc<Webhook>)> {
    let served = kind.custom?.now();
    let Conversion::Webhook(webhook) = &served.definition.conversion else { return None };
    let webhook = webhook.clone();
    Some((served, webhook))
}

/// Whether objects of a kind may have to be converted by somebody else.
pub fn is_asked(kind: &Kind) -> bool {
    webhook(kind).is_some()
}

/// Has the forms of these objects in the version of a kind made, where a webhook has to make them.
///
/// # Errors
/// What Kubernetes says of a webhook that fails.
pub async fn ready<'a>(core: &Core, kind: &Kind, objects: impl Iterator<Item = &'a Arc<Object>>) -> status::Result<()> {
    let Some((served, webhook)) = webhook(kind) else { return Ok(()) };
    let definition = &served.definition;
    let waits = |it: &&Arc<Object>| {
        !it.has_form(&served) && read::version_of(&it.json, definition).is_some_and(|version| version != served.at)
    };
    let waiting: Vec<Arc<Object>> = objects.filter(waits).cloned().collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let values: Vec<Value> = waiting.iter().map(|it| it.value()).collect();
    let converted = review(&core.caller, &webhook, &served, values).await?;
    for (object, value) in waiting.iter().zip(converted) {
        let json = Bytes::from(read::encode(read::accepted(value, &served)));
        object.put_form(kind, &served, json).map_err(Status::internal)?;
    }
    Ok(())
}

/// An object in the form in which it is stored.
///
/// # Errors
/// As [`ready`].
pub async fn to_stored<'a>(core: &Core, kind: &Kind, json: &'a [u8]) -> status::Result<Cow<'a, [u8]>> {
    let Some((served, webhook)) = webhook(kind).filter(|(served, _)| !served.is_stored()) else {
        return Ok(object::to_stored(kind, json));
    };
    let stored = Served { definition: served.definition.clone(), at: served.definition.storage };
    let value = serde_json::from_slice(json).map_err(Status::internal)?;
    let converted = review(&core.caller, &webhook, &stored, vec![value]).await?.into_iter().next();
    let value = converted.unwrap_or_default();
    Ok(Cow::Owned(read::encode(read::accepted(value, &stored))))
}

/// An object of a kind in the form of another that is kept in the same place: another version of a custom kind, or one of two built-in kinds of
/// which one is stored in the form of the other.
///
/// # Errors
/// As [`ready`].
pub async fn between(caller: &Caller, from: &Kind, to: &Kind, mut value: Value) -> status::Result<Value> {
    if value.is_null() || std::ptr::eq(from, to) {
        return Ok(value);
    }
    if to.custom.is_some() {
        if let Some((served, webhook)) = webhook(to) {
            let converted = review(caller, &webhook, &served, vec![value]).await?;
            return Ok(converted.into_iter().next().unwrap_or_default());
        }
        value["apiVersion"] = to.api_version().into();
        return Ok(value);
    }
    let stored = from.conversion.map_or_else(|| value.clone(), |it| (it.to_stored)(value.clone()));
    let mut out = to.conversion.map_or_else(|| stored.clone(), |it| (it.from_stored)(stored.clone()));
    out["apiVersion"] = to.api_version().into();
    out["kind"] = to.kind.into();
    Ok(out)
}

/// The form in which a webhook is asked: the first of its list that we speak.
fn version(webhook: &Webhook) -> &'static str {
    match webhook.conversion_review_versions.iter().find(|it| matches!(it.as_str(), "v1" | "v1beta1")) {
        Some(it) if it == "v1beta1" => OLDEST,
        _ => "apiextensions.k8s.io/v1",
    }
}

/// Posts a review to where a webhook is.
async fn post(caller: &Caller, webhook: &Webhook, body: Bytes) -> Result<Bytes, String> {
    let address = &webhook.client_config;
    let pem = address.ca_bundle.as_deref().map(|it| STANDARD.decode(it)).transpose();
    let ca = Bytes::from(pem.map_err(|error| error.to_string())?.unwrap_or_default());
    let place = match (&address.url, &address.service) {
        (Some(url), _) => Place::of_url(url).ok_or_else(|| format!("{url:?} is no address"))?,
        (None, Some(it)) => Place::Service {
            namespace: it.namespace.clone(),
            name: it.name.clone(),
            port: it.port.and_then(|it| u16::try_from(it).ok()).unwrap_or(PORT),
            path: it.path.clone().unwrap_or_default(),
        },
        (None, None) => return Err("the definition names neither url nor service".to_owned()),
    };
    let timeout_seconds = i32::from(TIMEOUT_SECONDS);
    let call = Call { place: &place, ca: &ca, timeout_seconds, answer_bytes_max: ANSWER_BYTES_MAX };
    caller.post(&call, body).await
}

/// Asks a webhook to convert objects to a version.
async fn review(caller: &Caller, webhook: &Webhook, to: &Served, objects: Vec<Value>) -> status::Result<Vec<Value>> {
    let wanted = to.definition.api_version(to.at);
    let first = objects.first().map_or("", |it| it["apiVersion"].as_str().unwrap_or_default());
    let about = format!("{first}, Kind={}", to.definition.names.kind);
    let uid = random::uid();
    let version = version(webhook);
    let request = json!({
        "kind": "ConversionReview", "apiVersion": version,
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
    });
    let limit = Duration::from_secs(TIMEOUT_SECONDS.into());
    let called = tokio::time::timeout(limit, post(caller, webhook, request.to_string().into()));
    let outcome = match called.await {
        Ok(Ok(answer)) => converted(&answer, version, &uid),
        Ok(Err(why)) => Err(why),
        Err(_) => Err("context deadline exceeded".to_owned()),
    };
    let converted = outcome.map_err(|why| failure(format!("conversion webhook for {about} failed: {why}")))?;
    if converted.len() != objects.len() {
        return Err(failure(format!(
            "conversion webhook for {about} returned {} objects, expected {}",
            converted.len(),
            objects.len()
        )));
    }
    let mut out = Vec::with_capacity(converted.len());
    for (at, (mut value, original)) in converted.into_iter().zip(&objects).enumerate() {
        settle(&mut value, original, &wanted).map_err(|why| {
            failure(format!("conversion webhook for {about} returned invalid converted object at index {at}: {why}"))
        })?;
        out.push(value);
    }
    Ok(out)
}

fn failure(text: String) -> Status {
    Status::new(Reason::Unknown, text)
}

/// The objects of an answer.
fn converted(answer: &[u8], version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let mut answer: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let named = version != OLDEST;
    if named && (answer["kind"] != "ConversionReview" || answer["apiVersion"] != version) {
        return Err(format!(
            "expected webhook response of {version}, Kind=ConversionReview, got {}, Kind={}",
            answer["apiVersion"].as_str().unwrap_or_default(),
            answer["kind"].as_str().unwrap_or_default()
        ));
    }
    let response = &mut answer["response"];
    if response.is_null() {
        return Err("no response provided".to_owned());
    }
    if named && response["uid"] != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response["uid"].as_str().unwrap_or_default()));
    }
    let result = &response["result"];
    let status = result["status"].as_str().unwrap_or_default();
    if status != "Success" {
        let told = ["message", "reason"].into_iter().find_map(|it| result[it].as_str().filter(|it| !it.is_empty()));
        return Err(match (told, status) {
            (Some(told), _) => told.to_owned(),
            (None, "") => "response.result.status was \"\", expected \"Success\"".to_owned(),
            (None, status) => format!("response.result.status was {status:?}, expected \"Success\""),
        });
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// Checks a converted object, and takes back what no conversion may change: all metadata but labels and annotations.
fn settle(value: &mut Value, original: &Value, wanted: &str) -> Result<(), String> {
    let got = value["apiVersion"].as_str().unwrap_or_default();
    if got != wanted {
        return Err(format!("invalid groupVersion (expected {wanted}, received {got})"));
    }
    if value["kind"] != original["kind"] {
        return Err(format!("invalid kind (expected {}, received {})", original["kind"], value["kind"]));
    }
    for field in ["name", "namespace", "uid"] {
        let (new, old) = (&value["metadata"][field], &original["metadata"][field]);
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        if text(new) != text(old) {
            return Err(format!("must have the same {field}: {} != {}", text(new), text(old)));
        }
    }
    let mut metadata = original["metadata"].clone();
    for field in ["labels", "annotations"] {
        match value["metadata"].get(field).filter(|it| !it.is_null()) {
            Some(kept) => metadata[field] = kept.clone(),
            None => {
                if let Some(fields) = metadata.as_object_mut() {
                    fields.remove(field);
                }
            }
        }
    }
    value["metadata"] = metadata;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_not_believed() {
        const V1: &str = "apiextensions.k8s.io/v1";
        let check_in = |version: &str, response: Value, expected: &str| {
            let answer = json!({"kind": "ConversionReview", "apiVersion": V1, "response": response});
            let got = converted(answer.to_string().as_bytes(), version, "u");
            assert_eq!(got.map(|it| it.len().to_string()).unwrap_or_else(|it| it), expected);
        };
        let check = |response: Value, expected: &str| check_in(V1, response, expected);
        check(json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{}]}), "1");
        check(json!({"uid": "v"}), "expected response.uid=\"u\", got \"v\"");
        check(json!({"uid": "u", "result": {"status": "Failure", "message": "no"}}), "no");
        check(Value::Null, "no response provided");
        assert!(converted(b"x", V1, "u").is_err());
        // The oldest form says neither what it is nor what it answers.
        check_in(OLDEST, json!({"result": {"status": "Success"}, "convertedObjects": [{}, {}]}), "2");
        check_in(OLDEST, json!({"result": {"status": "Failure", "reason": "no"}}), "no");
    }

    #[test]
    fn metadata_stays_as_it_was() {
        let original =
            json!({"kind": "A", "metadata": {"name": "a", "uid": "u", "generation": 3, "labels": {"x": "y"}}});
        let mut value = json!({"apiVersion": "b.io/v2", "kind": "A", "metadata": {"name": "a", "uid": "u", "generation": 9, "labels": {"z": "1"}}});
        settle(&mut value, &original, "b.io/v2").unwrap();
        assert_eq!(value["metadata"], json!({"name": "a", "uid": "u", "generation": 3, "labels": {"z": "1"}}));
        value["metadata"]["name"] = "other".into();
        assert_eq!(settle(&mut value, &original, "b.io/v2").unwrap_err(), "must have the same name: other != a");
        assert!(settle(&mut value, &original, "b.io/v3").unwrap_err().starts_with("invalid groupVersion"));
    }
}
