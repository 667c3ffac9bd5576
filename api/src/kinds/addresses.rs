//! The rules for addresses and ranges of addresses in their newer, strict form, and the warnings about those that older fields still take
//! (`k8s.io/apimachinery/pkg/util/validation/ip.go`).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::field::{Errors, Path};
use crate::name::Complaints;

/// What is wrong with `text` as an address in its one form.
pub fn strict_ip(text: &str) -> Complaints {
    let Ok(ip) = text.parse::<IpAddr>() else {
        return vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()];
    };
    if is_mapped(ip) {
        return vec!["must not be an IPv4-mapped IPv6 address".to_owned()];
    }
    let canonical = ip.to_string();
    if canonical == text { Vec::new() } else { vec![format!("must be in canonical form ({canonical:?})")] }
}

/// Notes what is wrong with `text` as a range in its one form.
pub fn strict_range(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    let Ok(range) = text.parse::<IpNet>() else {
        return errors.invalid(path(), text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    };
    let mut complain = |why: String| errors.invalid(path(), text, why);
    let (mapped, inexact) = (is_mapped(range.addr()), range.trunc() != range);
    if mapped {
        complain("must not have an IPv4-mapped IPv6 address".to_owned());
    }
    if inexact {
        complain("must not have bits set beyond the prefix length".to_owned());
    }
    let canonical = range.to_string();
    if !mapped && !inexact && canonical != text {
        complain(format!("must be in canonical form ({canonical:?})"));
    }
}

/// Adds a warning where a range is read otherwise by some than by others. One that is no range has been refused.
pub fn warn_of_range(text: &str, path: &Path, warnings: &mut Vec<String>) {
    let Ok(range) = text.parse::<IpNet>() else { return };
    let exact = range.trunc();
    if exact != range {
        let single = IpNet::from(range.addr());
        warnings.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be \"{exact}\" or \"{single}\"?)"
        ));
    } else if range.addr().is_ipv6() && range.to_string() != text {
        warnings.push(format!("{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format (\"{range}\")"));
    }
}

/// Adds a warning where an address is not written as it should be. One that is no address has been refused.
pub fn warn_of_address(text: &str, path: impl Fn() -> Path, warnings: &mut Vec<String>) {
    let Ok(IpAddr::V6(ip)) = text.parse::<IpAddr>() else { return };
    let canonical = ip.to_string();
    if let Some(plain) = ip.to_ipv4_mapped() {
        let why = "will be considered invalid in a future Kubernetes release";
        warnings.push(format!("{}: non-standard IP address {text:?} {why}: use \"{plain}\"", path()));
    } else if canonical != text {
        warnings
            .push(format!("{}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})", path()));
    }
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_ip(text: &str, expected: &[&str]) {
        assert_eq!(strict_ip(text), expected, "{text}");
    }

    fn check_range(text: &str, mistakes: &[&str], warned: &[&str]) {
        let (mut errors, mut warnings) = (Errors::default(), Vec::new());
        strict_range(text, || Path::new("r"), &mut errors);
        warn_of_range(text, &Path::new("r"), &mut warnings);
        let found: Vec<String> = errors.list().iter().map(ToString::to_string).collect();
        let expected: Vec<String> = mistakes.iter().map(|it| format!("r: Invalid value: {text:?}: {it}")).collect();
        assert_eq!(found, expected);
        assert_eq!(warnings, warned);
    }

    #[test]
    fn addresses_have_one_form() {
        check_ip("10.9.8.7", &[]);
        check_ip("2001:db8::ffff", &[]);
        check_ip("10.9.8", &["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]);
        check_ip("::ffff:10.0.0.1", &["must not be an IPv4-mapped IPv6 address"]);
        check_ip("2001:DB8::0:1", &["must be in canonical form (\"2001:db8::1\")"]);
    }

    #[test]
    fn ranges_have_one_form() {
        check_range("10.9.8.0/24", &[], &[]);
        check_range("10.9.8", &["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"], &[]);
        check_range(
            "10.9.8.7/24",
            &["must not have bits set beyond the prefix length"],
            &[
                "r: CIDR value \"10.9.8.7/24\" is ambiguous in this context (should be \"10.9.8.0/24\" or \"10.9.8.7/32\"?)",
            ],
        );
        check_range(
            "2001:DB8::/64",
            &["must be in canonical form (\"2001:db8::/64\")"],
            &["r: IPv6 CIDR value \"2001:DB8::/64\" should be in RFC 5952 canonical format (\"2001:db8::/64\")"],
        );
    }
}
