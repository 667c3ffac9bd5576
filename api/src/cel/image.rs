//! References to container images: `image('registry.k8s.io/pause:3.10').tag()`.
//!
//! Source: `k8s.io/apiserver/pkg/cel/library/image.go` and the rules of go-containerregistry that it relies on.

use std::rc::Rc;

use super::eval::Error;
use super::functions::Op;
use super::library::{one, text_of};
use super::value::Val;

/// The registry of references that name none.
const DEFAULT_REGISTRY: &str = "index.docker.io";
const DEFAULT_TAG: &str = "latest";
/// The longest tag and repository.
const TAG_LIMIT_BYTES: usize = 127;
const REPOSITORY_LIMIT_BYTES: usize = 255;
/// The hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// A reference. It has a tag or a digest; with both, the digest counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub registry: String,
    pub repository: String,
    pub tag: String,
    pub digest: String,
}

impl Image {
    /// Reads a reference.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, digest) = text.split_once('@').map_or((text, None), |(base, digest)| (base, Some(digest)));
        let (name, tag) = match base.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (base, None),
        };
        let is_tag = |it: &str| {
            !it.is_empty()
                && it.len() <= TAG_LIMIT_BYTES
                && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-.".contains(&it))
        };
        let is_digest = |it: &str| {
            it.strip_prefix("sha256:")
                .is_some_and(|it| it.len() == DIGEST_DIGITS && it.bytes().all(|it| it.is_ascii_hexdigit()))
        };
        if !tag.is_none_or(is_tag) || !digest.is_none_or(is_digest) {
            return None;
        }
        let (registry, repository) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest.to_owned()),
            _ => (DEFAULT_REGISTRY, name.to_owned()),
        };
        let is_part = |it: &str| {
            !it.is_empty()
                && it.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"_-.".contains(&it))
        };
        if !(2..=REPOSITORY_LIMIT_BYTES).contains(&repository.len()) || !repository.split('/').all(is_part) {
            return None;
        }
        let is_official = registry == DEFAULT_REGISTRY && !repository.contains('/');
        let repository = if is_official { format!("library/{repository}") } else { repository };
        let tag = if digest.is_some() { "" } else { tag.unwrap_or(DEFAULT_TAG) };
        Some(Image {
            registry: registry.to_owned(),
            repository,
            tag: tag.to_owned(),
            digest: digest.unwrap_or_default().to_owned(),
        })
    }
}

/// Calls a function of images.
///
/// # Errors
/// Where it does not take such values, or fails on them.
pub fn apply<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    if let Op::Image | Op::IsImage = op {
        let text = text_of(args, 0)?;
        return match (op, Image::parse(text)) {
            (Op::IsImage, found) => Ok(Val::Bool(found.is_some())),
            (_, Some(found)) => Ok(Val::Image(Rc::new(found))),
            (_, None) => Err(Error::new(format!("could not parse reference: {text}"))),
        };
    }
    let Val::Image(image) = one(args)? else { return Err(Error::no_overload()) };
    let text = match op {
        Op::ContainsDigest => return Ok(Val::Bool(!image.digest.is_empty())),
        Op::Registry => &image.registry,
        Op::Repository => &image.repository,
        Op::Tag => &image.tag,
        Op::Digest => &image.digest,
        _ if image.digest.is_empty() => &image.tag,
        _ => &image.digest,
    };
    Ok(Val::text(text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let check = |text: &str, expected: Option<(&str, &str, &str, &str)>| {
            let found = Image::parse(text);
            let found = found.as_ref().map(|it| (&*it.registry, &*it.repository, &*it.tag, &*it.digest));
            assert_eq!(found, expected, "{text}");
        };
        check("nginx", Some((DEFAULT_REGISTRY, "library/nginx", "latest", "")));
        check("team/web:1.0", Some((DEFAULT_REGISTRY, "team/web", "1.0", "")));
        check("registry.k8s.io/a/b:v1", Some(("registry.k8s.io", "a/b", "v1", "")));
        check("localhost:5000/web", Some(("localhost:5000", "web", "latest", "")));
        check(&format!("registry.k8s.io/web:v1@{digest}"), Some(("registry.k8s.io", "web", "", &digest)));
        check("registry.k8s.io//web", None);
        check("Web", None);
        check("web@sha256:12", None);
        check("web:a b", None);
        check("", None);
    }
}
