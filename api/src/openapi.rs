//! OpenAPI documents: what clients validate, explain and merge by.
//!
//! In: the schemas of the kinds and [`crate::list_types`]. Out: Kubernetes' documents `/openapi/v3` (one per group version) and
//! `/openapi/v2` (one for all, as JSON and as the protobuf message that kubectl reads). Each is built when it is first asked for and kept
//! encoded. Nothing here knows HTTP; [`Document::etag`] is for its caching.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::computed::COMPUTED;
use crate::discovery;
use crate::kind::Kind;
use crate::kinds::KINDS;

mod custom;
mod operations;
mod proto;
pub(crate) mod schema;
pub mod types;
mod v2;
mod v3;

/// The media type of the protobuf form of `/openapi/v2`, as answers name it.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What clients put into `Accept` for the same: its `@` is no character of a media type, so that no answer may carry it.
pub const V2_PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// An encoded document.
#[derive(Clone, Debug)]
pub struct Document {
    pub body: Bytes,
    /// The fingerprint of the body, in upper-case hexadecimal digits as Kubernetes writes it.
    pub etag: String,
}

impl Document {
    fn new(body: Vec<u8>) -> Document {
        let etag = Sha256::digest(&body).iter().map(|it| format!("{it:02X}")).collect();
        Document { body: body.into(), etag }
    }

    fn json(value: &Value) -> Document {
        // A JSON value always has a text.
        Document::new(value.to_string().into_bytes())
    }
}

/// `apis/apps/v1`, `api/v1`: where a group version is, relative to the root.
fn root_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

type Parts = Vec<(&'static str, &'static str, OnceLock<Document>)>;

fn built_in() -> Vec<&'static Kind> {
    KINDS.iter().chain(COMPUTED).collect()
}

fn parts() -> &'static Parts {
    static PARTS: OnceLock<Parts> = OnceLock::new();
    PARTS.get_or_init(|| {
        let groups = discovery::groups(&built_in());
        groups
            .into_iter()
            .flat_map(|(group, versions)| versions.into_iter().map(move |it| (group, it, OnceLock::new())))
            .collect()
    })
}

/// `/openapi/v3/<path>`, such as `api/v1` or `apis/apps/v1`, of the built-in kinds.
pub fn v3(path: &str) -> Option<&'static Document> {
    let (group, version, document) = parts().iter().find(|(group, version, _)| root_of(group, version) == path)?;
    Some(document.get_or_init(|| Document::json(&v3::document(&built_in(), group, version))))
}

/// `/openapi/v2` of the built-in kinds, as JSON.
pub fn v2() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| Document::json(&v2::document(&built_in(), true)))
}

/// `/openapi/v2` of the built-in kinds as [`V2_PROTOBUF`]: client-go reads no other form.
pub fn v2_protobuf() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| Document::new(proto::document(&v2::document(&built_in(), true))))
}

/// The documents of the built-in kinds and some custom ones. What is built in is built once for all; what is custom is built when it is asked
/// for, as it is at that moment: whoever changes a custom kind makes new documents.
#[derive(Debug, Default)]
pub struct Documents {
    custom: Vec<&'static Kind>,
    index: OnceLock<Document>,
    v2: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
}

impl Documents {
    /// The documents of the built-in kinds and these.
    pub fn new(custom: Vec<&'static Kind>) -> Self {
        Documents { custom, ..Documents::default() }
    }

    /// The group versions of the custom kinds that no built-in kind has, in order.
    fn custom_parts(&self) -> Vec<(&'static str, &'static str)> {
        let mut out: Vec<_> = self.custom.iter().map(|it| (it.group, it.version)).collect();
        out.sort_unstable();
        out.dedup();
        out.retain(|(group, version)| !parts().iter().any(|it| (it.0, it.1) == (*group, *version)));
        out
    }

    /// `/openapi/v3/<path>`, such as `api/v1` or `apis/apps/v1`.
    pub fn v3(&self, path: &str) -> Option<Document> {
        if let Some(built_in) = v3(path) {
            return Some(built_in.clone());
        }
        let (group, version) =
            self.custom_parts().into_iter().find(|(group, version)| root_of(group, version) == path)?;
        Some(Document::json(&v3::document(&self.custom, group, version)))
    }

    /// `/openapi/v3`: where the documents of the group versions are. The address has the document's fingerprint, so that clients may cache it.
    pub fn v3_index(&self) -> &Document {
        self.index.get_or_init(|| {
            let mut paths = Map::new();
            let built_in = parts().iter().map(|(group, version, _)| (*group, *version));
            for (group, version) in built_in.chain(self.custom_parts()) {
                let path = root_of(group, version);
                let hash = self.v3(&path).map(|it| it.etag).unwrap_or_default();
                let url = format!("/openapi/v3/{path}?hash={hash}");
                paths.insert(path, serde_json::json!({"serverRelativeURL": url}));
            }
            Document::json(&serde_json::json!({"paths": paths}))
        })
    }

    /// `/openapi/v2` as JSON.
    pub fn v2(&self) -> &Document {
        if self.custom.is_empty() {
            return v2();
        }
        self.v2.get_or_init(|| {
            // The large document of the built-in kinds is copied as text, the small one of the others is put beside it.
            let mut whole: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&v2().body).unwrap_or_default();
            let custom = v2::document(&self.custom, false);
            for field in ["paths", "definitions"] {
                let known = whole.get(field).map_or("{}", |it| it.get());
                let mut entries: BTreeMap<String, Box<RawValue>> = serde_json::from_str(known).unwrap_or_default();
                for (name, value) in custom[field].as_object().into_iter().flatten() {
                    if let (false, Ok(value)) = (entries.contains_key(name), serde_json::value::to_raw_value(value)) {
                        entries.insert(name.clone(), value);
                    }
                }
                if let Ok(entries) = serde_json::value::to_raw_value(&entries) {
                    whole.insert(field.to_owned(), entries);
                }
            }
            Document::new(serde_json::to_vec(&whole).unwrap_or_default())
        })
    }

    /// `/openapi/v2` as [`V2_PROTOBUF`].
    pub fn v2_protobuf(&self) -> &Document {
        if self.custom.is_empty() {
            return v2_protobuf();
        }
        self.v2_protobuf.get_or_init(|| {
            // Encoded messages that follow each other are one, with the entries of both.
            let mut whole = v2_protobuf().body.to_vec();
            whole.extend(proto::entries(&v2::document(&self.custom, false)));
            Document::new(whole)
        })
    }
}

#[cfg(test)]
mod tests;
