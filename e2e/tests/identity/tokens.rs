//! Tokens: made by kubectl, good for one audience and no other, ended with what they are bound to, and verified by somebody who has nothing but
//! what the issuer publishes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use orlop_e2e::cluster::Cluster;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::{tool, wait};
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

/// The claims and the signature of a token, against the issuer's documents, by OpenSSL, which shares no code with what signed it.
fn issuer(cluster: &Cluster, bot: &Kubectl, token: &str) -> Result<()> {
    let read = |path: &str| -> Result<Value> { Ok(serde_json::from_str(&bot.run(&["get", "--raw", path])?)?) };
    let about = read("/.well-known/openid-configuration")?;
    let keys_at = about["jwks_uri"].as_str().context("it says where its keys are")?;
    ensure!(keys_at.starts_with("https://") && keys_at.ends_with("/openid/v1/jwks"), "{about}");
    ensure!(about["response_types_supported"] == json!(["id_token"]), "{about}");
    ensure!(about["subject_types_supported"] == json!(["public"]), "{about}");
    let keys = read("/openid/v1/jwks")?;

    let (signed, signature) = token.rsplit_once('.').context("a token has parts")?;
    let (head, claims) = signed.split_once('.').context("a token has three parts")?;
    let part = |it: &str| -> Result<Value> { Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(it)?)?) };
    let (head, claims) = (part(head)?, part(claims)?);
    ensure!(claims["iss"] == about["issuer"], "{claims}");
    ensure!(claims["sub"] == "system:serviceaccount:default:bot", "{claims}");
    ensure!(claims["aud"] == json!([about["issuer"]]), "{claims}");
    ensure!(about["id_token_signing_alg_values_supported"] == json!([head["alg"]]), "{about}");
    let key = keys["keys"].as_array().into_iter().flatten().find(|it| it["kid"] == head["kid"]);
    let key = key.context("the key that the token names is published")?;
    ensure!((&key["alg"], &key["use"]) == (&json!("ES256"), &json!("sig")), "{key}");

    let folder = cluster.folder();
    std::fs::write(folder.join("issuer.pem"), public_key(key)?)?;
    let signature = URL_SAFE_NO_PAD.decode(signature)?;
    ensure!(verifies(folder, signed, &signature)?, "the signature is not by the key that is published");
    let mut forged = signature;
    forged[40] ^= 1;
    ensure!(!verifies(folder, signed, &forged)?, "a changed signature must not verify");
    Ok(())
}

/// A key of P-256 out of a JSON Web Key, as PEM (RFC 5480: which curve it is on stands before the point).
fn public_key(key: &Value) -> Result<String> {
    let part = |name: &str| -> Result<Vec<u8>> { Ok(URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap_or_default())?) };
    let (x, y) = (part("x")?, part("y")?);
    ensure!(key["crv"] == "P-256" && x.len() == 32 && y.len() == 32, "{key}");
    let curve =
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
    let der = [&curve[..], &x, &y].concat();
    Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der)))
}

/// Whether OpenSSL finds that `signature`, two numbers of 32 bytes each (RFC 7518, 3.4), is that of a text.
fn verifies(folder: &Path, text: &str, signature: &[u8]) -> Result<bool> {
    ensure!(signature.len() == 64, "a signature has two numbers");
    let number = |bytes: &[u8]| {
        let from = bytes.iter().position(|it| *it != 0).unwrap_or(bytes.len() - 1);
        let sign: &[u8] = if bytes[from] & 0x80 == 0 { &[] } else { &[0] };
        let length = sign.len() + bytes.len() - from;
        [&[2, length as u8], sign, &bytes[from..]].concat()
    };
    let numbers = [number(&signature[..32]), number(&signature[32..])].concat();
    let der = [&[0x30, numbers.len() as u8][..], &numbers].concat();
    std::fs::write(folder.join("signed"), text)?;
    std::fs::write(folder.join("signature"), der)?;
    let mut openssl = Command::new(tool::machine("openssl", "openssl")?);
    openssl.current_dir(folder).args(["dgst", "-sha256", "-verify", "issuer.pem", "-signature", "signature", "signed"]);
    Ok(openssl.output()?.status.success())
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
