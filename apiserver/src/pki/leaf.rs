//! Leaf certificates: what they say, when one on disk is still good, and how a new one is made.
//!
//! In: a [`Leaf`], which is a description. Out: a `Pair` of certificate and key. A leaf on disk that is missing, unreadable, foreign,
//! short of names or near its end is replaced, since nobody but its holder depends on it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use orlop_api::csr::BACKDATED;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::Authority;
use super::{Pair, PkiError, files};

/// One year, as kubeadm's.
pub const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A leaf is replaced at a start within its last thirty days.
pub const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Server,
    Client,
    /// A node's: it asks the API server, and answers it.
    Both,
}

/// What a leaf certificate says.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The common name.
    pub user: String,
    /// The organizations.
    pub groups: Vec<String>,
    /// DNS names and addresses, for servers.
    pub names: Vec<String>,
    pub usage: Usage,
}

impl Leaf {
    /// A client's.
    pub fn client(user: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|it| (*it).to_owned()).collect();
        Leaf { user: user.to_owned(), groups, names: Vec::new(), usage: Usage::Client }
    }

    /// Reads `<stem>.crt` and `<stem>.key`, or makes them.
    ///
    /// # Errors
    /// [`PkiError`] where files cannot be read or written, or a name is no name.
    pub fn open(&self, dir: &Path, stem: &str, authority: &Authority, now: Timestamp) -> Result<Pair, PkiError> {
        let (certificate_path, key_path) = (dir.join(format!("{stem}.crt")), dir.join(format!("{stem}.key")));
        if let (Some(certificate), Some(key)) = (files::read(&certificate_path)?, files::read(&key_path)?) {
            match self.judge(&certificate, &key, authority, now) {
                Ok(()) => return Ok(Pair { certificate, key }),
                Err(why) => tracing::info!(file = %certificate_path.display(), why, "issuing a certificate anew"),
            }
        }
        let pair = self.issue(authority, now)?;
        files::write_atomically(&key_path, &pair.key)?;
        files::write_atomically(&certificate_path, &pair.certificate)?;
        Ok(pair)
    }

    /// Makes a new key and a certificate for it.
    ///
    /// # Errors
    /// [`PkiError::Make`] where a name is no name.
    pub fn issue(&self, authority: &Authority, now: Timestamp) -> Result<Pair, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(self.names.clone())?;
        params.distinguished_name = DistinguishedName::new();
        for group in &self.groups {
            params.distinguished_name.push(DnType::OrganizationName, group.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, self.user.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match self.usage {
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Both => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
        };
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, LEAF_LIFE);
        let certificate = params.signed_by(&key, &authority.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }

    fn judge(&self, certificate: &str, key: &str, authority: &Authority, now: Timestamp) -> Result<(), &'static str> {
        let parsed = Parsed::read(certificate).map_err(|_| "it is damaged")?;
        let key = KeyPair::from_pem(key).map_err(|_| "its key is damaged")?;
        let names: BTreeSet<String> = self.names.iter().map(|it| canonical(it)).collect();
        if parsed.public_key != key.public_key_raw() {
            Err("its key is another's")
        } else if parsed.authority_id != authority.key_id {
            Err("another CA signed it")
        } else if !parsed.lasts_beyond(now + RENEW_BEFORE) {
            Err("its time is up")
        } else if !names.is_subset(&parsed.names) {
            Err("names were added")
        } else if parsed.user != self.user || parsed.groups != self.groups {
            Err("it is for another user")
        } else {
            Ok(())
        }
    }
}

fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |it| it.to_string())
}

/// Sets the time for which a certificate is valid. The serial number is the hash of the certificate's key, which is its own.
pub(super) fn valid(params: &mut CertificateParams, now: Timestamp, life: SignedDuration) {
    params.not_before = SystemTime::from(now - BACKDATED).into();
    params.not_after = SystemTime::from(now + life).into();
}

/// Reads `<stem>.key`, or makes it, with `<stem>.pub` beside it: a pair of PEM texts, the first the public key.
///
/// # Errors
/// [`PkiError::Damaged`] for a key that cannot be read: whatever it signed would become worthless.
pub fn signing_key(dir: &Path, stem: &str) -> Result<Pair, PkiError> {
    let path = dir.join(format!("{stem}.key"));
    let key = match files::read(&path)? {
        Some(text) => KeyPair::from_pem(&text).map_err(|error| PkiError::Damaged {
            path: path.clone(),
            dir: dir.to_owned(),
            why: error.to_string(),
        })?,
        None => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            files::write_durably(&path, &key.serialize_pem())?;
            key
        }
    };
    let public = key.public_key_pem();
    files::write_if_changed(&dir.join(format!("{stem}.pub")), &public)?;
    Ok(Pair { certificate: public, key: key.serialize_pem() })
}

/// What is read from a certificate on disk or from the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub user: String,
    pub groups: Vec<String>,
    pub names: BTreeSet<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub public_key: Vec<u8>,
    pub key_id: Vec<u8>,
    pub authority_id: Vec<u8>,
}

impl Parsed {
    /// Reads the first certificate of a PEM text.
    pub(super) fn read(pem: &str) -> Result<Self, String> {
        use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
        Self::from_der(&der)
    }

    /// Reads a certificate.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let (_, it) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().map(str::to_owned).ok();
        let (mut names, mut key_id, mut authority_id) = (BTreeSet::new(), Vec::new(), Vec::new());
        for extension in it.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(found) => {
                    names.extend(found.general_names.iter().filter_map(|name| match name {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        GeneralName::IPAddress(bytes) => address(bytes),
                        _ => None,
                    }));
                }
                ParsedExtension::SubjectKeyIdentifier(id) => key_id = id.0.to_vec(),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    authority_id = id.key_identifier.as_ref().map(|it| it.0.to_vec()).unwrap_or_default();
                }
                _ => {}
            }
        }
        Ok(Parsed {
            user: it.subject().iter_common_name().next().and_then(text).unwrap_or_default(),
            groups: it.subject().iter_organization().filter_map(text).collect(),
            names,
            not_before: Timestamp::from_second(it.validity().not_before.timestamp())
                .map_err(|error| error.to_string())?,
            not_after: Timestamp::from_second(it.validity().not_after.timestamp())
                .map_err(|error| error.to_string())?,
            public_key: it.public_key().subject_public_key.data.to_vec(),
            key_id,
            authority_id,
        })
    }

    pub(super) fn lasts_beyond(&self, then: Timestamp) -> bool {
        self.not_after > then
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|it| IpAddr::from(it).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|it| IpAddr::from(it).to_string()),
        _ => None,
    }
}
