//! Custom objects in the versions that a webhook converts between (ConversionReview v1).
//!
//! In: objects as they are stored, and the version that is asked for. Out: their forms, put beside the objects in the cache, so that each revision
//! is converted once; or the bytes to be stored. Objects of other kinds, and those that only change `apiVersion`, pass through without a look.
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go`.

mod call;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use orlop_api::custom::definition::{Conversion, Webhook};
use orlop_api::custom::{Served, read};
use orlop_api::kind::Kind;
use orlop_api::status::{self, Reason, Status};
use orlop_client::random;
use serde_json::{Value, json};

use crate::cache::{Object, object};
use crate::core::Core;

/// How long a webhook may take.
const TIMEOUT: Duration = Duration::from_secs(30);

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
    let converted = review(core, &webhook, &served, values).await?;
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
    let converted = review(core, &webhook, &stored, vec![value]).await?.into_iter().next();
    let value = converted.unwrap_or_default();
    Ok(Cow::Owned(read::encode(read::accepted(value, &stored))))
}

/// Asks a webhook to convert objects to a version.
async fn review(core: &Core, webhook: &Webhook, to: &Served, objects: Vec<Value>) -> status::Result<Vec<Value>> {
    let wanted = to.definition.api_version(to.at);
    let first = objects.first().map_or("", |it| it["apiVersion"].as_str().unwrap_or_default());
    let about = format!("{first}, Kind={}", to.definition.names.kind);
    let uid = random::uid();
    let request = json!({
        "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
    });
    let called = tokio::time::timeout(TIMEOUT, call::post(core, &webhook.client_config, request.to_string().into()));
    let outcome = match called.await {
        Ok(Ok(answer)) => converted(&answer, &uid),
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
fn converted(answer: &[u8], uid: &str) -> Result<Vec<Value>, String> {
    let mut answer: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    if answer["kind"] != "ConversionReview" || answer["apiVersion"] != "apiextensions.k8s.io/v1" {
        return Err(format!(
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {}, Kind={}",
            answer["apiVersion"].as_str().unwrap_or_default(),
            answer["kind"].as_str().unwrap_or_default()
        ));
    }
    let response = &mut answer["response"];
    if response.is_null() {
        return Err("no response provided".to_owned());
    }
    if response["uid"] != uid {
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
        let check = |response: Value, expected: &str| {
            let answer =
                json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
            let got = converted(answer.to_string().as_bytes(), "u");
            assert_eq!(got.map(|it| it.len().to_string()).unwrap_or_else(|it| it), expected);
        };
        check(json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{}]}), "1");
        check(json!({"uid": "v"}), "expected response.uid=\"u\", got \"v\"");
        check(json!({"uid": "u", "result": {"status": "Failure", "message": "no"}}), "no");
        check(Value::Null, "no response provided");
        assert!(converted(b"x", "u").is_err());
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
