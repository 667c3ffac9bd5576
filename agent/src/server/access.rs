//! Who may use the agent's port: administrators, as the API server is one, and whom the API server says may use this node's `proxy`, `stats` or
//! `metrics`.
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

/// Who would do what, and with which subresource of the node.
type Question = (Peer, &'static str, &'static str);

/// Whether they may, and how long that holds.
type Answer = (bool, Instant);

/// What the API server said of whom.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<HashMap<Question, Answer>>>);

impl Answers {
    fn known(&self, question: &Question) -> Option<bool> {
        let answers = self.0.lock();
        let (allowed, until) = answers.get(question)?;
        (*until > Instant::now()).then_some(*allowed)
    }

    fn learn(&self, question: Question, allowed: bool) {
        let now = Instant::now();
        let mut answers = self.0.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (_, until)| *until > now);
        }
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(question, (allowed, now + if allowed { ALLOWED_FOR } else { DENIED_FOR }));
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
    let (verb, sub) = (verb(request.method(), request.uri().path()), subresource(request.uri().path()));
    let refusal = |code: StatusCode, what: &str| {
        let why = format!("{what} (user={}, verb={verb}, resource=nodes, subresource={sub})", peer.user);
        (code, why).into_response()
    };
    let question = (Peer::clone(&peer), verb, sub);
    let allowed = match shared.answers.known(&question) {
        Some(it) => it,
        None => match ask(&shared, &question).await {
            Ok(allowed) => {
                shared.answers.learn(question, allowed);
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

/// What of the node a path belongs to.
fn subresource(path: &str) -> &'static str {
    let within = |it: &str| path.strip_prefix(it).is_some_and(|it| it.is_empty() || it.starts_with('/'));
    match path {
        _ if within("/stats") => "stats",
        _ if within("/metrics") => "metrics",
        _ => "proxy",
    }
}

async fn ask(shared: &Shared, (peer, verb, sub): &Question) -> Result<bool, String> {
    let host = shared.logs.host().ok_or("the agent is starting")?;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(peer.user.clone()),
            groups: Some(peer.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some((*verb).to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some((*sub).to_owned()),
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

    #[test]
    fn each_path_has_its_subresource() {
        let told = ["/stats/summary", "/metrics/resource", "/metrics", "/metricsx", "/exec/d/p/c"].map(subresource);
        assert_eq!(told, ["stats", "metrics", "metrics", "proxy", "proxy"]);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_for_a_while_and_never_too_many() {
        let answers = Answers::default();
        let ask = |at: usize, verb, sub| (Peer { user: at.to_string(), groups: Vec::new() }, verb, sub);
        let get = |at: usize| ask(at, "get", "proxy");
        answers.learn(get(0), true);
        answers.learn(get(1), false);
        assert_eq!((answers.known(&get(0)), answers.known(&get(1))), (Some(true), Some(false)));
        assert_eq!(answers.known(&ask(0, "create", "proxy")), None);
        assert_eq!(answers.known(&ask(0, "get", "stats")), None);
        tokio::time::advance(DENIED_FOR).await;
        assert_eq!((answers.known(&get(0)), answers.known(&get(1))), (Some(true), None));
        for at in 0..2 * ANSWERS_MAX {
            answers.learn(get(at), true);
        }
        assert!(answers.0.lock().len() <= ANSWERS_MAX);
    }
}
