//! Kubernetes' protobuf bodies, `application/vnd.kubernetes.protobuf`, made into the JSON that the same client would have sent.
//!
//! In: the bytes `k8s\0` and behind them the message `runtime.Unknown`, which names the kind and holds the object's own message. Out: a value
//! as from a JSON body, so that everything behind the door knows one form only. The messages of all kinds stand in a table
//! ([`messages`]); fields that it does not know are skipped, as every protobuf reader does. Answers go the other way over the same table
//! ([`answer`]).

pub mod answer;
mod encode;
mod messages;
mod object;
mod wire;

use serde_json::Value;

use wire::{Reader, Wire};

/// The media type of these bodies.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind { kind: String, api_version: String },
    #[error("the body is encoded in a way that is not known: {0:?}")]
    Encoding(String),
    #[error("unexpected EOF")]
    BreaksOff,
    #[error("integer overflow")]
    Overflow,
    #[error("illegal tag or wire type")]
    Tag,
    #[error("wrong wireType for field {0}")]
    WireType(String),
    #[error("field {0} is nested too deeply")]
    TooDeep(String),
    #[error("field {field}: {why}")]
    Value { field: String, why: String },
}

/// The object of a body as JSON, `apiVersion` and `kind` in it. Where the body does not say of which kind it is, it is of the kind
/// that was expected.
///
/// # Errors
/// [`Malformed`] for bytes that are no such body, or of a kind that the table does not have.
pub fn decode(body: &[u8], expected_kind: &str, expected_version: &str) -> Result<Value, Malformed> {
    let mut kind = String::new();
    let mut api_version = String::new();
    let mut raw: &[u8] = &[];
    let mut envelope = Reader::new(body.strip_prefix(MAGIC).ok_or(Malformed::Prefix)?);
    while let Some((number, wire)) = envelope.next()? {
        match (number, wire) {
            (1, Wire::Bytes(types)) => {
                let mut types = Reader::new(types);
                while let Some((number, wire)) = types.next()? {
                    match number {
                        1 => api_version = object::text("apiVersion", wire)?,
                        2 => kind = object::text("kind", wire)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            // An encoding such as gzip, or a type of content that is not this one.
            (3 | 4, wire @ Wire::Bytes(bytes)) if !bytes.is_empty() && bytes != MEDIA_TYPE.as_bytes() => {
                return Err(Malformed::Encoding(object::text("contentEncoding", wire)?));
            }
            _ => {}
        }
    }
    if kind.is_empty() {
        kind.push_str(expected_kind);
    }
    if api_version.is_empty() {
        api_version.push_str(expected_version);
    }
    let Some(message) = messages::of_kind(&kind, &api_version) else {
        return Err(Malformed::UnknownKind { kind, api_version });
    };
    let mut fields = object::decode(raw, message)?;
    fields.insert("kind".to_owned(), kind.into());
    fields.insert("apiVersion".to_owned(), api_version.into());
    Ok(Value::Object(fields))
}

#[cfg(test)]
mod foreign;
#[cfg(test)]
mod tests;
