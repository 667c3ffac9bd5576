//! Where a webhook may be: a URL, or a service with a path. Admission and the conversion of custom resources have the same rules.
//!
//! Source: `k8s.io/apiserver/pkg/util/webhook/validation.go`.

use crate::field::{Errors, Path};
use crate::name;

const URL_FORM: &str = "; desired format: https://host[/path]";

/// A service that answers a webhook's requests.
pub struct Service<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub path: Option<&'a str>,
    pub port: Option<i32>,
}

/// Notes what a webhook's URL may not have.
pub fn validate_url(url: &str, path: Path, errors: &mut Errors) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = if scheme.is_empty() { ("", rest) } else { rest.split_at(end) };
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if scheme != "https" {
        errors.invalid(path.clone(), scheme, format!("'https' is the only allowed URL scheme{URL_FORM}"));
    }
    if host.is_empty() {
        errors.invalid(path.clone(), host, format!("host must be specified{URL_FORM}"));
    }
    if let Some(user) = user {
        errors.invalid(path.clone(), user, "user information is not permitted in the URL");
    }
    let (before, fragment) = after.split_once('#').unwrap_or((after, ""));
    if !fragment.is_empty() {
        errors.invalid(path.clone(), fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = before.split_once('?').filter(|(_, it)| !it.is_empty()) {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

/// Notes every mistake in a webhook's service.
pub fn validate_service(service: &Service<'_>, path: &Path, errors: &mut Errors) {
    // Kubernetes hands over the two in the wrong order, so that each is missed where the other stands.
    for (field, value) in [("name", service.namespace), ("namespace", service.name)] {
        if value.is_empty() {
            errors.required(path.child(field), "");
        }
    }
    let port = i64::from(service.port.unwrap_or(0));
    let complaints = name::port_number(port);
    if !complaints.is_empty() {
        errors.invalid(path.child("port"), port, format!("port is not valid: {}", complaints.join(", ")));
    }
    let Some(given) = service.path.filter(|it| !it.is_empty() && *it != "/") else { return };
    let mut wrong = |why: String| errors.invalid(path.child("path"), given, why);
    if given == "//" {
        return wrong("segment[0] may not be empty".to_owned());
    }
    if !given.starts_with('/') {
        wrong("must start with a '/'".to_owned());
    }
    // The first letter is passed over whatever it is.
    let rest = given.char_indices().nth(1).map_or("", |(at, _)| &given[at..]);
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            wrong(format!("segment[{index}] may not be empty"));
            continue;
        }
        for complaint in name::dns1123_subdomain(step) {
            wrong(format!("segment[{index}]: {complaint}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(errors: &Errors) -> Vec<String> {
        errors.list().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn urls_are_bare() {
        let check = |url: &str, expected: &[&str]| {
            let mut errors = Errors::default();
            validate_url(url, Path::new("u"), &mut errors);
            assert_eq!(texts(&errors), expected, "{url}");
        };
        check("https://host:1/convert", &[]);
        check(
            "http://a:b@/x?y#z",
            &[
                "u: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "u: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
                "u: Invalid value: \"a:b\": user information is not permitted in the URL",
                "u: Invalid value: \"z\": fragments are not permitted in the URL",
                "u: Invalid value: \"y\": query parameters are not permitted in the URL",
            ],
        );
    }

    #[test]
    fn services_have_paths_of_names() {
        let check = |path: &str, expected: &[&str]| {
            let mut errors = Errors::default();
            let service = Service { name: "n", namespace: "d", path: Some(path), port: Some(443) };
            validate_service(&service, &Path::new("s"), &mut errors);
            let found: Vec<String> = texts(&errors).iter().map(|it| it.chars().take(60).collect()).collect();
            assert_eq!(found, expected, "{path}");
        };
        for good in ["", "/", "/a", "/a/b.c/"] {
            check(good, &[]);
        }
        check("//", &["s.path: Invalid value: \"//\": segment[0] may not be empty"]);
        check("/a//b", &["s.path: Invalid value: \"/a//b\": segment[1] may not be empty"]);
        check("xa", &["s.path: Invalid value: \"xa\": must start with a '/'"]);
        check("/A", &["s.path: Invalid value: \"/A\": segment[0]: a lowercase RFC 112"]);
        let mut errors = Errors::default();
        let service = Service { name: "", namespace: "d", path: None, port: Some(0) };
        validate_service(&service, &Path::new("s"), &mut errors);
        let port = "s.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive";
        assert_eq!(texts(&errors), ["s.namespace: Required value", port]);
    }
}
