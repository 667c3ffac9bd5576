//! The checks that validators of many kinds make: one of a few words, within a range, a good name.

use crate::field::{Errors, Path};
use crate::name::{self, Complaints};

/// Sets a text where there is none, or an empty one.
pub fn fill(field: &mut Option<String>, text: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(text.to_owned());
    }
}

/// `value` must be one of `supported`; empty is `Required value`.
pub fn one_of(value: Option<&str>, supported: &[&str], path: impl FnOnce() -> Path, errors: &mut Errors) {
    match value.unwrap_or_default() {
        "" => errors.required(path(), ""),
        value if supported.contains(&value) => {}
        value => errors.not_supported(path(), value, supported),
    }
}

/// As [`one_of`], with an explanation for what is empty.
pub fn one_of_explained(
    value: &str,
    supported: &[&str],
    why_required: &str,
    path: impl FnOnce() -> Path,
    errors: &mut Errors,
) {
    match value {
        "" => errors.required(path(), why_required),
        value => none_or_one_of(Some(value), supported, path, errors),
    }
}

/// If set, `value` must be one of `supported`.
pub fn none_or_one_of(value: Option<&str>, supported: &[&str], path: impl FnOnce() -> Path, errors: &mut Errors) {
    if let Some(value) = value.filter(|it| !supported.contains(it)) {
        errors.not_supported(path(), value, supported);
    }
}

/// `value` must not be negative.
pub fn not_negative(value: Option<i64>, path: impl FnOnce() -> Path, errors: &mut Errors) {
    if let Some(value) = value.filter(|it| *it < 0) {
        errors.invalid(path(), value, "must be greater than or equal to 0");
    }
}

/// `value` must be there and pass `rule`.
pub fn named(value: &str, rule: fn(&str) -> Complaints, path: impl FnOnce() -> Path, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(path(), "");
    } else {
        none_or_named(Some(value), rule, path, errors);
    }
}

/// If it is there and not empty, `value` must pass `rule`.
pub fn none_or_named(
    value: Option<&str>,
    rule: fn(&str) -> Complaints,
    path: impl FnOnce() -> Path,
    errors: &mut Errors,
) {
    let Some(value) = value.filter(|it| !it.is_empty()) else { return };
    let complaints = rule(value);
    if !complaints.is_empty() {
        let path = path();
        for complaint in complaints {
            errors.invalid(path.clone(), value, complaint);
        }
    }
}

/// `text` must be a domain, a slash and a path: `acme.io/foo`.
pub fn domain_prefixed_path(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    const FORM: &str = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
    if text.is_empty() {
        return errors.required(path(), "");
    }
    let (host, rest) = text.split_once('/').unwrap_or_default();
    if host.is_empty() || rest.is_empty() {
        return errors.invalid(path(), text, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    }
    for complaint in name::dns1123_subdomain(host) {
        errors.invalid(path(), host, complaint);
    }
    if !rest.bytes().all(|it| it.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&it)) {
        errors.invalid(path(), rest, format!("Invalid path (regex used for validation is '{FORM}')"));
    }
}

/// `number` must be one that a port can have.
pub fn port_number(number: i32, path: impl FnOnce() -> Path, errors: &mut Errors) {
    if !(1..=65_535).contains(&number) {
        let path = path();
        for complaint in name::port_number(number.into()) {
            errors.invalid(path.clone(), number, complaint);
        }
    }
}

/// A field whose value may not change.
pub fn immutable<T: PartialEq + serde::Serialize>(new: &T, old: &T, path: impl Into<Path>, errors: &mut Errors) {
    if new != old {
        errors.invalid(path, new, "field is immutable");
    }
}

/// `text` must be an IP address.
pub fn ip(text: &str, path: impl FnOnce() -> Path, errors: &mut Errors) {
    if text.parse::<std::net::IpAddr>().is_err() {
        errors.invalid(path(), text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

/// `text` must be an IP address that a packet can be sent to on a network.
pub fn not_special(text: &str, path: impl FnOnce() -> Path, errors: &mut Errors) {
    // An address of the older family is judged alike in the newer form.
    let Ok(ip) = text.parse::<std::net::IpAddr>().map(|it| it.to_canonical()) else {
        return errors.invalid(path(), text, "must be a valid IP address");
    };
    let link_local = match ip {
        std::net::IpAddr::V4(ip) => ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let link_local_multicast = match ip {
        std::net::IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        std::net::IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    };
    if ip.is_unspecified() {
        errors.invalid(path(), text, format!("may not be unspecified ({text})"));
    } else if ip.is_loopback() {
        errors.invalid(path(), text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    } else if link_local {
        errors.invalid(path(), text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    } else if link_local_multicast {
        errors.invalid(path(), text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// `text` must be a range of addresses.
pub fn cidr(text: &str, path: impl FnOnce() -> Path, errors: &mut Errors) {
    if text.parse::<ipnet::IpNet>().is_err() {
        errors.invalid(path(), text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}

/// Whether there is at most one address of each family.
pub fn one_of_each_family(addresses: &[std::net::IpAddr]) -> bool {
    let newer = addresses.iter().filter(|it| it.is_ipv6()).count();
    newer <= 1 && addresses.len() - newer <= 1
}

/// What has been marked immutable stays so, with its data.
pub fn sealed(was: Option<bool>, is: Option<bool>, changed: &[(&str, bool)], errors: &mut Errors) {
    const WHY: &str = "field is immutable when `immutable` is set";
    if was != Some(true) {
        return;
    }
    if is != Some(true) {
        errors.forbidden("immutable", WHY);
    }
    for (field, _) in changed.iter().filter(|(_, changed)| *changed) {
        errors.forbidden(*field, WHY);
    }
}

/// 1 MiB: how much a ConfigMap or a Secret may hold.
pub const DATA_LIMIT_BYTES: usize = 1024 * 1024;

/// The keys of a ConfigMap's or Secret's data, each of which becomes a file's name.
pub fn data_keys<'a>(keys: impl Iterator<Item = &'a String>, field: &str, errors: &mut Errors) {
    for key in keys {
        for complaint in name::config_key(key) {
            errors.invalid(Path::new(field).key(key), key, complaint);
        }
    }
}
