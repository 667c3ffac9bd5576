//! `Secret`: what only some may read. Clients may write texts as `stringData`; they are kept, encoded, as `data`.

use std::collections::HashMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde::de::IgnoredAny;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Selectable, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks::{self, DATA_LIMIT_BYTES};
use crate::table::{Cell, Column};

impl Strategy for Secret {
    const NAMES: Names = Names { plural: "secrets", singular: "secret", short: &[], categories: &[] };
    const FIELDS: &'static [Selectable] = &[Selectable { path: "type", absent: "", from: &[] }];
    const COLUMNS: &'static [Column] = &[
        cells::text("Type", |it| cells::cell(&it["type"])).doc(".type"),
        cells::text("Data", |it| Cell::Number(cells::count(&it["data"]))).doc(".data"),
        AGE,
    ];

    fn default(&mut self) {
        if self.type_.as_deref().unwrap_or_default().is_empty() {
            self.type_ = Some("Opaque".into());
        }
        for (key, text) in self.string_data.take().unwrap_or_default() {
            self.data.get_or_insert_with(Default::default).insert(key, ByteString(text.into_bytes()));
        }
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        if let Some(old) = old {
            checks::immutable(&self.type_, &old.type_, "type", errors);
            checks::sealed(old.immutable, self.immutable, &[("data", self.data != old.data)], errors);
        }
        checks::data_keys(self.data.iter().flatten().map(|(key, _)| key), "data", errors);
        let bytes: usize = self.data.iter().flatten().map(|(_, value)| value.0.len()).sum();
        if bytes > DATA_LIMIT_BYTES {
            errors.too_long("data", DATA_LIMIT_BYTES);
        }
        self.validate_keys_of_type(errors);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        if self.type_.as_deref() != Some("kubernetes.io/tls") {
            return Vec::new();
        }
        let of = |key: &str| self.data.as_ref().and_then(|it| it.get(key)).map_or(&[][..], |it| &it.0);
        unlike_pair(of("tls.crt"), of("tls.key")).into_iter().collect()
    }
}

/// Why a certificate and a key cannot be a server's, in Go's words. Whether the key is the certificate's is not looked at.
fn unlike_pair(certificate: &[u8], key: &[u8]) -> Option<String> {
    let (certificates, keys) = (labels(certificate), labels(key));
    if !certificates.iter().any(|it| it == "CERTIFICATE") {
        return Some(match certificates.as_slice() {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [only] if only.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            others => format!("tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]", others.join(" ")),
        });
    }
    if !keys.iter().any(|it| it == "PRIVATE KEY" || it.ends_with(" PRIVATE KEY")) {
        return Some(match keys.as_slice() {
            [] => "tls: failed to find any PEM data in key input".to_owned(),
            [only] if only == "CERTIFICATE" => {
                "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
            }
            others => format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
                others.join(" ")
            ),
        });
    }
    None
}

/// What the blocks of a PEM text are called. What they hold is not looked at.
fn labels(pem: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(pem);
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|it| it.strip_suffix("-----")) else { continue };
        let end = format!("-----END {label}-----");
        if lines.any(|it| it == end) {
            found.push(label.to_owned());
        }
    }
    found
}

/// What `kubectl` sees of a value it may not see.
const REDACTED: &str = "<secret contents redacted>";
/// Which service account a token secret is for.
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// What a type of secret promises to hold.
trait Typed {
    fn validate_keys_of_type(&self, errors: &mut Errors);
}

impl Typed for Secret {
    fn validate_keys_of_type(&self, errors: &mut Errors) {
        let path = |key: &str| Path::new("data").key(key);
        let value = |key: &str| self.data.as_ref().and_then(|it| it.get(key));
        match self.type_.as_deref().unwrap_or_default() {
            "kubernetes.io/service-account-token" => {
                let account = self.metadata.annotations.as_ref().and_then(|it| it.get(ACCOUNT_ANNOTATION));
                if account.is_none_or(String::is_empty) {
                    errors.required(Path::from("metadata.annotations").key(ACCOUNT_ANNOTATION), "");
                }
            }
            kind @ ("kubernetes.io/dockercfg" | "kubernetes.io/dockerconfigjson") => {
                let key = if kind.ends_with("json") { ".dockerconfigjson" } else { ".dockercfg" };
                match value(key) {
                    None => errors.required(path(key), ""),
                    Some(it) => {
                        if let Err(error) = serde_json::from_slice::<HashMap<String, IgnoredAny>>(&it.0) {
                            let why = crate::json::syntax::complaint(&it.0).unwrap_or_else(|| error.to_string());
                            errors.invalid(path(key), REDACTED, why);
                        }
                    }
                }
            }
            "kubernetes.io/basic-auth" if value("username").is_none() && value("password").is_none() => {
                errors.required(path("username"), "");
                errors.required(path("password"), "");
            }
            "kubernetes.io/ssh-auth" if value("ssh-privatekey").is_none_or(|it| it.0.is_empty()) => {
                errors.required(path("ssh-privatekey"), "");
            }
            "kubernetes.io/tls" => {
                for key in ["tls.crt", "tls.key"] {
                    if value(key).is_none() {
                        errors.required(path(key), "");
                    }
                }
            }
            _ => {}
        }
    }
}
