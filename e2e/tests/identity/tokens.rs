//! Tokens: made by kubectl, good for one audience and no other, ended with what they are bound to, and verified by somebody who has nothing but
//! what the issuer publishes.

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::Cluster;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::token::Token;
use orlop_e2e::wait;
use serde_json::{Value, json};

use crate::LIMIT;
use crate::credentials::{as_somebody, says};

const UNKNOWN: &str = "the server has asked for the client to provide credentials";

pub fn play(cluster: &Cluster, admin: &Kubectl) -> Result<()> {
    admin.run(&["create", "serviceaccount", "bot"])?;
    let token = admin.run(&["create", "token", "bot", "--duration", "10m"])?;
    let bot = as_somebody(cluster, "bot", &["--token", token.trim()])?;
    let who = bot.run(&["auth", "whoami"])?;
    says(&who, "system:serviceaccount:default:bot")?;
    says(&who, "system:serviceaccounts:default")?;
    says(
        &bot.fails(&["get", "pods"], "")?,
        "cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
    )?;
    let other = admin.run(&["create", "token", "bot", "--audience", "vault"])?;
    let other = as_somebody(cluster, "other", &["--token", other.trim()])?;
    says(&other.fails(&["get", "pods"], "")?, UNKNOWN)?;
    let short = admin.fails(&["create", "token", "bot", "--duration", "1m"], "")?;
    says(&short, "may not specify a duration less than 10 minutes")?;
    issuer(cluster, &bot, token.trim()).context("the issuer")?;
    bound(cluster, admin).context("bound tokens")
}

/// The claims and the signature of a token, against the issuer's documents.
fn issuer(cluster: &Cluster, bot: &Kubectl, token: &str) -> Result<()> {
    let read = |path: &str| -> Result<Value> { Ok(serde_json::from_str(&bot.run(&["get", "--raw", path])?)?) };
    let about = read("/.well-known/openid-configuration")?;
    let keys_at = about["jwks_uri"].as_str().context("it says where its keys are")?;
    ensure!(keys_at.starts_with("https://") && keys_at.ends_with("/openid/v1/jwks"), "{about}");
    ensure!(about["response_types_supported"] == json!(["id_token"]), "{about}");
    ensure!(about["subject_types_supported"] == json!(["public"]), "{about}");
    let keys = read("/openid/v1/jwks")?;

    let token = Token::read(token)?;
    ensure!(token.claims["iss"] == about["issuer"], "{}", token.claims);
    ensure!(token.claims["sub"] == "system:serviceaccount:default:bot", "{}", token.claims);
    ensure!(token.claims["aud"] == json!([about["issuer"]]), "{}", token.claims);
    ensure!(about["id_token_signing_alg_values_supported"] == json!([token.head["alg"]]), "{about}");
    token.verify(&keys, cluster.folder())
}

/// A token that is bound to an object ends with it.
fn bound(cluster: &Cluster, admin: &Kubectl) -> Result<()> {
    admin.run(&["create", "secret", "generic", "anchor"])?;
    let uid = admin.run(&["get", "secret", "anchor", "-o", "jsonpath={.metadata.uid}"])?;
    let to = ["--bound-object-kind", "Secret", "--bound-object-name", "anchor", "--bound-object-uid"];
    let token = admin.run(&[&["create", "token", "bot"], &to[..], &[uid.trim()]].concat())?;
    let bot = as_somebody(cluster, "bound", &["--token", token.trim()])?;
    says(&bot.run(&["auth", "whoami"])?, "system:serviceaccount:default:bot")?;
    let other = admin.fails(&[&["create", "token", "bot"], &to[..], &["other"]].concat(), "")?;
    says(&other, "the UID in the bound object reference (other) does not match the UID in record")?;
    admin.run(&["delete", "secret", "anchor"])?;
    wait::until("the token ends with the secret", LIMIT, || says(&bot.fails(&["get", "pods"], "")?, UNKNOWN))
}
