//! The formats of names that expressions may ask for: `format.dns1123Label().validate(…)`.
//!
//! Source: `k8s.io/apiserver/pkg/cel/library/format.go`. Complaints are Kubernetes' own about such names.

use super::eval::Error;
use super::functions::Op;
use super::library::text_of;
use super::value::Val;
use crate::name;
use crate::structural::format::Format;

const NAMES: &[&str] = &[
    "byte",
    "date",
    "datetime",
    "dns1035Label",
    "dns1035LabelPrefix",
    "dns1123Label",
    "dns1123LabelPrefix",
    "dns1123Subdomain",
    "dns1123SubdomainPrefix",
    "labelValue",
    "qualifiedName",
    "uri",
    "uuid",
];

/// Calls a function of formats.
///
/// # Errors
/// Where it does not take such values.
pub fn apply<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match (op, args) {
        (Op::FormatOf(name), _) => Ok(Val::Format(name)),
        (Op::NamedFormat, _) => {
            let wanted = text_of(args, 0)?;
            let found = NAMES.iter().find(|it| **it == wanted);
            Ok(found.map_or(Val::Optional(None), |it| Val::Format(it).some()))
        }
        (Op::Validate, [Val::Format(name), Val::Text(text)]) => {
            let complaints = complaints(name, text);
            if complaints.is_empty() {
                return Ok(Val::Optional(None));
            }
            Ok(Val::list(complaints.into_iter().map(Val::text).collect()).some())
        }
        _ => Err(Error::no_overload()),
    }
}

fn complaints(format: &str, text: &str) -> Vec<String> {
    // A prefix may end with a dash, which a name that follows makes good.
    let masked = || {
        if text.len() > 1 && text.ends_with('-') { format!("{}a", &text[..text.len() - 1]) } else { text.to_owned() }
    };
    let found = match format {
        "dns1123Label" => name::dns1123_label(text),
        "dns1123LabelPrefix" => name::dns1123_label(&masked()),
        "dns1123Subdomain" => name::dns1123_subdomain(text),
        "dns1123SubdomainPrefix" => name::dns1123_subdomain(&masked()),
        "dns1035Label" => name::dns1035_label(text),
        "dns1035LabelPrefix" => name::dns1035_label(&masked()),
        "qualifiedName" => name::qualified_name(text),
        "labelValue" => name::label_value(text),
        other => {
            let (kind, complaint) = match other {
                "uri" => (Format::Uri, "invalid URI for request"),
                "uuid" => (Format::Uuid(0), "does not match the UUID format"),
                "byte" => (Format::Byte, "invalid base64"),
                "date" => (Format::Date, "invalid date"),
                _ => (Format::DateTime, "invalid datetime"),
            };
            return if kind.is_met(text) { Vec::new() } else { vec![complaint.to_owned()] };
        }
    };
    found.into_iter().map(|it| it.to_string()).collect()
}
