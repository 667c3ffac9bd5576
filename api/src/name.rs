//! Which names objects, labels, ports and the like may have, worded as `k8s.io/apimachinery/pkg/util/validation` words its complaints.
//!
//! In: a text. Out: every complaint about it, none if it is well formed. Nothing here knows in which field the text stands;
//! callers put the complaints into [`crate::field::Errors`].

/// What is wrong with a text, in Kubernetes' words. Empty: nothing.
pub type Complaints = Vec<String>;

/// The longest DNS label (RFC 1123, RFC 1035), in bytes.
pub const LABEL_LIMIT_BYTES: usize = 63;
/// The longest DNS subdomain (RFC 1123), in bytes.
pub const SUBDOMAIN_LIMIT_BYTES: usize = 253;
/// The longest name part of a qualified name, in bytes.
pub const QUALIFIED_NAME_LIMIT_BYTES: usize = 63;
/// The longest label value, in bytes.
pub const LABEL_VALUE_LIMIT_BYTES: usize = 63;
/// The longest key of a ConfigMap or Secret, in bytes.
pub const CONFIG_KEY_LIMIT_BYTES: usize = 253;
/// The longest name of a port (RFC 6335), in bytes.
pub const PORT_NAME_LIMIT_BYTES: usize = 15;

const LABEL_FORM: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035_FORM: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORM: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const UNDERSCORE_SUBDOMAIN_FORM: &str = "[a-z0-9_]([-_a-z0-9]*[a-z0-9])?(\\.[a-z0-9_]([-_a-z0-9]*[a-z0-9])?)*";
const WILDCARD_SUBDOMAIN_FORM: &str = "\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_FORM: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE_FORM: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

/// The rule for the names of a kind's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 bytes: most kinds.
    Subdomain,
    /// RFC 1123 label, at most 63 bytes: namespaces.
    Label,
    /// RFC 1035 label, at most 63 bytes, a letter first: services.
    Label1035,
    /// Anything that can be one segment of a path: RBAC's kinds.
    PathSegment,
    /// An IP address in its one form.
    Address,
}

impl NameRule {
    /// What is wrong with `name` as the name of an object. With `prefix`, it is a `generateName`, to which characters will be added.
    pub fn check(self, name: &str, prefix: bool) -> Complaints {
        // A trailing dash is fine where a suffix follows.
        let shortened;
        let name = match name.strip_suffix('-') {
            Some(base) if prefix && !base.is_empty() && self != NameRule::PathSegment => {
                shortened = format!("{base}a");
                &shortened
            }
            _ => name,
        };
        match self {
            NameRule::Subdomain => dns1123_subdomain(name),
            NameRule::Label => dns1123_label(name),
            NameRule::Label1035 => dns1035_label(name),
            NameRule::PathSegment => path_segment(name, prefix),
            NameRule::Address => crate::kinds::strict_ip(name),
        }
    }
}

/// `must be no more than 63 bytes`.
pub fn too_long(limit_bytes: usize) -> String {
    format!("must be no more than {limit_bytes} bytes")
}

/// A form that a text misses, with examples, as Kubernetes words it.
fn form_missed(message: &str, form: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{form}')");
    }
    let mut out = format!("{message} (e.g. ");
    for (at, example) in examples.iter().enumerate() {
        if at > 0 {
            out.push_str(" or ");
        }
        out.push_str(&format!("'{example}', "));
    }
    out.push_str(&format!("regex used for validation is '{form}')"));
    out
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn has_label_form(text: &[u8]) -> bool {
    let (Some(first), Some(last)) = (text.first(), text.last()) else { return false };
    is_lower_alphanumeric(*first)
        && is_lower_alphanumeric(*last)
        && text.iter().all(|it| is_lower_alphanumeric(*it) || *it == b'-')
}

fn has_subdomain_form(text: &str) -> bool {
    text.split('.').all(|it| has_label_form(it.as_bytes()))
}

/// The form of the name part of a qualified name, and of label values that are not empty.
fn has_qualified_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.'))
}

/// RFC 1123 label: `web-1`.
pub fn dns1123_label(text: &str) -> Complaints {
    let mut found = Vec::new();
    if text.len() > LABEL_LIMIT_BYTES {
        found.push(too_long(LABEL_LIMIT_BYTES));
    }
    if !has_label_form(text.as_bytes()) {
        if has_subdomain_form(text) {
            found.push("must not contain dots".to_owned());
        } else {
            found.push(form_missed(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FORM,
                &["my-name", "123-abc"],
            ));
        }
    }
    found
}

/// RFC 1123 subdomain: `web.example.com`.
pub fn dns1123_subdomain(text: &str) -> Complaints {
    let mut found = Vec::new();
    if text.len() > SUBDOMAIN_LIMIT_BYTES {
        found.push(too_long(SUBDOMAIN_LIMIT_BYTES));
    }
    if !has_subdomain_form(text) {
        found.push(form_missed(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_FORM,
            &["example.com"],
        ));
    }
    found
}

/// As [`dns1123_subdomain`], with underscores, which the search paths of resolvers may have.
pub fn dns1123_subdomain_with_underscore(text: &str) -> Complaints {
    let mut found = Vec::new();
    if text.len() > SUBDOMAIN_LIMIT_BYTES {
        found.push(too_long(SUBDOMAIN_LIMIT_BYTES));
    }
    let is_label = |it: &str| {
        let (Some(first), Some(last)) = (it.bytes().next(), it.bytes().last()) else { return false };
        let inner = |it: u8| is_lower_alphanumeric(it) || it == b'_';
        inner(first) && is_lower_alphanumeric(last) && it.bytes().all(|it| inner(it) || it == b'-')
    };
    if !text.split('.').all(is_label) {
        found.push(form_missed(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            UNDERSCORE_SUBDOMAIN_FORM,
            &["example.com"],
        ));
    }
    found
}

/// RFC 1123 subdomain below a wildcard: `*.example.com`.
pub fn wildcard_dns1123_subdomain(text: &str) -> Complaints {
    let mut found = Vec::new();
    if text.len() > SUBDOMAIN_LIMIT_BYTES {
        found.push(too_long(SUBDOMAIN_LIMIT_BYTES));
    }
    if !text.strip_prefix("*.").is_some_and(has_subdomain_form) {
        found.push(form_missed(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            WILDCARD_SUBDOMAIN_FORM,
            &["*.example.com"],
        ));
    }
    found
}

/// RFC 1035 label: as RFC 1123, but a letter first.
pub fn dns1035_label(text: &str) -> Complaints {
    let mut found = Vec::new();
    if text.len() > LABEL_LIMIT_BYTES {
        found.push(too_long(LABEL_LIMIT_BYTES));
    }
    if !has_label_form(text.as_bytes()) || !text.starts_with(|it: char| it.is_ascii_lowercase()) {
        found.push(form_missed(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            LABEL_1035_FORM,
            &["my-name", "abc-123"],
        ));
    }
    found
}

/// A name with an optional DNS prefix, as label keys, taints and finalizers have: `example.com/my-name`.
pub fn qualified_name(text: &str) -> Complaints {
    let mut found = Vec::new();
    let form = || {
        form_missed(
            "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            QUALIFIED_FORM,
            &["MyName", "my.name", "123-abc"],
        )
    };
    let name = match text.split_once('/') {
        None => text,
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                form()
            )];
        }
        Some(("", name)) => {
            found.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            found.extend(dns1123_subdomain(prefix).into_iter().map(|it| format!("prefix part {it}")));
            name
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else if name.len() > QUALIFIED_NAME_LIMIT_BYTES {
        found.push(format!("name part {}", too_long(QUALIFIED_NAME_LIMIT_BYTES)));
    }
    if !has_qualified_form(name) {
        found.push(format!("name part {}", form()));
    }
    found
}

/// The value of a label; it may be empty.
pub fn label_value(text: &str) -> Complaints {
    let mut found = Vec::new();
    if text.len() > LABEL_VALUE_LIMIT_BYTES {
        found.push(too_long(LABEL_VALUE_LIMIT_BYTES));
    }
    if !text.is_empty() && !has_qualified_form(text) {
        found.push(form_missed(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            LABEL_VALUE_FORM,
            &["MyValue", "my_value", "12345"],
        ));
    }
    found
}

/// An identifier as C has them: `my_name`.
pub fn c_identifier(text: &str) -> Complaints {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|it| it.is_ascii_alphabetic() || it == b'_');
    if first && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'_') {
        return Vec::new();
    }
    vec![form_missed(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A name that can be one segment of a path. With `prefix`, only what no suffix could mend.
pub fn path_segment(text: &str, prefix: bool) -> Complaints {
    let mut found = Vec::new();
    if let ("." | "..", false) = (text, prefix) {
        return vec![format!("may not be '{text}'")];
    }
    for forbidden in ["/", "%"] {
        if text.contains(forbidden) {
            found.push(format!("may not contain '{forbidden}'"));
        }
    }
    found
}

/// The name of an environment variable: printable ASCII without `=` (KEP-4369).
pub fn environment_variable(text: &str) -> Complaints {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.bytes().all(|it| (b' '..=b'~').contains(&it) && it != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// A key of a ConfigMap or Secret: a file name.
pub fn config_key(text: &str) -> Complaints {
    let mut found = Vec::new();
    if text.len() > CONFIG_KEY_LIMIT_BYTES {
        found.push(too_long(CONFIG_KEY_LIMIT_BYTES));
    }
    if text.is_empty() || !text.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.')) {
        found.push(form_missed(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." => found.push("must not be '.'".to_owned()),
        ".." => found.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => found.push("must not start with '..'".to_owned()),
        _ => {}
    }
    found
}

/// The name of a container's port: an IANA service name (RFC 6335).
pub fn port_name(text: &str) -> Complaints {
    let mut found = Vec::new();
    if text.len() > PORT_NAME_LIMIT_BYTES {
        found.push(too_long(PORT_NAME_LIMIT_BYTES));
    }
    if text.is_empty() || !text.bytes().all(|it| is_lower_alphanumeric(it) || it == b'-') {
        found.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|it| it.is_ascii_lowercase()) {
        found.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        found.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        found.push("must not begin or end with a hyphen".to_owned());
    }
    found
}

/// The number of a port.
pub fn port_number(number: i64) -> Complaints {
    if (1..=65535).contains(&number) {
        return Vec::new();
    }
    vec!["must be between 1 and 65535, inclusive".to_owned()]
}

/// A share such as `25%`.
pub fn percent(text: &str) -> Complaints {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit()) {
        return Vec::new();
    }
    vec![form_missed(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Complaints, good: &[&str], bad: &[(&str, &str)]) {
        for text in good {
            assert_eq!(rule(text), Complaints::new(), "{text:?}");
        }
        for (text, part) in bad {
            let found = rule(text);
            assert!(found.iter().any(|it| it.contains(part)), "{text:?}: {found:?} does not say {part:?}");
        }
    }

    #[test]
    fn dns_names() {
        let long_label = "a".repeat(64);
        check(
            dns1123_label,
            &["a", "0", "a-b", "1-a"],
            &[
                ("", "RFC 1123 label"),
                ("a.b", "must not contain dots"),
                ("-a", "label"),
                (&long_label, "no more than 63 bytes"),
            ],
        );
        check(
            dns1123_subdomain,
            &["a", "a.b", "0.1"],
            &[("A", "subdomain"), ("a..b", "(e.g. 'example.com', regex"), ("a.", "subdomain")],
        );
        check(dns1035_label, &["a", "a-1"], &[("1a", "DNS-1035"), ("a-", "DNS-1035")]);
        check(wildcard_dns1123_subdomain, &["*.a.b"], &[("a.b", "wildcard"), ("*.", "wildcard")]);
    }

    #[test]
    fn qualified_names_and_label_values() {
        check(
            qualified_name,
            &["a", "A_b.c", "example.com/My-Name"],
            &[
                ("", "name part must be non-empty"),
                ("/a", "prefix part must be non-empty"),
                ("a/b/c", "a qualified name must consist of"),
                ("A.com/x", "prefix part a lowercase RFC 1123 subdomain"),
                ("-a", "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"),
            ],
        );
        check(label_value, &["", "a", "1.2_3-X"], &[("a b", "a valid label must be"), ("-", "MyValue")]);
    }

    #[test]
    fn other_names() {
        check(
            port_name,
            &["http", "a-1"],
            &[
                ("", "alpha-numeric"),
                ("80", "one letter"),
                ("a--b", "consecutive"),
                ("-a", "hyphen"),
                ("abcdefghijklmnop", "15 bytes"),
            ],
        );
        check(environment_variable, &["A", "1.b-c d"], &[("", "non-empty"), ("a=b", "other than '='"), ("ä", "ASCII")]);
        check(
            config_key,
            &["a.b", "_X"],
            &[("..a", "must not start with '..'"), ("a/b", "config key"), (".", "must not be '.'")],
        );
        check(percent, &["0%", "25%"], &[("%", "percent"), ("-1%", "percent")]);
        check(
            |it| path_segment(it, false),
            &["system:node", "a b"],
            &[("..", "may not be '..'"), ("a/b", "may not contain '/'"), ("a%", "'%'")],
        );
        check(|it| NameRule::Subdomain.check(it, true), &["web-", "a"], &[("-", "subdomain"), ("Web-", "subdomain")]);
    }
}
