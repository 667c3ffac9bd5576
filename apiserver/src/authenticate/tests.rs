//! Credentials, good and bad, against the whole authenticator.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::pki::{Names, Pair, Pki};
use crate::stage::{Authenticator, Peer};
use service_account::{Claims, ISSUER, Private, Reference};

#[derive(Default)]
struct Fakes(Mutex<HashMap<String, Value>>);

impl Fakes {
    fn put(&self, kind: &str, object: Value) {
        let meta = &object["metadata"];
        let place = |field: &str| meta[field].as_str().unwrap_or_default().to_owned();
        let key = format!("{kind}/{}/{}", place("namespace"), place("name"));
        self.0.lock().insert(key, object);
    }
    fn remove(&self, key: &str) {
        self.0.lock().remove(key);
    }
}

impl Objects for Fakes {
    fn find(&self, _group: &str, kind: &str, namespace: &str, name: &str) -> Option<Found> {
        let objects = self.0.lock();
        let object = objects.get(&format!("{kind}/{namespace}/{name}"))?;
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let deleting = !object["metadata"]["deletionTimestamp"].is_null();
        Some(Found { uid, deleting, json: object.to_string().into() })
    }
}

struct Scene {
    objects: Arc<Fakes>,
    issuer: Arc<Issuer>,
    keys: Pair,
    credentials: Credentials,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let pki =
        Pki::open(dir.path(), &Names::default(), "10.96.0.1".parse().unwrap(), orlop_client::clock::now()).unwrap();
    let objects = Arc::new(Fakes::default());
    objects.put("ServiceAccount", json!({"metadata":{"namespace":"d","name":"bot","uid":"sa-1"}}));
    objects.put("Pod", json!({"metadata":{"namespace":"d","name":"p","uid":"pod-1"}}));
    let issuer = Arc::new(Issuer::new(&pki.service_account).unwrap());
    let file = dir.path().join("tokens.csv");
    std::fs::write(&file, "opensesame,admin,1,system:masters\n").unwrap();
    let credentials = Credentials::new(Some(&file), issuer.clone(), objects.clone()).unwrap();
    Scene { objects, issuer, keys: pki.service_account, credentials }
}

fn claims(change: impl FnOnce(&mut Claims)) -> Claims {
    let now = orlop_client::clock::now().as_second();
    let mut it = Claims {
        aud: vec![ISSUER.to_owned()],
        exp: now + 600,
        iat: now,
        iss: ISSUER.to_owned(),
        jti: "j".to_owned(),
        kubernetes: Private {
            namespace: "d".to_owned(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: Reference { name: "bot".to_owned(), uid: "sa-1".to_owned() },
            warnafter: None,
        },
        nbf: now,
        sub: "system:serviceaccount:d:bot".to_owned(),
    };
    change(&mut it);
    it
}

impl Scene {
    fn ask(&self, authorization: &str) -> Result<Option<Arc<Identity>>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        self.credentials.authenticate(&headers, &Peer::default())
    }

    fn check(&self, change: impl FnOnce(&mut Claims), expected: Result<(), &str>) {
        let token = self.issuer.sign(&claims(change)).unwrap();
        let got = self.ask(&format!("Bearer {token}"));
        match expected {
            Ok(()) => assert_eq!(got.unwrap().unwrap().user, "system:serviceaccount:d:bot"),
            Err(why) => {
                let error = got.unwrap_err();
                assert!(error.contains(why), "{error}");
            }
        }
    }
}

#[test]
fn tokens_of_service_accounts_end_with_what_they_stand_for() {
    let it = scene();
    it.check(|_| {}, Ok(()));
    it.check(|it| it.exp -= 600, Err("expired"));
    it.check(|it| it.nbf += 600, Err("not valid yet"));
    it.check(
        |it| it.aud = vec!["vault".to_owned()],
        Err("token audiences [\"vault\"] is invalid for the target audiences"),
    );
    it.check(|it| it.iss = "https://elsewhere".to_owned(), Err("invalid bearer token"));
    it.check(|it| it.sub = "system:serviceaccount:kube-system:root".to_owned(), Err("subject"));
    it.check(
        |it| it.kubernetes.serviceaccount.uid = "sa-0".to_owned(),
        Err("service account UID (sa-1) does not match claim (sa-0)"),
    );
    let pod = |uid: &str| Some(Reference { name: "p".to_owned(), uid: uid.to_owned() });
    it.check(|claims| claims.kubernetes.pod = pod("pod-1"), Ok(()));
    it.check(
        |claims| claims.kubernetes.pod = pod("pod-0"),
        Err("pod UID (pod-1) does not match service account pod ref claim (pod-0)"),
    );
    it.check(|claims| claims.kubernetes.secret = pod("s"), Err("service account token has been invalidated"));
    it.objects.put(
        "Pod",
        json!({"metadata":{"namespace":"d","name":"p","uid":"pod-1","deletionTimestamp":"2020-01-01T00:00:00Z"}}),
    );
    it.check(|claims| claims.kubernetes.pod = pod("pod-1"), Err("service account token has been invalidated"));
    // A remembered signature does not outlive the account.
    let token = format!("Bearer {}", it.issuer.sign(&claims(|_| {})).unwrap());
    let known = it.ask(&token).unwrap().unwrap();
    assert_eq!(known.uid, "sa-1");
    assert_eq!(known.groups, ["system:serviceaccounts", "system:serviceaccounts:d", "system:authenticated"]);
    it.objects.remove("ServiceAccount/d/bot");
    assert!(it.ask(&token).unwrap_err().contains("serviceaccounts \"bot\" not found"));
}

#[test]
fn forged_tokens_are_refused() {
    let it = scene();
    let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims(|_| {})).unwrap());
    let unsigned = format!("Bearer {}.{body}.", URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"JWT"}"#));
    assert!(it.ask(&unsigned).is_err());
    // The public key is known to all: as the secret of a MAC it must prove nothing.
    let mac = EncodingKeyOf::hs256(it.keys.certificate.as_bytes(), &claims(|_| {}));
    assert!(it.ask(&format!("Bearer {mac}")).is_err());
    let stranger = scene();
    let foreign = stranger.issuer.sign(&claims(|_| {})).unwrap();
    assert!(it.ask(&format!("Bearer {foreign}")).is_err());
    let good = it.issuer.sign(&claims(|_| {})).unwrap();
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let mut other = claims(|_| {});
    other.sub = "system:serviceaccount:d:root".to_owned();
    let swapped = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&other).unwrap());
    assert!(it.ask(&format!("Bearer {head}.{swapped}.{signature}")).is_err());
    for nonsense in ["x", "a.b", "a.b.c", "...", &"x".repeat(20_000)] {
        assert!(it.ask(&format!("Bearer {nonsense}")).is_err());
    }
    assert!(it.ask("Basic YWRtaW46YWRtaW4=").unwrap().is_none());
    assert!(it.ask("Bearer ").unwrap().is_none());
}

struct EncodingKeyOf;

impl EncodingKeyOf {
    fn hs256(secret: &[u8], claims: &Claims) -> String {
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        jsonwebtoken::encode(&header, claims, &jsonwebtoken::EncodingKey::from_secret(secret)).unwrap()
    }
}

#[test]
fn bootstrap_tokens_are_secrets() {
    let it = scene();
    let put = |change: &dyn Fn(&mut Value)| {
        let encode = |text: &str| STANDARD.encode(text);
        let mut secret = json!({
            "metadata": {"namespace":"kube-system","name":"bootstrap-token-abcdef","uid":"u"},
            "type": "bootstrap.kubernetes.io/token",
            "data": {
                "token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"),
                "usage-bootstrap-authentication": encode("true"),
                "auth-extra-groups": encode("system:bootstrappers:workers"),
                "expiration": encode("2999-01-01T00:00:00Z"),
            },
        });
        change(&mut secret);
        it.objects.put("Secret", secret);
    };
    let ask = |token: &str| it.ask(&format!("Bearer {token}"));
    put(&|_| {});
    let known = ask("abcdef.0123456789abcdef").unwrap().unwrap();
    assert_eq!(known.user, "system:bootstrap:abcdef");
    assert_eq!(known.groups, ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"]);
    for wrong in ["abcdef.0123456789abcdee", "abcdee.0123456789abcdef", "abcdef.0123456789abcde"] {
        assert!(ask(wrong).is_err(), "{wrong}");
    }
    type Forge<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Forge<'_>, &str); 5] = [
        (&|it| it["type"] = "Opaque".into(), "type"),
        (&|it| it["data"]["expiration"] = STANDARD.encode("2020-01-01T00:00:00Z").into(), "expired"),
        (&|it| it["data"]["usage-bootstrap-authentication"] = Value::Null, "not for authentication"),
        (&|it| it["data"]["auth-extra-groups"] = STANDARD.encode("system:masters").into(), "extra group"),
        (&|it| it["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into(), "being deleted"),
    ];
    for (change, why) in cases {
        put(change);
        let error = ask("abcdef.0123456789abcdef").unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn certificates_and_fixed_tokens() {
    let it = scene();
    assert_eq!(it.ask("Bearer opensesame").unwrap().unwrap().user, "admin");
    assert!(it.ask("bearer  opensesame").unwrap().is_some());
    let ask = |peer: Peer| it.credentials.authenticate(&HeaderMap::new(), &peer);
    let identity = Some(Arc::new(Identity::new("ann", &[])));
    let then = |seconds: i64| Some(orlop_client::clock::now() + jiff::SignedDuration::from_secs(seconds));
    assert!(ask(Peer::default()).unwrap().is_none());
    assert_eq!(ask(Peer { identity: identity.clone(), ..Peer::default() }).unwrap().unwrap().user, "ann");
    assert!(ask(Peer { identity: identity.clone(), expires: then(60), ..Peer::default() }).unwrap().is_some());
    assert!(ask(Peer { identity, expires: then(-1), ..Peer::default() }).is_err());
    assert!(ask(Peer { refused: Some("another CA".to_owned()), ..Peer::default() }).is_err());
}
