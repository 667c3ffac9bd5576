//! OpenAPI documents: what clients validate, explain and merge by.
//!
//! In: the schemas of the kinds and [`crate::list_types`]. Out: Kubernetes' documents `/openapi/v3` (one per group version) and
//! `/openapi/v2` (one for all, as JSON and as the protobuf message that kubectl reads). Each is built when it is first asked for and kept
//! encoded. Nothing here knows HTTP; [`Document::etag`] is for its caching.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::discovery;
use crate::kinds::KINDS;

mod operations;
mod proto;
pub(crate) mod schema;
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

fn parts() -> &'static Parts {
    static PARTS: OnceLock<Parts> = OnceLock::new();
    PARTS.get_or_init(|| {
        let groups = discovery::groups(KINDS);
        groups
            .into_iter()
            .flat_map(|(group, versions)| versions.into_iter().map(move |it| (group, it, OnceLock::new())))
            .collect()
    })
}

/// `/openapi/v3/<path>`, such as `api/v1` or `apis/apps/v1`.
pub fn v3(path: &str) -> Option<&'static Document> {
    let (group, version, document) = parts().iter().find(|(group, version, _)| root_of(group, version) == path)?;
    Some(document.get_or_init(|| Document::json(&v3::document(KINDS, group, version))))
}

/// `/openapi/v3`: where the documents of the group versions are. The address has the document's fingerprint, so that clients may cache it.
pub fn v3_index() -> &'static Document {
    static INDEX: OnceLock<Document> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut paths = Map::new();
        for (group, version, _) in parts() {
            let path = root_of(group, version);
            let hash = v3(&path).map(|it| it.etag.as_str()).unwrap_or_default();
            let url = format!("/openapi/v3/{path}?hash={hash}");
            paths.insert(path, serde_json::json!({"serverRelativeURL": url}));
        }
        Document::json(&serde_json::json!({"paths": paths}))
    })
}

/// `/openapi/v2` as JSON.
pub fn v2() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| Document::json(&v2::document(KINDS)))
}

/// `/openapi/v2` as [`V2_PROTOBUF`]: client-go reads no other form.
pub fn v2_protobuf() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| Document::new(proto::document(&v2::document(KINDS))))
}

#[cfg(test)]
mod tests;
