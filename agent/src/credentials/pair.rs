//! A certificate with its key, as a file holds them: PEM, the certificate first.
//!
//! In: the text. Out: whose it is, from when to when it is good, under which names, and when it is to be renewed. Times are arguments.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// When a certificate is renewed: at a random point between these parts of its life, as the kubelet does, so that nodes that were made together
/// do not ask together.
const RENEW_FROM: f64 = 0.7;
const RENEW_TO: f64 = 0.9;

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pem: String,
    /// The common name.
    pub user: String,
    /// DNS names and addresses.
    pub names: BTreeSet<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("user", &self.user).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Pair {
    /// Puts a certificate and a key together.
    ///
    /// # Errors
    /// As [`Pair::parse`].
    pub fn of(certificate: &str, key: &str) -> Result<Self, String> {
        Self::parse(format!("{}\n{key}", certificate.trim_end()))
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// What is missing or broken; a key that is not the certificate's is.
    pub fn parse(pem: String) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|it| format!("the certificate: {it}"))?;
        let (_, it) = X509Certificate::from_der(&der).map_err(|it| format!("the certificate: {it}"))?;
        let time = |it: i64| Timestamp::from_second(it).map_err(|it| it.to_string());
        let mut names = BTreeSet::new();
        if let Ok(Some(found)) = it.subject_alternative_name() {
            names.extend(found.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => address(bytes).map(|it| it.to_string()),
                _ => None,
            }));
        }
        let user = it.subject().iter_common_name().find_map(|it| it.as_str().ok()).unwrap_or_default().to_owned();
        let validity = it.validity();
        let (not_before, not_after) = (time(validity.not_before.timestamp())?, time(validity.not_after.timestamp())?);
        let pair = Pair { pem, user, names, not_before, not_after };
        pair.certified()?;
        Ok(pair)
    }

    /// The file's text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// As TLS takes it.
    ///
    /// # Errors
    /// As [`Pair::parse`], which has made sure that there are none.
    pub fn certified(&self) -> Result<CertifiedKey, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.pem.as_bytes()).collect();
        let chain = chain.map_err(|it| format!("the certificate: {it}"))?;
        let key = PrivateKeyDer::from_pem_slice(self.pem.as_bytes()).map_err(|it| format!("the key: {it}"))?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|it| it.to_string())
    }

    /// Whether it proves anything at `now`.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// When to renew it; `part` says where between the earliest and the latest time, from 0 to 1.
    pub fn renewal(&self, part: f64) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before).as_secs_f64().max(0.0);
        let after = life * (RENEW_FROM + (RENEW_TO - RENEW_FROM) * part.clamp(0.0, 1.0));
        self.not_before.checked_add(SignedDuration::from_secs_f64(after)).unwrap_or(self.not_after)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:n1");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 11);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_file_is_read() {
        let (certificate, key) = made(&["n1", "192.0.2.1"]);
        let pair = Pair::of(&certificate, &key).unwrap();
        assert_eq!(pair.user, "system:node:n1");
        assert_eq!(pair.names.iter().map(String::as_str).collect::<Vec<_>>(), ["192.0.2.1", "n1"]);
        assert_eq!(Pair::parse(pair.pem().to_owned()).unwrap(), pair);
        let other = made(&[]).1;
        assert!(Pair::of(&certificate, &other).unwrap_err().contains("KeyMismatch"));
        assert!(Pair::parse(certificate).unwrap_err().starts_with("the key: "));
        assert!(Pair::parse(key).unwrap_err().starts_with("the certificate: "));
    }

    #[test]
    fn it_is_renewed_before_its_end() {
        let (certificate, key) = made(&[]);
        let pair = Pair::of(&certificate, &key).unwrap();
        let check = |part: f64, at: &str| assert_eq!(pair.renewal(part), at.parse::<Timestamp>().unwrap());
        check(0.0, "2026-01-08T00:00:00Z");
        check(1.0, "2026-01-10T00:00:00Z");
        check(0.5, "2026-01-09T00:00:00Z");
        for (at, good) in
            [("2025-12-31T00:00:00Z", false), ("2026-01-01T00:00:00Z", true), ("2026-01-11T00:00:00Z", false)]
        {
            assert_eq!(pair.is_good(at.parse().unwrap()), good, "{at}");
        }
    }
}
