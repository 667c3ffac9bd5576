//! `serviceaccounts/<name>/token`: tokens are asked for here, by `kubectl create token`, by agents for their pods' volumes, and by the
//! controller that fills Secrets of type `kubernetes.io/service-account-token` (which binds the token to the Secret).
//!
//! In: a TokenRequest. Out: the same with a signed token in its status; nothing is stored. Source: `pkg/registry/core/serviceaccount/storage`
//! and `pkg/apis/authentication/validation`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use jiff::SignedDuration;
use orlop_api::field::Errors;
use orlop_api::kind::Sub;
use orlop_api::status::{self, Status};
use orlop_client::{clock, random};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admission::Sight;
use crate::aside::{self, Aside};
use crate::authenticate::Found;
use crate::authenticate::service_account::{Claims, ISSUER, Issuer, Private, Reference, user_name};
use crate::authorize::node_name;
use crate::present::{self, Body, Response};
use crate::registry;
use crate::request::Verb;
use crate::stage::{Authorized, Connector, Operation, Plugin};
use crate::verbs::content;

/// What a request that names no duration gets, and the limits of Kubernetes, in seconds.
const EXPIRATION_DEFAULT: i64 = 3600;
const EXPIRATION_MIN: i64 = 600;
const EXPIRATION_MAX: i64 = 1 << 32;

/// What kubelets ask for a pod's projected token: an hour and seven seconds, which nobody chooses by chance (`WarnOnlyBoundTokenExpirationSeconds`).
const EXPIRATION_OF_PROJECTED: i64 = 3607;
/// How long such a token lives instead, so that programs which read it only once go on to work: a year (KEP-1205).
const EXPIRATION_EXTENDED: i64 = 365 * 24 * 3600;

/// How many audiences a token may have; Kubernetes has no limit but that of the body.
const AUDIENCES_MAX: usize = 64;

/// Gives out tokens.
pub struct Tokens {
    issuer: Arc<Issuer>,
    sight: Sight,
    /// Webhooks and policies may look at what is asked for.
    plugins: Vec<Arc<dyn Plugin>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: Value,
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    /// Old clients write `null` where they name none.
    #[serde(deserialize_with = "null_is_none")]
    audiences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_object_ref: Option<Bound>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Bound {
    kind: String,
    api_version: String,
    name: String,
    uid: String,
}

fn null_is_none<'de, D: serde::Deserializer<'de>>(decoder: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(decoder).map(Option::unwrap_or_default)
}

/// The objects that a token is to be bound to.
#[derive(Default)]
struct Bonds {
    pod: Option<Reference>,
    secret: Option<Reference>,
    node: Option<Reference>,
}

impl Tokens {
    /// Signs with this key.
    pub fn new(issuer: Arc<Issuer>, sight: Sight, plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Tokens { issuer, sight, plugins }
    }

    /// Looks up what the token is to be bound to.
    async fn bonds(&self, it: &Authorized, bound: Option<&Bound>) -> status::Result<Bonds> {
        let (namespace, account) = (it.request().namespace.as_str(), it.request().name.as_str());
        let asking = node_name(it.identity());
        let refused = |why: &str| Status::forbidden("", "serviceaccounts", account, why);
        let mut bonds = Bonds::default();
        let Some(bound) = bound else {
            return asking
                .map_or(Ok(bonds), |node| Err(refused(&format!("node {node:?} requested token not bound to a pod"))));
        };
        let (resource, place) = match bound.kind.as_str() {
            "Pod" => ("pods", namespace),
            "Secret" => ("secrets", namespace),
            "Node" => ("nodes", ""),
            _ => return Err(Status::bad_request(format!("cannot bind token to object of type {:?}", bound.kind))),
        };
        let found = self.sight.find(&bound.kind, place, &bound.name).await?;
        let found = found.ok_or_else(|| Status::not_found("", resource, &bound.name))?;
        if !bound.uid.is_empty() && bound.uid != found.uid {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                bound.uid
            );
            return Err(Status::conflict("", resource, &bound.name, &why));
        }
        let reference = Some(Reference { name: bound.name.clone(), uid: found.uid.clone() });
        if bound.kind != "Pod" {
            if let Some(node) = asking {
                return Err(refused(&format!("node {node:?} requested token not bound to a pod")));
            }
            if bound.kind == "Secret" {
                bonds.secret = reference
            } else {
                bonds.node = reference
            }
            return Ok(bonds);
        }
        bonds.pod = reference;
        let (runs_as, node) = pod_facts(&found);
        if runs_as != account {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        if asking.is_some_and(|it| it != node) {
            return Err(refused(&format!(
                "node {:?} requested token bound to a pod scheduled on a different node",
                asking.unwrap_or_default()
            )));
        }
        if !node.is_empty()
            && let Some(found) = self.sight.find("Node", "", &node).await?
        {
            bonds.node = Some(Reference { name: node, uid: found.uid });
        }
        Ok(bonds)
    }
}

/// The service account a pod runs as, and its node.
fn pod_facts(pod: &Found) -> (String, String) {
    let pod: Value = serde_json::from_slice(&pod.json).unwrap_or_default();
    let text = |field: &str| pod["spec"][field].as_str().unwrap_or_default().to_owned();
    (text("serviceAccountName"), text("nodeName"))
}

/// Fills in what is not given, and refuses what may not be.
fn settle(request: &mut Request) -> status::Result<i64> {
    let kind_fits = request.kind.is_empty() || request.kind == "TokenRequest";
    let version_fits = request.api_version.is_empty() || request.api_version == "authentication.k8s.io/v1";
    if !kind_fits || !version_fits {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type TokenRequest): {}, Kind={}",
            request.api_version, request.kind
        )));
    }
    if request.spec.audiences.is_empty() {
        request.spec.audiences.push(ISSUER.to_owned());
    }
    let seconds = *request.spec.expiration_seconds.get_or_insert(EXPIRATION_DEFAULT);
    let mut errors = Errors::default();
    if seconds < EXPIRATION_MIN {
        errors.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes");
    } else if seconds > EXPIRATION_MAX {
        errors.invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if request.spec.audiences.len() > AUDIENCES_MAX {
        errors.forbidden("spec.audiences", format!("must have at most {AUDIENCES_MAX} items"));
    }
    if errors.is_empty() {
        Ok(seconds)
    } else {
        Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &errors))
    }
}

#[async_trait]
impl Connector for Tokens {
    fn serves(&self) -> (&'static str, Sub) {
        ("serviceaccounts", Sub::Token)
    }

    async fn connect(&self, it: &Authorized, body: Bytes) -> status::Result<Response> {
        if it.request().verb != Verb::Create {
            return Err(Status::method_not_allowed());
        }
        let (namespace, name) = (it.request().namespace.as_str(), it.request().name.as_str());
        let value = content::value_of(it.request(), "TokenRequest", "authentication.k8s.io/v1", &body)?;
        let read = |value: Value| {
            serde_json::from_value::<Request>(value).map_err(|error| {
                Status::bad_request(format!(
                    "TokenRequest in version \"v1\" cannot be handled as a TokenRequest: json: {error}"
                ))
            })
        };
        let mut request = read(value)?;
        settle(&mut request)?;
        let accounts = registry::named("", "ServiceAccount").ok_or_else(|| Status::internal("no service accounts"))?;
        let mut shown = json!({"metadata": request.metadata, "spec": request.spec});
        if shown["metadata"].is_null() {
            shown["metadata"] = json!({});
        }
        shown["metadata"]["name"] = name.into();
        shown["metadata"]["namespace"] = namespace.into();
        let aside = Aside::new("authentication.k8s.io/v1", "TokenRequest", Sub::Token, shown);
        let warnings = aside::admit(&self.plugins, it, accounts, name, Operation::Create, &aside).await?;
        let mut request = read(aside.object.into_inner())?;
        let seconds = settle(&mut request)?;
        let account = self.sight.find("ServiceAccount", namespace, name).await?;
        let account = account.ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
        let bonds = self.bonds(it, request.spec.bound_object_ref.as_ref()).await?;
        let now = clock::now();
        let expires = now + SignedDuration::from_secs(seconds);
        let of_this_server = request.spec.audiences.iter().all(|it| it == ISSUER);
        let extended =
            self.issuer.extends() && bonds.pod.is_some() && seconds == EXPIRATION_OF_PROJECTED && of_this_server;
        let ends = if extended { now + SignedDuration::from_secs(EXPIRATION_EXTENDED) } else { expires };
        let claims = Claims {
            aud: request.spec.audiences.clone(),
            exp: ends.as_second(),
            iat: now.as_second(),
            iss: ISSUER.to_owned(),
            jti: random::uid(),
            kubernetes: Private {
                namespace: namespace.to_owned(),
                node: bonds.node,
                pod: bonds.pod,
                secret: bonds.secret,
                serviceaccount: Reference { name: name.to_owned(), uid: account.uid },
                warnafter: extended.then(|| expires.as_second()),
            },
            nbf: now.as_second(),
            sub: user_name(namespace, name),
        };
        let token = self.issuer.sign(&claims).map_err(Status::internal)?;
        let mut metadata = if request.metadata.is_object() { request.metadata } else { json!({}) };
        metadata["name"] = name.into();
        metadata["namespace"] = namespace.into();
        metadata["creationTimestamp"] = orlop_api::meta::whole_seconds(now).to_string().into();
        let answer = json!({
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": metadata,
            "spec": request.spec,
            "status": { "token": token, "expirationTimestamp": orlop_api::meta::whole_seconds(expires).to_string() },
        });
        let mut response = Response::new(Body::from(answer.to_string()));
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        present::warn(response.headers_mut(), &warnings);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value, expected: Result<i64, &str>) {
        let mut request: Request = serde_json::from_value(json!({"kind":"TokenRequest","spec":spec})).unwrap();
        match expected {
            Ok(seconds) => assert_eq!(settle(&mut request).unwrap(), seconds),
            Err(text) => assert_eq!(settle(&mut request).unwrap_err().message, text),
        }
        assert!(!request.spec.audiences.is_empty());
    }

    #[test]
    fn durations_are_bounded() {
        check(json!({}), Ok(3600));
        check(json!({"audiences":null,"expirationSeconds":null,"boundObjectRef":null}), Ok(3600));
        check(json!({"audiences":["vault"],"expirationSeconds":600}), Ok(600));
        check(
            json!({"expirationSeconds":599}),
            Err(
                "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
            ),
        );
        check(
            json!({"expirationSeconds":4_294_967_297_i64}),
            Err(
                "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
            ),
        );
        let mut other: Request = serde_json::from_value(json!({"kind":"Pod"})).unwrap();
        assert_eq!(settle(&mut other).unwrap_err().code(), 400);
    }
}
