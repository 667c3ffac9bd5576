//! Answers as protobuf bodies: objects, lists and the frames of a watch.
//!
//! In: messages that are made already, and of which kind they are. Out: bytes around them: the envelope `k8s\0` + `runtime.Unknown`, the list's
//! own fields, a frame's length. A message itself is made once ([`message_of`]) and copied into every answer; nothing here decodes it.

use serde_json::Value;

use super::encode::{self, varint, varint_len};
use super::{MAGIC, messages};
use crate::table::ListMeta;

/// The group version of Kubernetes' own forms of objects.
const META: &str = "meta.k8s.io/v1";

/// Whether objects of this kind can be given as protobuf.
pub fn speaks(kind: &str, api_version: &str) -> bool {
    messages::of_kind(kind, api_version).is_some()
}

/// The message of an encoded object, without an envelope; none for kinds that have none, and for bytes that are no object.
pub fn message_of(kind: &str, api_version: &str, json: &[u8]) -> Option<Vec<u8>> {
    let message = messages::of_kind(kind, api_version)?;
    let Value::Object(object) = serde_json::from_slice(json).ok()? else { return None };
    let mut out = Vec::with_capacity(json.len() / 2);
    encode::message(&mut out, message, &object);
    Some(out)
}

/// The message of `PartialObjectMetadata` for an encoded object of any kind.
pub fn partial_of(json: &[u8]) -> Option<Vec<u8>> {
    message_of("PartialObjectMetadata", META, json)
}

/// The same, from the whole message of an object: of every kind, the first field is its metadata.
pub fn partial_within(message: &[u8]) -> Option<&[u8]> {
    let mut reader = super::wire::Reader::new(message);
    let (1, super::wire::Wire::Bytes(metadata)) = reader.next().ok()?? else { return None };
    message.get(..1 + varint_len(metadata.len() as u64) + metadata.len())
}

/// The sizes of an envelope around a message of `length` bytes: of the kind's part, and of all behind the magic.
fn sizes(api_version: &str, kind: &str, length: usize) -> (usize, usize) {
    let text = |it: &str| 1 + varint_len(it.len() as u64) + it.len();
    let types = text(api_version) + text(kind);
    let all = 1 + varint_len(types as u64) + types + 1 + varint_len(length as u64) + length + END.len();
    (types, all)
}

/// What stands behind the message in its envelope: no encoding and no other type of content.
pub const END: &[u8] = &[0x1a, 0, 0x22, 0];

/// Begins the envelope of a message of `length` bytes, which follows, and behind it [`END`].
pub fn begin(out: &mut Vec<u8>, api_version: &str, kind: &str, length: usize) {
    let (types, _) = sizes(api_version, kind, length);
    out.extend_from_slice(MAGIC);
    out.push(0x0a);
    varint(out, types as u64);
    encode::bytes(out, 1, api_version.as_bytes());
    encode::bytes(out, 2, kind.as_bytes());
    out.push(0x12);
    varint(out, length as u64);
}

/// A whole body.
pub fn body(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    begin(&mut out, api_version, kind, message.len());
    out.extend_from_slice(message);
    out.extend_from_slice(END);
    out
}

/// The body of any object, of which kind it says itself; none for kinds that have no message. Lists are of the kind of their items.
pub fn of_value(value: &Value) -> Option<Vec<u8>> {
    let object = value.as_object()?;
    let kind = object.get("kind")?.as_str()?;
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or("v1");
    let mut message = Vec::new();
    if let Some(of) = messages::of_kind(kind, api_version) {
        encode::message(&mut message, of, object);
        return Some(body(api_version, kind, &message));
    }
    let of = messages::of_kind(kind.strip_suffix("List")?, api_version)?;
    let meta = messages::of_kind("ListMeta", META)?;
    let mut part = Vec::new();
    encode::message(&mut part, meta, object.get("metadata")?.as_object()?);
    encode::bytes(&mut message, 1, &part);
    for item in object.get("items")?.as_array()?.iter().filter_map(Value::as_object) {
        part.clear();
        encode::message(&mut part, of, item);
        encode::bytes(&mut message, 2, &part);
    }
    Some(body(api_version, kind, &message))
}

/// The head of a list whose items' messages have these lengths: each follows by [`item`], and behind the last [`END`].
pub fn begin_list(
    out: &mut Vec<u8>,
    api_version: &str,
    kind: &str,
    meta: &ListMeta<'_>,
    lengths: impl Iterator<Item = usize>,
) {
    let mut part = Vec::new();
    if !meta.resource_version.is_empty() {
        encode::bytes(&mut part, 2, meta.resource_version.as_bytes());
    }
    if !meta.continue_token.is_empty() {
        encode::bytes(&mut part, 3, meta.continue_token.as_bytes());
    }
    if let Some(remaining) = meta.remaining {
        part.push(4 << 3);
        varint(&mut part, remaining);
    }
    let items: usize = lengths.map(|it| 1 + varint_len(it as u64) + it).sum();
    let length = 1 + varint_len(part.len() as u64) + part.len() + items;
    begin(out, api_version, kind, length);
    encode::bytes(out, 1, &part);
}

/// One item of a list.
pub fn item(out: &mut Vec<u8>, message: &[u8]) {
    encode::bytes(out, 2, message);
}

/// One event of a watch: a frame of four bytes that say how long it is, and the message `WatchEvent`, which holds the object's body.
pub fn frame(out: &mut Vec<u8>, event: &str, api_version: &str, kind: &str, message: &[u8]) {
    let (_, behind_magic) = sizes(api_version, kind, message.len());
    let body = MAGIC.len() + behind_magic;
    let raw = 1 + varint_len(body as u64) + body;
    let all = 1 + varint_len(event.len() as u64) + event.len() + 1 + varint_len(raw as u64) + raw;
    out.extend_from_slice(&u32::try_from(all).unwrap_or(u32::MAX).to_be_bytes());
    encode::bytes(out, 1, event.as_bytes());
    out.push(0x12);
    varint(out, raw as u64);
    out.push(0x0a);
    varint(out, body as u64);
    begin(out, api_version, kind, message.len());
    out.extend_from_slice(message);
    out.extend_from_slice(END);
}

#[cfg(test)]
mod tests;
