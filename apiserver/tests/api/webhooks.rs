//! Webhooks: a server of our own with a certificate of its own changes, refuses, hangs, lies and is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::policies::until;
use crate::support::{Answer, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The webhook's own server.
pub struct Hooks {
    port: u16,
    ca: String,
    connections: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl Hooks {
    pub async fn start() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.distinguished_name.push(rcgen::DnType::CommonName, "hooks");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&ca_pem, ca_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "hook.default.svc".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let chain = vec![CertificateDer::from(leaf.der().to_vec())];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (opened, called) = (connections.clone(), calls.clone());
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (acceptor, opened, called) = (acceptor.clone(), opened.clone(), called.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    opened.fetch_add(1, Ordering::SeqCst);
                    let service = hyper::service::service_fn(move |request| {
                        called.fetch_add(1, Ordering::SeqCst);
                        answer(request)
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Hooks { port, ca: ca_pem, connections, calls }
    }

    pub fn url(&self, path: &str) -> Value {
        let ca = base64::engine::general_purpose::STANDARD.encode(&self.ca);
        json!({"url": format!("https://127.0.0.1:{}/{path}", self.port), "caBundle": ca})
    }
}

/// Between two versions of which one calls `picture` what the other calls `image`.
fn converted(path: &str, review: &Value) -> Value {
    assert_eq!(
        (&review["kind"], &review["apiVersion"]),
        (&json!("ConversionReview"), &json!("apiextensions.k8s.io/v1"))
    );
    let wanted = review["request"]["desiredAPIVersion"].as_str().unwrap();
    let (from, to) = if wanted.ends_with("/v2") { ("image", "picture") } else { ("picture", "image") };
    let mut objects = review["request"]["objects"].clone();
    for object in objects.as_array_mut().unwrap() {
        object["apiVersion"] = wanted.into();
        if let Some(value) = object["spec"].as_object_mut().unwrap().remove(from) {
            object["spec"][to] = value;
        }
        if path == "/convert-name" {
            object["metadata"]["name"] = "other".into();
        }
    }
    let result = match path {
        "/convert-fail" => json!({"status": "Failure", "message": "not today"}),
        _ => json!({"status": "Success"}),
    };
    json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "response": {"uid": review["request"]["uid"], "result": result, "convertedObjects": objects}})
}

async fn answer(request: http::Request<hyper::body::Incoming>) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    if path.starts_with("/convert") {
        return Ok(http::Response::new(Full::new(Bytes::from(converted(&path, &review).to_string()))));
    }
    assert_eq!((&review["kind"], &review["apiVersion"]), (&json!("AdmissionReview"), &json!("admission.k8s.io/v1")));
    let asked = &review["request"];
    let mut response = json!({"uid": asked["uid"], "allowed": true});
    let patch = |it: Value| Value::from(base64::engine::general_purpose::STANDARD.encode(it.to_string()));
    match path.as_str() {
        "/deny" => {
            response["allowed"] = false.into();
            response["status"] = json!({"code": 418, "message": "not today", "reason": "Teapot"});
        }
        "/patch" => {
            let text =
                format!("{} {}", asked["operation"].as_str().unwrap(), asked["userInfo"]["username"].as_str().unwrap());
            response["patchType"] = "JSONPatch".into();
            response["patch"] = patch(json!([{"op": "add", "path": "/metadata/labels", "value": {"by": "hook"}},
                {"op": "add", "path": "/data/seen", "value": text}]));
            response["warnings"] = json!(["changed by a hook"]);
        }
        "/bad-patch" => {
            response["patchType"] = "JSONPatch".into();
            response["patch"] = patch(json!([{"op": "remove", "path": "/data/none"}]));
        }
        "/wrong-uid" => response["uid"] = "other".into(),
        "/hang" => tokio::time::sleep(Duration::from_secs(60)).await,
        "/huge" => response["warnings"] = json!(["x".repeat(10 << 20)]),
        "/error" => {
            let made = http::Response::builder().status(503).body(Full::new(Bytes::from_static(b"overloaded")));
            return Ok(made.unwrap());
        }
        _ => {}
    }
    let body = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    Ok(http::Response::new(Full::new(Bytes::from(body.to_string()))))
}

fn configuration(name: &str, sort: &str, client: &Value, more: &Value) -> Value {
    let mut hook = json!({"name": format!("{name}.hooks.test"), "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
        "rules": [{"operations": ["CREATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        hook[key] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{sort}WebhookConfiguration"),
        "metadata": {"name": name}, "webhooks": [hook]})
}

async fn configure(cluster: &Cluster, name: &str, sort: &str, client: &Value, more: &Value) {
    let plural = format!("{}webhookconfigurations", sort.to_lowercase());
    let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
    let made = cluster.post(&path, &configuration(name, sort, client, more)).await;
    assert_eq!(made.code.as_u16(), 201, "{}", made.text);
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

/// What a webhook that cannot be called does to a write, with either failure policy.
async fn check_failure(path: &str, sort: &str, client: &Value, expected: &str) {
    let cluster = Cluster::start().await;
    configure(&cluster, "h", sort, client, &json!({})).await;
    let answer = until(&cluster, &map("m"), |it| !it.code.is_success()).await;
    let text = answer.json["message"].as_str().unwrap_or_default();
    assert_eq!(answer.code.as_u16(), 500, "{path}: {text}");
    let start = "Internal error occurred: failed calling webhook \"h.hooks.test\": ";
    assert!(text.starts_with(start) && text.contains(expected), "{path}: {text}");
    let plural = format!("/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations/h", sort.to_lowercase());
    let mut it = cluster.get(&plural).await.json;
    it["webhooks"][0]["failurePolicy"] = "Ignore".into();
    assert_eq!(cluster.put(&plural, &it).await.code.as_u16(), 200);
    let answer = until(&cluster, &map("m"), |it| it.code.is_success()).await;
    assert_eq!(answer.code.as_u16(), 201, "{path}: {}", answer.text);
}

#[tokio::test]
async fn webhooks_change_and_refuse() {
    let (cluster, hooks) = (Cluster::start().await, Hooks::start().await);
    configure(&cluster, "changes", "Mutating", &hooks.url("patch"), &json!({})).await;
    let made = until(&cluster, &map("m"), |it| it.json["metadata"]["labels"]["by"] == "hook").await;
    assert_eq!(made.json["data"], json!({"a": "1", "seen": "CREATE kubernetes-admin"}));
    assert_eq!(made.headers["warning"], "299 - \"changed by a hook\"");
    let refuses = json!({"objectSelector": {"matchLabels": {"by": "hook"}},
        "matchConditions": [{"name": "named", "expression": "object == null || object.metadata.name.startsWith('x')"}]});
    configure(&cluster, "refuses", "Validating", &hooks.url("deny"), &refuses).await;
    let refusal: Answer = until(&cluster, &map("x"), |it| !it.code.is_success()).await;
    assert_eq!((refusal.code.as_u16(), &refusal.json["reason"]), (418, &json!("Teapot")));
    assert_eq!(refusal.json["message"], "admission webhook \"refuses.hooks.test\" denied the request: not today");
    // Others are none of its business.
    assert_eq!(cluster.post(MAPS, &map("y")).await.code.as_u16(), 201);
    let kept = cluster.delete(&format!("{MAPS}/y"), None).await;
    assert_eq!(kept.code.as_u16(), 418, "{}", kept.text);
    let calls = hooks.calls.load(Ordering::SeqCst);
    assert!(hooks.connections.load(Ordering::SeqCst) < calls, "connections are kept");
    // The configurations themselves can always be taken away.
    let gone =
        cluster.delete("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/refuses", None).await;
    assert_eq!(gone.code.as_u16(), 200);
}

#[tokio::test]
async fn webhooks_that_fail_stop_writes_or_are_passed_over() {
    let hooks = Hooks::start().await;
    for (path, expected) in [
        ("hang", "failed to call webhook: Post \"https://127.0.0.1:"),
        ("wrong-uid", "received invalid webhook response: expected response.uid="),
        ("huge", "failed to call webhook: Post "),
        (
            "error",
            "failed to call webhook: an error on the server (\"overloaded\") has prevented the request from succeeding",
        ),
    ] {
        for sort in ["Mutating", "Validating"] {
            check_failure(path, sort, &hooks.url(path), expected).await;
        }
    }
    let away = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let mut client = hooks.url("allow");
    client["url"] = format!("https://{away}/allow").into();
    let refused = format!(
        "failed to call webhook: Post \"https://{away}/allow?timeout=1s\": dial tcp {away}: connect: connection refused"
    );
    check_failure("away", "Mutating", &client, &refused).await;
    let mut client = hooks.url("allow");
    client["caBundle"] = base64::engine::general_purpose::STANDARD.encode(Hooks::start().await.ca).into();
    let unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    check_failure("wrong CA", "Validating", &client, unknown).await;
    let nowhere = json!({"service": {"name": "none", "namespace": "default", "path": "/"}});
    let missing =
        "failed to call webhook: Post \"https://none.default.svc:443/?timeout=1s\": service \"none\" not found";
    check_failure("no service", "Validating", &nowhere, missing).await;
}

#[tokio::test]
async fn a_patch_that_does_not_fit_is_an_error_and_a_service_is_found() {
    let (cluster, hooks) = (Cluster::start().await, Hooks::start().await);
    configure(&cluster, "bad", "Mutating", &hooks.url("bad-patch"), &json!({"failurePolicy": "Ignore"})).await;
    let answer = until(&cluster, &map("m"), |it| !it.code.is_success()).await;
    assert_eq!(answer.code.as_u16(), 500, "{}", answer.text);
    cluster.delete("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/bad", None).await;
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}});
    cluster.post("/api/v1/namespaces/default/services", &service).await;
    let ends = json!({"metadata": {"name": "hook"}, "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": hooks.port}]}]});
    let made = cluster.post("/api/v1/namespaces/default/endpoints", &ends).await;
    // Kubernetes lets nobody name a loopback address there; the way to it is tested as far as it goes.
    assert_eq!(made.code.as_u16(), 422, "{}", made.text);
    let mut client = hooks.url("deny");
    client.as_object_mut().unwrap().remove("url");
    client["service"] = json!({"name": "hook", "namespace": "default", "path": "/deny"});
    configure(&cluster, "served", "Validating", &client, &json!({})).await;
    let answer = until(&cluster, &map("m"), |it| !it.code.is_success()).await;
    let text = answer.json["message"].as_str().unwrap();
    assert!(
        text.ends_with("service \"hook\": no endpoints available for service \"hook\"")
            || text.ends_with("no endpoints available for service \"hook\""),
        "{text}"
    );
}
