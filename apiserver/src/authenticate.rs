//! Who asks: by client certificate, by static token, by bootstrap token or by a service account's token.
//!
//! In: the headers of a request and what the connection proved. Out: an [`Identity`], nothing for someone without credentials
//! (who then is anonymous), or the reason why credentials are no good, which only the log reads. What a token stands for is looked up in
//! the cache with every request, so that it ends with its Secret, ServiceAccount or Pod; only the costly check of a signature
//! is remembered. Knows no paths and no rules.

pub mod bootstrap_token;
pub mod last_used;
pub mod revocation;
pub mod service_account;
pub mod static_token;
pub mod websocket;
pub mod x509;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use orlop_api::kind::Kind;
use sha2::{Digest, Sha256};

use crate::cache::Table;
use crate::stage::{Authenticator, Identity, Peer, Reviewed};
use revocation::Revocations;
use service_account::{ISSUER, Issuer};
use static_token::StaticTokens;

/// The longest token that is looked at: a service account's with long names has 2 KiB.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// An object as authentication needs it.
#[derive(Clone, Debug)]
pub struct Found {
    pub uid: String,
    /// Whether its deletion has begun.
    pub deleting: bool,
    pub json: Bytes,
}

/// The objects that tokens stand for, as the cache has them.
pub trait Objects: Send + Sync {
    /// One object, if it exists.
    fn find(&self, group: &str, kind: &str, namespace: &str, name: &str) -> Option<Found>;

    /// All objects of a kind, for those who look through them.
    fn table(&self, _kind: &'static Kind) -> Option<Arc<Table>> {
        None
    }

    /// The kind that objects name so, if it is served.
    fn kind(&self, _group: &str, _version: &str, _kind: &str) -> Option<&'static Kind> {
        None
    }

    /// The other kinds whose objects are those of this kind in another form.
    fn equivalents(&self, _kind: &'static Kind) -> Vec<&'static Kind> {
        Vec::new()
    }
}

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    #[error("{path}: {source}")]
    Io {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}:{line}: {what}")]
    Malformed { path: std::path::PathBuf, line: usize, what: String },
}

/// All ways to say who one is.
pub struct Credentials {
    fixed: StaticTokens,
    accounts: Arc<Issuer>,
    objects: Arc<dyn Objects>,
    revocations: Arc<Revocations>,
    /// Whom tokens of requests must be for: this server.
    audience: String,
}

impl Credentials {
    /// Knows the tokens of `file` (as kube-apiserver's `--token-auth-file`), if there is one, those that `accounts` signed, and the
    /// bootstrap tokens among `objects`.
    ///
    /// # Errors
    /// [`TokenFileError`] where the file cannot be read.
    pub fn new(file: Option<&Path>, accounts: Arc<Issuer>, objects: Arc<dyn Objects>) -> Result<Self, TokenFileError> {
        let fixed = file.map(StaticTokens::read).transpose()?.unwrap_or_default();
        let revocations = Arc::default();
        Ok(Credentials { fixed, accounts, objects, revocations, audience: ISSUER.to_owned() })
    }

    /// Refuses the certificates that are revoked there.
    #[must_use]
    pub fn heeding(self, revocations: Arc<Revocations>) -> Self {
        Credentials { revocations, ..self }
    }

    /// Whose token it is that came with a request, which has to be for this server.
    fn token_of_request(&self, token: &str, now: Timestamp) -> Result<Arc<Identity>, String> {
        let known = self.token(token, std::slice::from_ref(&self.audience), now)?;
        known.map(|(identity, _)| identity).ok_or_else(|| "invalid bearer token".to_owned())
    }

    fn token(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Option<Reviewed>, String> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        // Those of a file and those of bootstrap Secrets name no audience: they are for this server.
        let ours = |identity: Arc<Identity>| {
            let good_for: Vec<String> = audiences.iter().filter(|it| *it == ISSUER).cloned().collect();
            (!good_for.is_empty()).then_some((identity, good_for))
        };
        if let Some(identity) = self.fixed.find(token) {
            return Ok(ours(identity));
        }
        if let Some((id, secret)) = bootstrap_token::parse(token) {
            return bootstrap_token::verify(&*self.objects, id, secret, now).map(|it| ours(Arc::new(it)));
        }
        self.accounts.verify(token, audiences, &*self.objects, now)
    }
}

impl Authenticator for Credentials {
    fn authenticate(&self, headers: &HeaderMap, peer: &Peer) -> Result<Option<Arc<Identity>>, String> {
        let now = orlop_client::clock::now();
        let mut refused = peer.refused.clone();
        if let Some(identity) = &peer.identity {
            // A connection may live longer than the certificate it was opened with.
            let why = if peer.expires.is_some_and(|expires| now >= expires) {
                Some("the client certificate has run out while the connection lasted".to_owned())
            } else {
                self.revocations.refuses(peer)
            };
            if why.is_none() {
                return Ok(Some(identity.clone()));
            }
            refused = why;
        }
        match bearer(headers) {
            Some(token) => self.token_of_request(token, now).map(Some),
            None => match websocket::token(headers)? {
                Some(token) => self.token_of_request(&token, now).map(Some),
                None => refused.map_or(Ok(None), |why| Err(format!("client certificate: {why}"))),
            },
        }
    }

    fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Reviewed>, String> {
        self.token(token, audiences, orlop_client::clock::now())
    }
}

/// The token of `Authorization: Bearer <token>`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// What is kept and compared instead of a secret: how long a comparison of digests takes tells nothing of the secret.
pub(crate) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests;
