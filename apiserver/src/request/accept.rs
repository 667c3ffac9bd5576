//! In which form the client wants its answer: the `Accept` header.
//!
//! In: the header, and whether what is asked for can be given as protobuf. Out: an [`Accept`]. Objects are given as JSON, YAML or, those of
//! built-in kinds, protobuf; whole, as a Table (never in protobuf), or as their metadata only. Of what a client names, the best that there is
//! wins: by quality, then by how exactly it is named, then by its place. Source: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use orlop_api::protobuf;
use orlop_api::status::{Details, Reason, Status};

use super::Verb;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    /// The answer's `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => protobuf::MEDIA_TYPE,
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
    /// For people: `pretty=1` beside the media type.
    pub pretty: bool,
    /// The answer may be compressed.
    pub gzip: bool,
    /// Nothing that there is will do. Paths that are no resources answer all the same.
    pub refused: bool,
    /// What is asked for cannot be given as protobuf. Looked at only where the header is not the common one.
    pub no_protobuf: bool,
}

impl Accept {
    /// Reads the header; without one, JSON. `speaks` says whether the kind has protobuf messages.
    pub fn parse(headers: &HeaderMap, speaks: impl FnOnce() -> bool) -> Self {
        let gzip = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|it| it.to_str().ok());
        let gzip = gzip.flat_map(|it| it.split(',')).any(|it| it.trim() == "gzip");
        let plain = Accept { gzip, ..Accept::default() };
        let mut ranges: Vec<(Rank, &str)> = Vec::new();
        for value in headers.get_all(ACCEPT) {
            let Ok(text) = value.to_str() else { continue };
            // The common case, without a copy.
            if matches!(text, "application/json" | "*/*") {
                return plain;
            }
            ranges.extend(text.split(',').map(|it| (rank(it), it.trim())).filter(|(_, it)| !it.is_empty()));
        }
        if ranges.is_empty() {
            return plain;
        }
        // Even a quality of zero is better than nothing: so it is in Kubernetes, other than in RFC 9110.
        ranges.sort_by(|(a, _), (b, _)| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        let protobuf = speaks();
        let found = ranges.iter().filter_map(|(_, it)| range(it, protobuf)).next();
        let found = found.unwrap_or(Accept { refused: true, ..plain });
        Accept { gzip, no_protobuf: !protobuf, ..found }
    }

    /// The refusal, where nothing will do. A watch cannot be written as YAML.
    ///
    /// # Errors
    /// `NotAcceptable`.
    pub fn check(&self, verb: Verb) -> Result<(), Status> {
        let streams = verb == Verb::Watch;
        let impossible = self.refused || (streams && self.encoding == Encoding::Yaml);
        if !impossible {
            return Ok(());
        }
        Err(self.refusal(streams))
    }

    /// What tells a client that nothing of what it accepts can be had.
    pub fn refusal(&self, streams: bool) -> Status {
        let there_is: &[&str] = match (streams, !self.no_protobuf) {
            (false, true) => &["application/json", "application/yaml", protobuf::MEDIA_TYPE],
            (false, false) => &["application/json", "application/yaml"],
            (true, true) => &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"],
            (true, false) => &["application/json;stream=watch"],
        };
        let text = format!("only the following media types are accepted: {}", there_is.join(", "));
        Status::new(Reason::NotAcceptable, text).with_details(Details::default())
    }
}

/// How much a range is wished for: its quality, then how exactly it is named.
type Rank = (f32, u8);

fn rank(range: &str) -> Rank {
    let mut parts = range.split(';');
    let exactness = match parts.next().unwrap_or_default().trim() {
        "*/*" => 0,
        it if it.ends_with("/*") => 1,
        _ => 2,
    };
    let quality = parts.find_map(|it| it.trim().strip_prefix("q="));
    // One that is no number is none.
    (quality.map_or(1.0, |it| it.parse().unwrap_or(0.0)), exactness)
}

/// What one media range asks for; none if that cannot be had.
fn range(text: &str, protobuf: bool) -> Option<Accept> {
    let mut parts = text.split(';').map(str::trim);
    let mut out = Accept::default();
    match parts.next()? {
        "application/json" | "*/*" | "application/*" => {}
        "application/yaml" => out.encoding = Encoding::Yaml,
        protobuf::MEDIA_TYPE => out.encoding = Encoding::Protobuf,
        _ => return None,
    }
    let (mut form, mut group, mut version) = ("", "", "");
    for part in parts {
        match part.split_once('=') {
            Some(("as", it)) => form = it,
            Some(("g", it)) => group = it,
            Some(("v", it)) => version = it,
            Some(("pretty", it)) => out.pretty = it == "1",
            Some(("stream", it)) if !matches!(it, "" | "watch") => return None,
            // There are no streams of YAML.
            Some(("stream", "watch")) if out.encoding == Encoding::Yaml => return None,
            _ => {}
        }
    }
    out.form = match (form, group, version) {
        // Metadata has a message, whatever it is the metadata of.
        (it, ..) if out.encoding == Encoding::Protobuf && !protobuf && !it.starts_with("Partial") => return None,
        ("", ..) => Form::Whole,
        // What cells hold has no type that protobuf could name.
        ("Table", ..) if out.encoding == Encoding::Protobuf => return None,
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
    fn check_of(header: &str, protobuf: bool, expected: Option<(Encoding, Form)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        let got = Accept::parse(&headers, || protobuf);
        assert_eq!((!got.refused).then_some((got.encoding, got.form)), expected, "{header}");
    }

    #[track_caller]
    fn check(header: &str, expected: Option<(Encoding, Form)>) {
        check_of(header, true, expected);
    }

    #[test]
    fn the_best_form_there_is_wins() {
        check("application/json", Some((Encoding::Json, Form::Whole)));
        check("application/vnd.kubernetes.protobuf, application/json", Some((Encoding::Protobuf, Form::Whole)));
        check("application/json, application/vnd.kubernetes.protobuf", Some((Encoding::Json, Form::Whole)));
        check("application/vnd.kubernetes.protobuf;stream=watch", Some((Encoding::Protobuf, Form::Whole)));
        check("application/json;stream=words", None);
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Encoding::Json, Form::Table)),
        );
        check(
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io",
            Some((Encoding::Json, Form::Table)),
        );
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Some((Encoding::Protobuf, Form::Metadata)),
        );
        check(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
            Some((Encoding::Json, Form::AggregatedDiscovery)),
        );
        check("application/json;q=0.5, application/yaml", Some((Encoding::Yaml, Form::Whole)));
        check("*/*, application/yaml", Some((Encoding::Yaml, Form::Whole)));
        check("application/yaml;q=0, */*;q=0.1", Some((Encoding::Json, Form::Whole)));
        check("application/yaml;q=0", Some((Encoding::Yaml, Form::Whole)));
        check("application/yaml;q=much, application/json;q=0.1", Some((Encoding::Json, Form::Whole)));
        check(
            "text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8",
            Some((Encoding::Json, Form::Whole)),
        );
        check("application/*;q=0.2, text/html", Some((Encoding::Json, Form::Whole)));
        check("application/yaml;stream=watch, application/json;stream=watch", Some((Encoding::Json, Form::Whole)));
        check("application/json;as=Table;g=meta.k8s.io;v=v1;charset=utf-8", Some((Encoding::Json, Form::Table)));
        check("*/*;as=Table;g=meta.k8s.io;v=v1", Some((Encoding::Json, Form::Table)));
        check("application/json;as=Table;g=other;v=v1", None);
        check("application/json;as=Table;g=other;v=v1, application/json;q=0.1", Some((Encoding::Json, Form::Whole)));
        check("text/html", None);
        check("application/json;as=Table;v=v9;g=meta.k8s.io", None);
        check_of("application/vnd.kubernetes.protobuf", false, None);
        check_of(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            false,
            Some((Encoding::Protobuf, Form::Metadata)),
        );
        check_of("application/vnd.kubernetes.protobuf, application/json", false, Some((Encoding::Json, Form::Whole)));
    }

    #[test]
    fn refusals_name_what_there_is() {
        let refused = Accept { refused: true, ..Accept::default() };
        let text = refused.check(Verb::List).unwrap_err().message;
        assert_eq!(
            text,
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
        let yaml = Accept { encoding: Encoding::Yaml, no_protobuf: true, ..Accept::default() };
        assert!(yaml.check(Verb::List).is_ok());
        assert!(yaml.check(Verb::Watch).unwrap_err().message.ends_with(": application/json;stream=watch"));
    }
}
