//! Addresses in answers that would lead past the proxy: of redirects, and of links in pages of HTML.
//!
//! In: headers and pages of a target. Out: the same, with absolute paths on the target's own host put below the proxy's path. Relative links lead
//! there by themselves, and other hosts are other hosts. A page is not parsed but looked through for tags, as Go's tokenizer does.
//! Source: `k8s.io/apimachinery/pkg/util/proxy/transport.go`.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};

/// The attributes that hold addresses, by tag.
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// What stands around the target.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The path of the proxy, `.../proxy`.
    pub prefix: &'a str,
    /// The target's address.
    pub target: &'a str,
    /// The host that the client asked.
    pub host: &'a str,
}

impl Place<'_> {
    /// The address, leading back through the proxy; none if it stays as it is.
    fn rewritten(&self, address: &str) -> Option<String> {
        let behind = |it: &str| it.find("//").map(|at| at + 2);
        let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
        let (host, path) = match (scheme, address.starts_with("//")) {
            ("http" | "https", _) | (_, true) => {
                let rest = &address[behind(address)?..];
                rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
            }
            _ => ("", address),
        };
        let same = host.is_empty() || host == self.target || host == self.host;
        if !same || !path.starts_with('/') {
            return None;
        }
        if path.starts_with(self.prefix) {
            return (!host.is_empty()).then(|| path.to_owned());
        }
        Some(format!("{}{path}", self.prefix))
    }
}

/// Lets a redirect lead back.
pub fn redirect(headers: &mut HeaderMap, place: &Place<'_>) {
    let to = headers.get(LOCATION).and_then(|it| it.to_str().ok()).and_then(|it| place.rewritten(it));
    if let Some(Ok(value)) = to.map(|it| HeaderValue::from_str(&it)) {
        headers.insert(LOCATION, value);
    }
}

/// Whether an answer is a page whose links are looked at.
pub fn is_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok()).unwrap_or_default();
    let media = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    media == "text/html" && matches!(text(CONTENT_ENCODING), "" | "gzip") && !headers.contains_key(LOCATION)
}

/// A page with its links rewritten; what is compressed is so again, and what would become larger than `limit` stays as it is.
pub fn page(body: &Bytes, headers: &HeaderMap, limit: usize, place: &Place<'_>) -> Bytes {
    if !headers.contains_key(CONTENT_ENCODING) {
        return rewrite(body, place).into();
    }
    let mut text = Vec::new();
    let unpacked = GzDecoder::new(&body[..]).take(limit as u64 + 1).read_to_end(&mut text);
    if unpacked.is_err() || text.len() > limit {
        return body.clone();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(&rewrite(&text, place)).and_then(|()| encoder.finish());
    packed.map_or_else(|_| body.clone(), Bytes::from)
}

fn rewrite(text: &[u8], place: &Place<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 256);
    let mut rest = text;
    while let Some(at) = rest.iter().position(|it| *it == b'<') {
        let (before, tag) = rest.split_at(at);
        out.extend_from_slice(before);
        if tag.starts_with(b"<!--") {
            let end = tag.windows(3).position(|it| it == b"-->").map_or(tag.len(), |it| it + 3);
            out.extend_from_slice(&tag[..end]);
            rest = &tag[end..];
            continue;
        }
        let end = end_of(tag);
        self::tag(&mut out, &tag[..end], place);
        rest = &tag[end..];
    }
    out.extend_from_slice(rest);
    out
}

/// How long a tag is: up to the first `>` that is not in quotes.
fn end_of(tag: &[u8]) -> usize {
    let mut quote = None;
    for (at, &byte) in tag.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at + 1,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    tag.len()
}

/// Appends a tag, with the addresses among its attributes rewritten.
fn tag(out: &mut Vec<u8>, tag: &[u8], place: &Place<'_>) {
    let name_end = tag[1..].iter().position(|it| !it.is_ascii_alphanumeric()).map_or(tag.len(), |it| it + 1);
    let name = String::from_utf8_lossy(&tag[1..name_end]).to_ascii_lowercase();
    let Some((_, wanted)) = ATTRIBUTES.iter().find(|(it, _)| *it == name) else {
        out.extend_from_slice(tag);
        return;
    };
    out.extend_from_slice(&tag[..name_end]);
    let mut at = name_end;
    while at < tag.len() {
        let is_name = |it: &u8| !(it.is_ascii_whitespace() || matches!(it, b'=' | b'>' | b'/' | b'"' | b'\''));
        if !is_name(&tag[at]) {
            out.push(tag[at]);
            at += 1;
            continue;
        }
        let start = at;
        at += tag[at..].iter().position(|it| !is_name(it)).unwrap_or(tag.len() - at);
        let attribute = String::from_utf8_lossy(&tag[start..at]).to_ascii_lowercase();
        let skip = |from: usize| from + tag[from..].iter().take_while(|it| it.is_ascii_whitespace()).count();
        let equals = skip(at);
        if tag.get(equals) != Some(&b'=') {
            out.extend_from_slice(&tag[start..at]);
            continue;
        }
        let open = skip(equals + 1);
        let quote = tag.get(open).filter(|it| matches!(it, b'"' | b'\''));
        let value = open + usize::from(quote.is_some());
        let ends = |it: &u8| quote.map_or_else(|| it.is_ascii_whitespace() || *it == b'>', |open| it == open);
        let end = value + tag[value.min(tag.len())..].iter().position(ends).unwrap_or(tag.len().saturating_sub(value));
        out.extend_from_slice(&tag[start..value.min(tag.len())]);
        let given = &tag[value.min(tag.len())..end.min(tag.len())];
        let rewritten = std::str::from_utf8(given).ok().filter(|_| wanted.contains(&attribute.as_str()));
        match rewritten.and_then(|it| place.rewritten(it)) {
            Some(address) => out.extend_from_slice(address.as_bytes()),
            None => out.extend_from_slice(given),
        }
        at = end.min(tag.len());
        if quote.is_some() && at < tag.len() {
            out.push(tag[at]);
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> =
        Place { prefix: "/api/v1/namespaces/d/pods/web/proxy", target: "10.1.0.5:80", host: "api:6443" };

    #[track_caller]
    fn check(address: &str, expected: Option<&str>) {
        let expected = expected.map(|it| format!("{}{it}", PLACE.prefix));
        assert_eq!(PLACE.rewritten(address), expected, "{address}");
    }

    #[test]
    fn absolute_paths_on_the_targets_host_lead_back() {
        check("/a/b?c=d#e", Some("/a/b?c=d#e"));
        check("http://10.1.0.5:80/a", Some("/a"));
        check("//10.1.0.5:80/a", Some("/a"));
        check("https://api:6443/a", Some("/a"));
        check("http://other/a", None);
        check("a/b", None);
        check("?x=1", None);
        check("mailto:a@b", None);
        check(&format!("{}/a", PLACE.prefix), None);
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static("/login"));
        redirect(&mut headers, &PLACE);
        assert_eq!(headers[LOCATION], "/api/v1/namespaces/d/pods/web/proxy/login");
    }

    #[test]
    fn links_of_pages_lead_back() {
        let text = "<!doctype html><html><!-- <a href=\"/no\"> --><A class=x HREF='/yes' title=\"a > b\">/no</A><img src=/i.png><img alt=\"/no\" src = \"/j\"/><a href=\"http://other/no\" download><script>if (1 < 2) {}</script>";
        let p = PLACE.prefix;
        let expected = format!(
            "<!doctype html><html><!-- <a href=\"/no\"> --><A class=x HREF='{p}/yes' title=\"a > b\">/no</A><img src={p}/i.png><img alt=\"/no\" src = \"{p}/j\"/><a href=\"http://other/no\" download><script>if (1 < 2) {{}}</script>"
        );
        assert_eq!(String::from_utf8(rewrite(text.as_bytes(), &PLACE)).unwrap(), expected);
        // Whatever breaks off does not bring it down.
        for end in 0..text.len() {
            rewrite(&text.as_bytes()[..end], &PLACE);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(is_page(&headers));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        let packed = page(&encoder.finish().unwrap().into(), &headers, 1 << 20, &PLACE);
        let mut back = String::new();
        GzDecoder::new(&packed[..]).read_to_string(&mut back).unwrap();
        assert_eq!(back, expected);
    }
}
