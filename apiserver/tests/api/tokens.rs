//! Tokens of service accounts: for whom they are good, how long, and what ends them; and what the issuer says of itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts/default";

async fn token(cluster: &Cluster, spec: Value) -> Answer {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    cluster.post(&format!("{ACCOUNT}/token"), &body).await
}

fn claims(answer: &Answer) -> Value {
    let token = answer.json["status"]["token"].as_str().unwrap();
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

async fn review(cluster: &Cluster, token: &str, audiences: Value) -> Value {
    let body = json!({"spec": {"token": token, "audiences": audiences}});
    let answer = cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &body).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json["status"].clone()
}

async fn pod(cluster: &Cluster) -> String {
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a", "image": "b"}]}});
    let made = cluster.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(made.code, 201, "{}", made.text);
    made.json["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_is_good_for_its_audiences() {
    let cluster = Cluster::start().await;
    let plain = token(&cluster, json!({})).await;
    assert_eq!(plain.code, 201, "{}", plain.text);
    assert_eq!(claims(&plain)["aud"], json!([ISSUER]));
    let vault = token(&cluster, json!({"audiences": ["vault", ISSUER]})).await;
    let other = token(&cluster, json!({"audiences": ["vault"]})).await;
    let of = |it: &Answer| it.json["status"]["token"].as_str().unwrap().to_owned();

    let status = review(&cluster, &of(&plain), json!([])).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!([ISSUER])));
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default");
    assert!(status["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].is_string(), "{status}");
    let status = review(&cluster, &of(&vault), json!(["vault", "other"])).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["vault"])));
    let status = review(&cluster, &of(&other), json!([])).await;
    let why = format!(
        "[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [\"{ISSUER}\"]]"
    );
    assert_eq!(status, json!({"user": {}, "error": why}));
    assert_eq!(review(&cluster, "x", json!([])).await, json!({"user": {}, "error": "invalid bearer token"}));

    // With a request only those for this server are good.
    for (token, code) in [(of(&vault), 403), (of(&other), 401), ("x".to_owned(), 401)] {
        let answer = cluster.with_token(&token, "/api/v1/namespaces/default/pods").await;
        assert_eq!(answer.code, code, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_token_ends_with_what_it_is_bound_to() {
    let cluster = Cluster::start().await;
    let uid = pod(&cluster).await;
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": uid});
    let asked = json!({"boundObjectRef": bound, "expirationSeconds": 3607});
    let made = token(&cluster, asked.clone()).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let of_pod = claims(&made);
    let private = &of_pod["kubernetes.io"];
    assert_eq!(private["pod"], json!({"name": "web", "uid": uid}));
    // Programs that read their token once go on to work; the agent renews it when it asked for.
    assert_eq!(of_pod["exp"].as_i64().unwrap() - of_pod["iat"].as_i64().unwrap(), 365 * 86_400);
    assert_eq!(private["warnafter"].as_i64().unwrap() - of_pod["iat"].as_i64().unwrap(), 3607);
    let mut for_others = asked;
    for_others["audiences"] = json!(["vault"]);
    let for_others = claims(&token(&cluster, for_others).await);
    assert_eq!(for_others["exp"].as_i64().unwrap() - for_others["iat"].as_i64().unwrap(), 3607);

    let text = made.json["status"]["token"].as_str().unwrap();
    assert_eq!(
        review(&cluster, text, json!([])).await["user"]["extra"]["authentication.kubernetes.io/pod-name"],
        json!(["web"])
    );
    let wrong = json!({"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "other"});
    assert_eq!(token(&cluster, json!({"boundObjectRef": wrong})).await.code, 409);
    let none = json!({"kind": "ConfigMap", "apiVersion": "v1", "name": "web"});
    assert_eq!(token(&cluster, json!({"boundObjectRef": none})).await.code, 400);

    cluster.delete("/api/v1/namespaces/default/pods/web", Some(&json!({"gracePeriodSeconds": 0}))).await;
    cluster.get("/api/v1/namespaces/default/pods").await;
    let status = review(&cluster, text, json!([])).await;
    assert_eq!(status["error"], "[invalid bearer token, service account token has been invalidated]");
    let plain = token(&cluster, json!({})).await;
    let plain = plain.json["status"]["token"].as_str().unwrap();
    cluster.delete(ACCOUNT, None).await;
    cluster.get(ACCOUNT).await;
    let status = review(&cluster, plain, json!([])).await;
    assert_eq!(status["error"], "[invalid bearer token, serviceaccounts \"default\" not found]");
}

#[tokio::test]
async fn the_issuer_says_how_its_tokens_are_verified() {
    let cluster = Cluster::start().await;
    let config = cluster.get("/.well-known/openid-configuration").await;
    assert_eq!((config.code.as_u16(), &config.json["issuer"]), (200, &json!(ISSUER)));
    assert!(config.json["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"));
    assert_eq!(config.json["id_token_signing_alg_values_supported"], json!(["ES256"]));
    assert_eq!(config.headers["cache-control"], "public, max-age=3600");
    let keys = cluster.get("/openid/v1/jwks").await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    let made = token(&cluster, json!({})).await;
    let text = made.json["status"]["token"].as_str().unwrap();
    // A relying party needs nothing else.
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&keys.text).unwrap();
    let kid = jsonwebtoken::decode_header(text).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&[ISSUER]);
    jsonwebtoken::decode::<Value>(text, &key, &validation).unwrap();
    // Service accounts may read it, and strangers may not.
    for (user, groups, code) in [
        ("system:anonymous", &["system:unauthenticated"][..], 403),
        ("system:serviceaccount:a:b", &["system:serviceaccounts", "system:authenticated"], 200),
    ] {
        let request = Request::get("/openid/v1/jwks").header("impersonate-user", user);
        let request = groups.iter().fold(request, |it, group| it.header("impersonate-group", *group));
        assert_eq!(cluster.send(request.body(Vec::new()).unwrap()).await.code, code, "{user}");
    }
}

#[tokio::test]
async fn the_use_of_a_secrets_token_is_written_down() {
    let cluster = Cluster::start().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let metadata = json!({"name": "old", "annotations": {"kubernetes.io/service-account.name": "default"}});
    let secret = json!({"metadata": metadata, "type": "kubernetes.io/service-account-token"});
    let made = cluster.post(secrets, &secret).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let bound = json!({"kind": "Secret", "apiVersion": "v1", "name": "old", "uid": made.json["metadata"]["uid"]});
    let answer = token(&cluster, json!({"boundObjectRef": bound})).await;
    let token = answer.json["status"]["token"].as_str().unwrap();
    assert!(made.json["metadata"]["labels"].is_null(), "{}", made.text);
    assert_eq!(cluster.with_token(token, "/version").await.code, 200);
    // Beside the request: it takes a moment.
    let path = format!("{secrets}/old");
    let mut label = Value::Null;
    for _ in 0..1_000 {
        label = cluster.get(&path).await.json["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].take();
        if !label.is_null() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(label.as_str().is_some_and(|it| it.len() == "2026-01-31".len()), "{label}");

    let invalid = json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}});
    let marked = cluster.patch(&path, "application/merge-patch+json", &invalid).await;
    assert_eq!(marked.code, 200, "{}", marked.text);
    assert_eq!(cluster.with_token(token, "/version").await.code, 401);

    let tracking = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking";
    let since = cluster.get(tracking).await;
    assert!(since.json["data"]["since"].is_string(), "{}", since.text);
}
