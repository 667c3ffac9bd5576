//! Image references: `[registry/]path[:tag][@digest]`, parsed as the distribution project's grammar has it. Pure.

/// A reference, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Registry and path, as written.
    pub name: String,
    /// The registry's address; none for Docker's own.
    pub registry: Option<String>,
    /// The tag or digest to ask for; `latest` if neither was written. A digest wins over a tag.
    pub version: String,
}

/// Longest name, registry included.
const MAX_NAME: usize = 255;
/// Longest tag.
const MAX_TAG: usize = 128;
/// Fewest hexadecimal digits of a digest.
const MIN_DIGEST: usize = 32;

impl Reference {
    /// Parses a reference; the error is in Docker's words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const INVALID: &str = "invalid reference format";
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let path_start = rest.rfind('/').map_or(0, |it| it + 1);
        let (name, tag) = match rest[path_start..].find(':') {
            Some(colon) => (&rest[..path_start + colon], Some(&rest[path_start + colon + 1..])),
            None => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), path),
            _ => (None, name),
        };
        if path.chars().any(|it| it.is_ascii_uppercase()) {
            return Err("invalid reference format: repository name must be lowercase");
        }
        if name.len() > MAX_NAME {
            return Err("repository name must not be more than 255 characters");
        }
        let whole = path.split('/').all(is_component)
            && registry.is_none_or(is_registry)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        if !whole {
            return Err(INVALID);
        }
        Ok(Self {
            name: name.to_owned(),
            registry: registry.map(str::to_owned),
            version: digest.or(tag).unwrap_or("latest").to_owned(),
        })
    }

    /// The registry, `docker.io` where none is written, and the path within it, which there begins with `library/` if it has one part.
    pub fn registry_and_path(&self) -> (String, String) {
        let docker = "docker.io";
        let (registry, path) = match &self.registry {
            Some(registry) => (registry.as_str(), self.name.get(registry.len() + 1..).unwrap_or_default()),
            None => (docker, self.name.as_str()),
        };
        let registry = if registry == "index.docker.io" { docker } else { registry };
        let path = if registry == docker && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        (registry.to_owned(), path)
    }

    /// The name that is the same for all ways to write it: with registry, path and version.
    pub fn canonical(&self) -> String {
        let (registry, path) = self.registry_and_path();
        let separator = if self.is_digest() { '@' } else { ':' };
        format!("{registry}/{path}{separator}{}", self.version)
    }

    /// Whether the version is a digest and not a tag.
    pub fn is_digest(&self) -> bool {
        self.version.contains(':')
    }

    /// The reference with its version made plain.
    pub fn full(&self) -> String {
        let separator = if self.is_digest() { '@' } else { ':' };
        format!("{}{separator}{}", self.name, self.version)
    }
}

/// Lower-case letters and digits, with single `.`, one or two `_`, or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let alphanumeric = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().copied().is_some_and(alphanumeric) && bytes.last().copied().is_some_and(alphanumeric);
    ends && bytes
        .split(|it| alphanumeric(*it))
        .all(|it| matches!(it, b"" | b"." | b"_" | b"__") || it.iter().all(|it| *it == b'-'))
}

/// A host name or address with an optional port.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let label = |it: &str| {
        !it.is_empty()
            && !it.starts_with('-')
            && !it.ends_with('-')
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    let v6 = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).map(|it| it.parse::<std::net::Ipv6Addr>());
    let host = match v6 {
        Some(address) => address.is_ok(),
        None => host.split('.').all(label),
    };
    host && port.is_none_or(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
}

fn is_tag(text: &str) -> bool {
    let word = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|it| word(it) || matches!(it, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.bytes().next().is_some_and(|it| it.is_ascii_alphabetic())
            && algorithm.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'.' | b'_' | b'-'))
            && hex.len() >= MIN_DIGEST
            && hex.bytes().all(|it| it.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references_are_taken_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let check = |text: &str, registry: Option<&str>, full: &str| {
            let it = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((it.registry.as_deref(), it.full().as_str()), (registry, full), "{text}");
        };
        check("nginx", None, "nginx:latest");
        check("nginx:1.25", None, "nginx:1.25");
        check("library/nginx", None, "library/nginx:latest");
        check("localhost/web", Some("localhost"), "localhost/web:latest");
        check("127.0.0.1:5000/web/a__b:v1", Some("127.0.0.1:5000"), "127.0.0.1:5000/web/a__b:v1");
        check("[::1]:5000/web", Some("[::1]:5000"), "[::1]:5000/web:latest");
        check("Registry.example/web", Some("Registry.example"), "Registry.example/web:latest");
        check(&format!("web:1@{digest}"), None, &format!("web@{digest}"));
    }

    #[test]
    fn all_ways_to_write_a_name_are_one() {
        let check =
            |text: &str, expected: &str| assert_eq!(Reference::parse(text).unwrap().canonical(), expected, "{text}");
        check("nginx", "docker.io/library/nginx:latest");
        check("library/nginx:1", "docker.io/library/nginx:1");
        check("docker.io/nginx:1", "docker.io/library/nginx:1");
        check("index.docker.io/team/web", "docker.io/team/web:latest");
        check("127.0.0.1:5000/web:1", "127.0.0.1:5000/web:1");
        let digest = format!("sha256:{}", "a".repeat(64));
        check(&format!("localhost/web:1@{digest}"), &format!("localhost/web@{digest}"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = "a".repeat(256);
        let long_tag = format!("a:{}", "b".repeat(129));
        let wrong = [
            "",
            ":",
            "a:",
            "/a",
            "a/",
            "a//b",
            "-a",
            "a..b",
            "a___b",
            "a b",
            "a@",
            "a@sha256:12",
            "a:b:c",
            "é",
            "a:é",
            "http://x/y",
            "a.b:/c",
            "a.b:port/c",
            &long,
            &long_tag,
            "Nginx",
            "a/B",
        ];
        for text in wrong {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Reference::parse("Nginx"), Err("invalid reference format: repository name must be lowercase"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_stable(text in "\\PC{0,40}") {
            if let Ok(it) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&it.full()).map(|it| it.full()), Ok(it.full()));
            }
        }
    }
}
