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
