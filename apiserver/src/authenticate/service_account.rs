//! Service accounts' tokens: JWTs that this cluster signed with its own key (ES256).
//!
//! In: [`Claims`] to be signed, or a token. Out: the token, or the identity it stands for. A token is good while its signature, its times,
//! its audience, its ServiceAccount (by uid) and the Pod, Secret or Node it is bound to are. All tokens are of this one form, those in
//! Secrets of type `kubernetes.io/service-account-token` too: the controller that fills such Secrets asks for a token of
//! `serviceaccounts/<name>/token`, bound to the Secret, as everybody else does, so that the key never leaves the API server.
//! Source: `pkg/serviceaccount` and KEP-1205, KEP-4193.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::last_used::LastUsed;
use super::{Found, Objects, digest};
use crate::pki::Pair;
use crate::stage::{Identity, Reviewed};

/// Who signs, as kubeadm's `--service-account-issuer`; also the audience of tokens for the API server.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How many verified tokens are remembered at least: one for each of many nodes' pods. 16,384 of some 0.5 KiB are 8 MiB.
const REMEMBERED: usize = 8_192;

/// How much the clock of another API server may be ahead.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// A pod that is being deleted may use its token this long after its grace period, as in Kubernetes.
const DELETED_LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// The two coordinates of a point of P-256, in bytes.
const POINT_BYTES: usize = 64;

/// An object that a token names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    #[serde(default)]
    pub uid: String,
}

/// What is particular to Kubernetes in a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    pub serviceaccount: Reference,
    /// When its user is to be warned: the token lives on beyond what its pod asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// What a token says. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Private,
    pub nbf: i64,
    pub sub: String,
}

/// The signing key with all that goes with it.
pub struct Issuer {
    key_id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    /// The point on the curve that is the public key: `x` and `y`, 32 bytes each.
    point: Vec<u8>,
    /// Whether pods' tokens for the API server get a longer life than they ask for.
    extends: bool,
    /// Told of the Secrets whose tokens are used, if anybody wants to know.
    used: Option<LastUsed>,
    verified: Mutex<Verified>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Tokens whose signature was good, by their digest: two generations, of which the older is forgotten when the newer is full.
#[derive(Default)]
struct Verified {
    young: HashMap<[u8; 32], Arc<Claims>>,
    old: HashMap<[u8; 32], Arc<Claims>>,
}

impl Verified {
    fn get(&mut self, key: &[u8; 32]) -> Option<Arc<Claims>> {
        if let Some(claims) = self.young.get(key) {
            return Some(claims.clone());
        }
        let claims = self.old.remove(key)?;
        self.put(*key, claims.clone());
        Some(claims)
    }

    fn put(&mut self, key: [u8; 32], claims: Arc<Claims>) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, claims);
    }
}

impl Issuer {
    /// Signs and verifies with this pair of keys.
    ///
    /// # Errors
    /// A text where the PEM texts are no such keys.
    pub fn new(keys: &Pair) -> Result<Self, String> {
        let unusable = |error: jsonwebtoken::errors::Error| error.to_string();
        let public =
            SubjectPublicKeyInfoDer::from_pem_slice(keys.certificate.as_bytes()).map_err(|it| it.to_string())?;
        // Times, audience and issuer are judged below: by our clock, and with reasons for the log.
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims::<&str>(&[]);
        // The point stands last, uncompressed, behind a byte that says so (SEC 1, 2.3.3).
        let point = public.len().checked_sub(POINT_BYTES).map(|at| public[at..].to_vec());
        Ok(Issuer {
            point: point.ok_or("the public key is no point of P-256")?,
            extends: true,
            used: None,
            key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(&*public)),
            signing: EncodingKey::from_ec_pem(keys.key.as_bytes()).map_err(unusable)?,
            verifying: DecodingKey::from_ec_pem(keys.certificate.as_bytes()).map_err(unusable)?,
            validation,
            verified: Mutex::default(),
        })
    }

    /// Signs a token.
    ///
    /// # Errors
    /// Where the cryptography fails.
    pub fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header { kid: Some(self.key_id.clone()), typ: None, ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.signing)
    }

    /// Leaves pods' tokens as short as they ask (`--service-account-extend-token-expiration=false`).
    pub fn extending(self, extends: bool) -> Self {
        Issuer { extends, ..self }
    }

    /// Tells `used` of the Secrets whose tokens come with requests.
    pub fn telling(self, used: LastUsed) -> Self {
        Issuer { used: Some(used), ..self }
    }

    /// Whether pods' tokens for the API server get a longer life than they ask for.
    pub fn extends(&self) -> bool {
        self.extends
    }

    /// The keys that verify its tokens, as a JSON Web Key Set (RFC 7517).
    pub fn keys(&self) -> serde_json::Value {
        let (x, y) = self.point.split_at(POINT_BYTES / 2);
        let text = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
        serde_json::json!({ "keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256", "x": text(x), "y": text(y),
        }] })
    }

    /// Whose token this is, and for which of these audiences; none if somebody else made it.
    ///
    /// # Errors
    /// Why it is no good, in Kubernetes' words.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        objects: &dyn Objects,
        now: Timestamp,
    ) -> Result<Option<Reviewed>, String> {
        let Some(claims) = self.signed(token)? else { return Ok(None) };
        let good_for: Vec<String> = claims.aud.iter().filter(|it| audiences.contains(it)).cloned().collect();
        if good_for.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                listed(&claims.aud),
                listed(audiences)
            ));
        }
        judge_times(&claims, now)?;
        judge_references(&claims, objects, now)?;
        let it = &claims.kubernetes;
        if let (Some(used), Some(secret)) = (&self.used, &it.secret)
            && let Some(found) = objects.find("", "Secret", &it.namespace, &secret.name)
        {
            used.note(&it.namespace, &secret.name, &it.serviceaccount.name, &found, now)?;
        }
        Ok(Some((Arc::new(identity(&claims)), good_for)))
    }

    /// The claims of a token that we signed; none if it does not say that we did.
    fn signed(&self, token: &str) -> Result<Option<Arc<Claims>>, String> {
        let key = digest(token);
        if let Some(claims) = self.verified.lock().get(&key) {
            return Ok(Some(claims));
        }
        if issuer_of(token).as_deref() != Some(ISSUER) {
            return Ok(None);
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation).map_err(|error| {
            match error.kind() {
                ErrorKind::InvalidSignature => "go-jose/go-jose: error in cryptographic primitive".to_owned(),
                _ => format!("the token is none of a service account: {error}"),
            }
        })?;
        let claims = decoded.claims;
        let account = &claims.kubernetes;
        if claims.sub != user_name(&account.namespace, &account.serviceaccount.name) {
            return Err("the token's subject is not its service account".to_owned());
        }
        let claims = Arc::new(claims);
        self.verified.lock().put(key, claims.clone());
        Ok(Some(claims))
    }
}

/// Who a token says has made it; nothing is proved by that.
fn issuer_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Slim {
        iss: String,
    }
    let mut parts = token.split('.');
    let (_, body, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    serde_json::from_slice::<Slim>(&URL_SAFE_NO_PAD.decode(body).ok()?).ok().map(|it| it.iss)
}

/// `["a" "b"]`: a list as Kubernetes prints it.
pub fn listed(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join(" "))
}

/// The user as which a service account asks.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

fn judge_times(claims: &Claims, now: Timestamp) -> Result<(), String> {
    if now.as_second() >= claims.exp {
        return Err("service account token has expired".to_owned());
    }
    if now.as_second() + CLOCK_SKEW.as_secs() < claims.nbf {
        return Err("service account token is not valid yet".to_owned());
    }
    Ok(())
}

/// The objects that the token names must be there still, and be the same.
fn judge_references(claims: &Claims, objects: &dyn Objects, now: Timestamp) -> Result<(), String> {
    let it = &claims.kubernetes;
    let account = &it.serviceaccount;
    let found = objects.find("", "ServiceAccount", &it.namespace, &account.name);
    let found = found.ok_or_else(|| format!("serviceaccounts {:?} not found", account.name))?;
    if deleted(&found, now) {
        return Err(format!("service account {}/{} has been deleted", it.namespace, account.name));
    }
    if found.uid != account.uid {
        return Err(format!("service account UID ({}) does not match claim ({})", found.uid, account.uid));
    }
    let bound = |kind: &str, word: &str, namespace: &str, reference: &Reference| {
        let found = objects.find("", kind, namespace, &reference.name).filter(|it| !deleted(it, now));
        let found = found.ok_or("service account token has been invalidated")?;
        if found.uid != reference.uid {
            let (stands, claimed) = (&found.uid, &reference.uid);
            return Err(format!("{word} UID ({stands}) does not match service account {word} ref claim ({claimed})"));
        }
        Ok(())
    };
    if let Some(secret) = &it.secret {
        bound("Secret", "secret", &it.namespace, secret)?;
    }
    if let Some(pod) = &it.pod {
        bound("Pod", "pod", &it.namespace, pod)?;
    }
    // A node beside a pod only tells where the pod ran; alone, the token is bound to it.
    match (&it.node, &it.pod) {
        (Some(node), None) => bound("Node", "node", "", node),
        _ => Ok(()),
    }
}

/// Whether the object's deletion is past its grace period.
fn deleted(found: &Found, now: Timestamp) -> bool {
    #[derive(Deserialize)]
    struct Slim {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        deletion_timestamp: Option<Timestamp>,
    }
    if !found.deleting {
        return false;
    }
    let deletion = serde_json::from_slice::<Slim>(&found.json).ok().and_then(|it| it.metadata.deletion_timestamp);
    deletion.is_some_and(|it| now > it + DELETED_LEEWAY)
}

fn identity(claims: &Claims) -> Identity {
    let it = &claims.kubernetes;
    let group = format!("system:serviceaccounts:{}", it.namespace);
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |key: &str, value: String| {
        extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    add("credential-id", format!("JTI={}", claims.jti));
    if let Some(pod) = &it.pod {
        add("pod-name", pod.name.clone());
        add("pod-uid", pod.uid.clone());
    }
    if let Some(node) = &it.node {
        add("node-name", node.name.clone());
        add("node-uid", node.uid.clone());
    }
    Identity {
        uid: it.serviceaccount.uid.clone(),
        extra,
        ..Identity::new(&claims.sub, &["system:serviceaccounts", &group])
    }
}
