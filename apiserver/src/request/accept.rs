//! In which form the client wants its answer: the `Accept` header.
//!
//! In: the header. Out: an [`Accept`]. Objects are given as JSON or YAML, whole, as a Table, or as their metadata only; protobuf
//! is not spoken, and clients that ask for it name JSON beside it.

use http::HeaderMap;
use http::header::ACCEPT;
use orlop_api::status::{Details, Reason, Status};

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Json,
    Yaml,
}

impl Encoding {
    /// The answer's `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
        }
    }
}

/// How much of an object is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Whole,
    /// A `meta.k8s.io` Table.
    Table,
    /// `PartialObjectMetadata`, or a list of them.
    Metadata,
    /// `apidiscovery.k8s.io/v2` in place of plain discovery.
    AggregatedDiscovery,
}

/// What the client accepts best of what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    pub encoding: Encoding,
    pub form: Form,
    /// The older of the two versions of the form was asked for: `v1beta1` of `meta.k8s.io`, `v2beta1` of discovery.
    pub beta: bool,
    /// Nothing that there is will do. Paths that are no resources answer all the same.
    pub refused: bool,
}

impl Accept {
    /// Reads the header; without one, JSON.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut ranges: Vec<(f32, &str)> = Vec::new();
        for value in headers.get_all(ACCEPT) {
            let Ok(text) = value.to_str() else { continue };
            // The common case, without a copy.
            if matches!(text, "application/json" | "*/*") {
                return Accept::default();
            }
            ranges.extend(text.split(',').map(|it| (quality(it), it.trim())).filter(|(_, it)| !it.is_empty()));
        }
        if ranges.is_empty() {
            return Accept::default();
        }
        ranges.sort_by(|a, b| b.0.total_cmp(&a.0));
        let found = ranges.iter().filter(|(quality, _)| *quality > 0.0).find_map(|(_, it)| range(it));
        found.unwrap_or(Accept { refused: true, ..Accept::default() })
    }

    /// The refusal, where nothing will do.
    ///
    /// # Errors
    /// `NotAcceptable`.
    pub fn check(&self) -> Result<(), Status> {
        if !self.refused {
            return Ok(());
        }
        let text = "only the following media types are accepted: application/json, application/yaml";
        Err(Status::new(Reason::NotAcceptable, text).with_details(Details::default()))
    }
}

fn quality(range: &str) -> f32 {
    let given = range.split(';').skip(1).find_map(|it| it.trim().strip_prefix("q="));
    given.and_then(|it| it.parse().ok()).unwrap_or(1.0)
}

/// What one media range asks for; none if that cannot be had.
fn range(text: &str) -> Option<Accept> {
    let mut parts = text.split(';').map(str::trim);
    let mut out = Accept::default();
    match parts.next()? {
        "application/json" | "*/*" | "application/*" => {}
        "application/yaml" => out.encoding = Encoding::Yaml,
        _ => return None,
    }
    let (mut form, mut group, mut version) = ("", "", "");
    for part in parts {
        match part.split_once('=') {
            Some(("as", it)) => form = it,
            Some(("g", it)) => group = it,
            Some(("v", it)) => version = it,
            _ => {}
        }
    }
    out.form = match (form, group, version) {
        ("", ..) => Form::Whole,
        ("Table", "meta.k8s.io", "v1" | "v1beta1") => Form::Table,
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") => Form::Metadata,
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2" | "v2beta1") => Form::AggregatedDiscovery,
        _ => return None,
    };
    out.beta = version.ends_with("beta1");
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: Option<(Encoding, Form)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        let got = Accept::parse(&headers);
        assert_eq!((!got.refused).then_some((got.encoding, got.form)), expected);
    }

    #[test]
    fn the_best_form_there_is_wins() {
        check("application/json", Some((Encoding::Json, Form::Whole)));
        check("application/vnd.kubernetes.protobuf, application/json", Some((Encoding::Json, Form::Whole)));
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Encoding::Json, Form::Table)),
        );
        check(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
            Some((Encoding::Json, Form::AggregatedDiscovery)),
        );
        check("application/json;q=0.5, application/yaml", Some((Encoding::Yaml, Form::Whole)));
        check("application/vnd.kubernetes.protobuf", None);
        check("text/html", None);
        check("application/json;as=Table;v=v9;g=meta.k8s.io", None);
    }
}
