//! Lists, written piece by piece from the bytes of their objects.
//!
//! In: the objects of a page and what the list says of itself. Out: a response that never holds more than one piece beside the
//! cache's own bytes, so that a list of 15 MB costs 128 KiB. Of which kind the items of a built-in kind are is said by the list only, as Kubernetes'
//! own types do; custom objects say it each.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use orlop_api::kind::Kind;
use orlop_api::protobuf::answer;
use orlop_api::status;
use orlop_api::table::{self, Include, ListMeta};
use serde_json::{Map, Value};

use super::{Body, META, Response, gzip};
use crate::cache::Object;
use crate::request::Request;
use crate::request::accept::{Encoding, Form};

/// How many bytes a piece has at least: large enough that the cost of a piece (a TLS record each 16 KiB, a task switch)
/// vanishes, small enough for a hundred lists at once.
const PIECE_BYTES: usize = 128 << 10;

/// A page of objects.
#[derive(Debug)]
pub struct Page {
    pub objects: Vec<Arc<Object>>,
    pub revision: u64,
    /// Empty: this is the last.
    pub continue_token: String,
    pub remaining: Option<u64>,
}

/// The page in the form that the client accepts.
///
/// # Errors
/// When a form cannot be made.
pub fn list(request: &Request, kind: &'static Kind, mut page: Page) -> status::Result<Response> {
    let include = Include::parse(&request.options.include_object)?;
    let revision = page.revision.to_string();
    let meta =
        ListMeta { resource_version: &revision, continue_token: &page.continue_token, remaining: page.remaining };
    let accept = &request.accept;
    let form = accept.form;
    if let (Form::Table, Some(order)) = (form, kind.row_order) {
        page.objects.sort_by_cached_key(|it| serde_json::from_slice(&it.json).map_or(0, |it: Value| order(&it)));
    }
    let protobuf = accept.encoding == Encoding::Protobuf;
    let mut head = Vec::with_capacity(256);
    match form {
        Form::Metadata if protobuf => {
            let lengths = page.objects.iter().map(|it| it.partial_message().len());
            answer::begin_list(&mut head, META, "PartialObjectMetadataList", &meta, lengths);
        }
        _ if protobuf => {
            let lengths = page.objects.iter().map(|it| it.message(kind).len());
            answer::begin_list(&mut head, &kind.api_version(), &format!("{}List", kind.kind), &meta, lengths);
        }
        Form::Table => table::begin(&mut head, kind, &meta, true),
        Form::Metadata => {
            head.extend_from_slice(br#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":"#);
            meta.write(&mut head);
            head.extend_from_slice(b",\"items\":[");
        }
        Form::Whole | Form::AggregatedDiscovery => {
            let head_text =
                format!("{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":", kind.kind, kind.api_version());
            head.extend_from_slice(head_text.as_bytes());
            meta.write(&mut head);
            head.extend_from_slice(b",\"items\":[");
        }
    }
    let mut writer = Writer {
        objects: page.objects.into_iter(),
        kind,
        types: kind.custom.is_none().then(|| types(kind)),
        form,
        protobuf,
        include,
        now: orlop_client::clock::now(),
        first: true,
        out: head,
        over: false,
    };
    let as_it_is = protobuf || (accept.encoding == Encoding::Json && !request.options.pretty);
    if !as_it_is {
        let mut whole = Vec::new();
        for piece in writer {
            whole.extend_from_slice(&piece);
        }
        return super::encoded(StatusCode::OK, whole.into(), accept, request.options.pretty);
    }
    let content_type = accept.encoding.content_type();
    let first = writer.next().unwrap_or_default();
    if writer.over {
        return Ok(super::complete(StatusCode::OK, content_type, first, accept));
    }
    let mut response = super::with_type(StatusCode::OK, content_type, Bytes::new());
    let pieces = std::iter::once(first).chain(writer);
    *response.body_mut() = if accept.gzip {
        Body::pieces(futures::stream::iter(gzip::Pieces::new(pieces).map(Ok)))
    } else {
        Body::pieces(futures::stream::iter(pieces.map(Ok)))
    };
    if accept.gzip {
        gzip::name(&mut response);
    }
    Ok(response)
}

/// Writes pieces until the objects are used up.
struct Writer {
    objects: std::vec::IntoIter<Arc<Object>>,
    kind: &'static Kind,
    /// What the items' bytes begin with and the list leaves out.
    types: Option<String>,
    form: Form,
    protobuf: bool,
    include: Include,
    now: jiff::Timestamp,
    first: bool,
    out: Vec<u8>,
    over: bool,
}

impl Iterator for Writer {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        while self.out.len() < PIECE_BYTES {
            let Some(object) = self.objects.next() else {
                self.out.extend_from_slice(if self.protobuf { answer::END } else { b"]}" });
                self.over = true;
                break;
            };
            if !std::mem::take(&mut self.first) && !self.protobuf {
                self.out.push(b',');
            }
            match self.form {
                Form::Metadata if self.protobuf => answer::item(&mut self.out, object.partial_message()),
                _ if self.protobuf => answer::item(&mut self.out, object.message(self.kind)),
                Form::Table => super::write_row(&mut self.out, self.kind, &object, self.include, self.now),
                Form::Metadata => self.out.extend_from_slice(object.partial()),
                Form::Whole | Form::AggregatedDiscovery => match &self.types {
                    Some(types) => write_item(&mut self.out, types, &object.json),
                    None => self.out.extend_from_slice(&object.json),
                },
            }
        }
        let next = if self.over { Vec::new() } else { Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8) };
        Some(std::mem::replace(&mut self.out, next).into())
    }
}

/// What the bytes of a kind's objects begin with.
fn types(kind: &Kind) -> String {
    format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", kind.api_version(), kind.kind)
}

/// Writes an object without its `apiVersion` and `kind`, which stand in front of what we have encoded.
fn write_item(out: &mut Vec<u8>, types: &str, json: &[u8]) {
    match json.strip_prefix(types.as_bytes()) {
        Some(rest) => {
            out.push(b'{');
            out.extend_from_slice(rest);
        }
        None => out.extend_from_slice(&decoded(json)),
    }
}

/// The same where somebody else has encoded it.
fn decoded(json: &[u8]) -> Cow<'_, [u8]> {
    let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(json) else { return json.into() };
    fields.retain(|name, _| !["apiVersion", "kind"].contains(&name.as_str()));
    serde_json::to_vec(&fields).map_or(json.into(), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn items_are_of_the_kind_of_their_list() {
        let kind = registry::named("apps", "Deployment").unwrap();
        for (json, expected) in [
            (r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"}}"#, r#"{"metadata":{"name":"a"}}"#),
            (r#"{"kind":"Deployment","metadata":{"name":"a"},"apiVersion":"apps/v1"}"#, r#"{"metadata":{"name":"a"}}"#),
            (r#"{"metadata":{"name":"a"}}"#, r#"{"metadata":{"name":"a"}}"#),
        ] {
            let mut out = Vec::new();
            write_item(&mut out, &types(kind), json.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
