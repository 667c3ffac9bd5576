//! A webhook: an HTTPS server of its own, with a certificate of its own authority, that answers what a test says.
//!
//! In: a function from the path and the review that was posted to an answer. Out: what stands in a configuration's `clientConfig`, and the reviews
//! that came. The server lives on threads of its own until its value is dropped, so that tests with and without a runtime can have one.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Json(Value),
    /// A status and a text: no review.
    Text(u16, String),
    /// The same, but so late.
    After(Duration, Value),
}

type Answer = dyn Fn(&str, &Value) -> Reply + Send + Sync;

/// The reviews that came, with the paths to which they were posted.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A running webhook.
pub struct Hooks {
    port: u16,
    authority: String,
    asked: Asked,
    runtime: Option<Runtime>,
}

impl Drop for Hooks {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Hooks {
    /// Starts a server that answers so.
    ///
    /// # Errors
    /// When a certificate cannot be made, or there is no port.
    pub fn start(answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> Result<Hooks> {
        let (authority, config) = certified()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let asked = Asked::default();
        let (answer, seen): (Arc<Answer>, Asked) = (Arc::new(answer), asked.clone());
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, seen) = (acceptor.clone(), answer.clone(), seen.clone());
                tokio::spawn(async move {
                    // Whoever does not trust us is gone; that is their matter.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service =
                        hyper::service::service_fn(move |request| serve(request, answer.clone(), seen.clone()));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Hooks { port, authority, asked, runtime: Some(runtime) })
    }

    /// The `clientConfig` of a webhook at a path: `/deny`.
    pub fn client(&self, path: &str) -> Value {
        let authority = STANDARD.encode(&self.authority);
        json!({"url": format!("https://127.0.0.1:{}{path}", self.port), "caBundle": authority})
    }

    /// The requests within the reviews that were posted to a path.
    pub fn asked(&self, path: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(at, _)| at == path).map(|(_, review)| review["request"].clone()).collect()
    }

    /// The last request that was posted to a path.
    ///
    /// # Errors
    /// When there was none.
    pub fn last(&self, path: &str) -> Result<Value> {
        self.asked(path).pop().with_context(|| format!("nothing was posted to {path}"))
    }
}

/// The authority's certificate, and the settings of a server that it has certified.
fn certified() -> Result<(String, ServerConfig)> {
    let key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "a webhook's authority");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = authority.self_signed(&key)?.pem();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&authority, key)?;
    let key = rcgen::KeyPair::generate()?;
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok((authority, config))
}

async fn serve(
    request: http::Request<Incoming>,
    answer: Arc<Answer>,
    seen: Asked,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reply = answer(&path, &review);
    seen.lock().unwrap_or_else(PoisonError::into_inner).push((path, review));
    let (code, text) = match reply {
        Reply::Json(value) => (200, value.to_string()),
        Reply::Text(code, text) => (code, text),
        Reply::After(wait, value) => {
            tokio::time::sleep(wait).await;
            (200, value.to_string())
        }
    };
    let mut response = http::Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    Ok(response)
}

/// An admission webhook's answer to a review, of which the test says the rest.
fn admission(review: &Value, response: Value) -> Value {
    let mut response = response;
    response["uid"] = review["request"]["uid"].clone();
    json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response})
}

/// Lets a request pass.
pub fn allow(review: &Value) -> Reply {
    Reply::Json(admission(review, json!({"allowed": true})))
}

/// Refuses a request.
pub fn deny(review: &Value, why: &str) -> Reply {
    Reply::Json(admission(review, json!({"allowed": false, "status": {"message": why}})))
}

/// Lets a request pass with a JSON patch of its object.
pub fn patched(review: &Value, patch: &Value) -> Reply {
    let patch = STANDARD.encode(patch.to_string());
    Reply::Json(admission(review, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})))
}

/// A conversion webhook's answer: each object as `convert` makes it of the object and the version that is asked for.
pub fn converted(review: &Value, convert: impl Fn(&mut Value, &str)) -> Reply {
    let wanted = review["request"]["desiredAPIVersion"].as_str().unwrap_or_default();
    let mut objects = review["request"]["objects"].clone();
    for object in objects.as_array_mut().into_iter().flatten() {
        convert(object, wanted);
        object["apiVersion"] = wanted.into();
    }
    let mut response = json!({"result": {"status": "Success"}, "convertedObjects": objects});
    response["uid"] = review["request"]["uid"].clone();
    Reply::Json(json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response}))
}
