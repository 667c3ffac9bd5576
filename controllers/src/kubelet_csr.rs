//! What a kubelet's certificate requests have to look like: that for a client certificate, and that for a serving certificate.
//!
//! In: a parsed request and its usages. Out: nothing if it is one, or why it is not, in Kubernetes' words. Source: `pkg/apis/certificates/helpers.go`.

use orlop_api::csr::Csr;

const ORGANIZATION: &str = "system:nodes";
const COMMON_NAME_PREFIX: &str = "system:node:";

/// Whether a request is a kubelet's for a client certificate.
///
/// # Errors
/// Why it is not.
pub fn client(csr: &Csr, usages: &[String]) -> Result<(), &'static str> {
    of_node(csr)?;
    if !csr.dns_names.is_empty() {
        return Err("DNS subjectAltNames are not allowed");
    }
    if !csr.emails.is_empty() {
        return Err("Email subjectAltNames are not allowed");
    }
    if !csr.addresses.is_empty() {
        return Err("IP subjectAltNames are not allowed");
    }
    if !csr.uris.is_empty() {
        return Err("URI subjectAltNames are not allowed");
    }
    named(csr)?;
    used(usages, "client auth", "usages did not match [client auth digital signature key encipherment]")
}

/// Whether a request is a kubelet's for a serving certificate.
///
/// # Errors
/// Why it is not.
pub fn serving(csr: &Csr, usages: &[String]) -> Result<(), &'static str> {
    of_node(csr)?;
    if csr.dns_names.is_empty() && csr.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required");
    }
    if !csr.emails.is_empty() {
        return Err("Email subjectAltNames are not allowed");
    }
    if !csr.uris.is_empty() {
        return Err("URI subjectAltNames are not allowed");
    }
    used(usages, "server auth", "usages did not match [digital signature key encipherment server auth]")?;
    named(csr)
}

fn of_node(csr: &Csr) -> Result<(), &'static str> {
    if csr.organizations == [ORGANIZATION] { Ok(()) } else { Err("subject organization is not system:nodes") }
}

fn named(csr: &Csr) -> Result<(), &'static str> {
    let fits = csr.common_name.starts_with(COMMON_NAME_PREFIX);
    if fits { Ok(()) } else { Err("subject common name does not begin with system:node:") }
}

/// Keys that are not RSA encipher no keys, so that this usage may be left out.
fn used(usages: &[String], purpose: &str, why: &'static str) -> Result<(), &'static str> {
    let has = |wanted: &str| usages.iter().any(|it| it == wanted);
    let known = |it: &String| it == purpose || it == "digital signature" || it == "key encipherment";
    if has(purpose) && has("digital signature") && usages.iter().all(known) { Ok(()) } else { Err(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Csr {
        Csr {
            common_name: "system:node:n1".to_owned(),
            organizations: vec!["system:nodes".to_owned()],
            ..Csr::default()
        }
    }

    #[track_caller]
    fn check(csr: &Csr, usages: &[&str], of_client: Result<(), &str>, of_serving: Result<(), &str>) {
        let usages: Vec<String> = usages.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(client(csr, &usages), of_client);
        assert_eq!(serving(csr, &usages), of_serving);
    }

    #[test]
    fn requests_of_kubelets_are_recognized() {
        let (for_client, for_server) = (["digital signature", "client auth"], ["digital signature", "server auth"]);
        let nameless = Err("DNS or IP subjectAltName is required");
        check(&node(), &for_client, Ok(()), nameless);
        check(&node(), &["digital signature", "key encipherment", "client auth"], Ok(()), nameless);
        check(
            &node(),
            &["client auth"],
            Err("usages did not match [client auth digital signature key encipherment]"),
            nameless,
        );
        let named = Csr { dns_names: vec!["n1".to_owned()], ..node() };
        check(&named, &for_server, Err("DNS subjectAltNames are not allowed"), Ok(()));
        let other = Csr { common_name: "n1".to_owned(), dns_names: vec!["n1".to_owned()], ..node() };
        check(
            &other,
            &for_server,
            Err("DNS subjectAltNames are not allowed"),
            Err("subject common name does not begin with system:node:"),
        );
        let stranger = Csr { organizations: vec!["system:masters".to_owned()], ..node() };
        let why = Err("subject organization is not system:nodes");
        check(&stranger, &for_client, why, why);
    }
}
