//! Who may use the agent's port: administrators, as the API server is one, and whom the API server says may `proxy` to this node.
//!
//! In: the certificate that a connection showed, and a request. Out: the request passed on, or a refusal. Without this, whoever has a certificate of
//! the cluster's CA, another node's agent for one, could run commands in every container. Answers are kept for a while, as the kubelet keeps
//! them. Source: `pkg/kubelet/server/auth.go`; a session is `create`, whatever the method (KEP-4006's gap, closed at the API server since 1.35).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Shared;
use crate::node::within;

/// How long an answer holds: the kubelet's defaults.
const ALLOWED_FOR: Duration = Duration::from_secs(300);
const DENIED_FOR: Duration = Duration::from_secs(30);

/// Answers that are kept. More clients than this would only be asked for again.
const ANSWERS_MAX: usize = 256;

/// Who may do everything, whatever the roles say.
const ADMINISTRATORS: &str = "system:masters";

/// Who is at the other end of a connection, as its certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    pub user: String,
    pub groups: Vec<String>,
}

impl Peer {
    /// Reads a certificate that was verified; one that names nobody is nobody's.
    pub fn of_certificate(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Peer::default() };
        let subject = certificate.subject();
        let user = subject.iter_common_name().find_map(|it| it.as_str().ok()).unwrap_or_default().to_owned();
        let groups = subject.iter_organization().filter_map(|it| it.as_str().ok().map(str::to_owned)).collect();
        Peer { user, groups }
    }

    fn is_administrator(&self) -> bool {
        self.groups.iter().any(|it| it == ADMINISTRATORS)
    }
}

/// Who would do what.
type Question = (Peer, &'static str);

/// Whether they may, and how long that holds.
type Answer = (bool, Instant);

/// What the API server said of whom.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<HashMap<Question, Answer>>>);

impl Answers {
    fn known(&self, peer: &Peer, verb: &'static str) -> Option<bool> {
        let answers = self.0.lock();
        let (allowed, until) = answers.get(&(peer.clone(), verb))?;
        (*until > Instant::now()).then_some(*allowed)
    }

    fn learn(&self, peer: &Peer, verb: &'static str, allowed: bool) {
        let now = Instant::now();
        let mut answers = self.0.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (_, until)| *until > now);
        }
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert((peer.clone(), verb), (allowed, now + if allowed { ALLOWED_FOR } else { DENIED_FOR }));
    }
}

/// Lets a request pass, or refuses it.
pub async fn check(
    State(shared): State<Shared>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request,
    next: Next,
) -> Response {
    if peer.is_administrator() {
        return next.run(request).await;
    }
    let verb = verb(request.method(), request.uri().path());
    let refusal = |code: StatusCode, what: &str| {
        let why = format!("{what} (user={}, verb={verb}, resource=nodes, subresource=proxy)", peer.user);
        (code, why).into_response()
    };
    let allowed = match shared.answers.known(&peer, verb) {
        Some(it) => it,
        None => match ask(&shared, &peer, verb).await {
            Ok(allowed) => {
                shared.answers.learn(&peer, verb, allowed);
                allowed
            }
            Err(why) => {
                tracing::warn!(%why, user = %peer.user, "it cannot be asked who may use the agent's port");
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Authorization error");
            }
        },
    };
    if allowed { next.run(request).await } else { refusal(StatusCode::FORBIDDEN, "Forbidden") }
}

fn verb(method: &Method, path: &str) -> &'static str {
    let begins = |it: &str| path.starts_with(it);
    match *method {
        _ if begins("/exec/") || begins("/attach/") || begins("/portForward/") => "create",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

async fn ask(shared: &Shared, peer: &Peer, verb: &str) -> Result<bool, String> {
    let host = shared.logs.host().ok_or("the agent is starting")?;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(peer.user.clone()),
            groups: Some(peer.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some("proxy".to_owned()),
                name: Some(host.node_name.clone()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api = Api::<SubjectAccessReview>::all(host.client.clone());
    let answer = within(api.create(&PostParams::default(), &review)).await.map_err(|it| it.to_string())?;
    Ok(answer.status.is_some_and(|it| it.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_who_it_is() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:n1");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
        let certificate = params.self_signed(&key).unwrap();
        let peer = Peer::of_certificate(certificate.der());
        assert_eq!(peer, Peer { user: "system:node:n1".into(), groups: vec!["system:nodes".into()] });
        assert!(!peer.is_administrator());
        assert!(Peer { groups: vec![ADMINISTRATORS.into()], ..peer }.is_administrator());
        assert_eq!(Peer::of_certificate(b"none"), Peer::default());
    }

    #[test]
    fn a_session_is_a_creation() {
        assert_eq!(verb(&Method::GET, "/exec/d/p/c"), "create");
        assert_eq!(verb(&Method::GET, "/portForward/d/p"), "create");
        assert_eq!(verb(&Method::GET, "/containerLogs/d/p/c"), "get");
        assert_eq!(verb(&Method::POST, "/run/d/p/c"), "create");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_for_a_while_and_never_too_many() {
        let answers = Answers::default();
        let peer = |at: usize| Peer { user: at.to_string(), groups: Vec::new() };
        answers.learn(&peer(0), "get", true);
        answers.learn(&peer(1), "get", false);
        assert_eq!((answers.known(&peer(0), "get"), answers.known(&peer(1), "get")), (Some(true), Some(false)));
        assert_eq!(answers.known(&peer(0), "create"), None);
        tokio::time::advance(DENIED_FOR).await;
        assert_eq!((answers.known(&peer(0), "get"), answers.known(&peer(1), "get")), (Some(true), None));
        for at in 0..2 * ANSWERS_MAX {
            answers.learn(&peer(at), "get", true);
        }
        assert!(answers.0.lock().len() <= ANSWERS_MAX);
    }
}
