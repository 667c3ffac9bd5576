//! A service account's token, read and verified by somebody who has nothing but what its issuer publishes.
//!
//! The signature is verified by OpenSSL, which shares no code with what made it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::tool;

/// A token (RFC 7519) that is signed with a key of P-256.
#[derive(Clone, Debug)]
pub struct Token {
    /// What it says of itself: the algorithm, the key.
    pub head: Value,
    /// What it says of its bearer.
    pub claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(text: &str) -> Result<Token> {
        let (signed, signature) = text.trim().rsplit_once('.').context("a token has parts")?;
        let (head, claims) = signed.split_once('.').context("a token has three parts")?;
        let part = |it: &str| -> Result<Value> { Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(it)?)?) };
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        ensure!(signature.len() == 64, "a signature has two numbers of 32 bytes (RFC 7518, 3.4)");
        Ok(Token { head: part(head)?, claims: part(claims)?, signed: signed.to_owned(), signature })
    }

    /// Checks that the token is signed with the one of these published keys that it names; `folder` takes OpenSSL's files.
    ///
    /// # Errors
    /// When it is not, or when a changed signature is as good.
    pub fn verify(&self, keys: &Value, folder: &Path) -> Result<()> {
        let key = keys["keys"].as_array().into_iter().flatten().find(|it| it["kid"] == self.head["kid"]);
        let key = key.context("the key that the token names is published")?;
        ensure!((&key["alg"], &key["use"]) == (&json!("ES256"), &json!("sig")), "{key}");
        std::fs::write(folder.join("issuer.pem"), public_key(key)?)?;
        std::fs::write(folder.join("signed"), &self.signed)?;
        ensure!(verifies(folder, &self.signature)?, "the signature is not by the key that is published");
        let mut forged = self.signature.clone();
        forged[40] ^= 1;
        ensure!(!verifies(folder, &forged)?, "a changed signature must not verify");
        Ok(())
    }
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

/// Whether OpenSSL finds that these two numbers are the signature of the text that lies in the folder.
fn verifies(folder: &Path, signature: &[u8]) -> Result<bool> {
    let number = |bytes: &[u8]| {
        let from = bytes.iter().position(|it| *it != 0).unwrap_or(bytes.len() - 1);
        let sign: &[u8] = if bytes[from] & 0x80 == 0 { &[] } else { &[0] };
        let length = sign.len() + bytes.len() - from;
        [&[2, length as u8], sign, &bytes[from..]].concat()
    };
    let numbers = [number(&signature[..32]), number(&signature[32..])].concat();
    let der = [&[0x30, numbers.len() as u8][..], &numbers].concat();
    std::fs::write(folder.join("signature"), der)?;
    let mut openssl = Command::new(tool::machine("openssl", "openssl")?);
    openssl.current_dir(folder).args(["dgst", "-sha256", "-verify", "issuer.pem", "-signature", "signature", "signed"]);
    Ok(openssl.output()?.status.success())
}
