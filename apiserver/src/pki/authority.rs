//! The certificate authority: it signs leaf certificates and does nothing else.
//!
//! In: the directory with `ca.key` and `ca.crt`. Out: an [`Authority`] that signs. Its key is made once and kept for the life of the
//! cluster; its certificate is made again from the key where it is lost or near its end, which leaves everything that was signed
//! valid, because a chain is judged by the CA's name and key. A lost or damaged key is an error: a new one would cut off every client.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SerialNumber,
};

use super::files;
use super::leaf::{self, Parsed};
use super::{PkiError, leaf::RENEW_BEFORE};

/// Ten years, as kubeadm's.
pub const CA_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// What the cluster's CA is called, as with kubeadm.
const NAME: &str = "kubernetes";

/// How much of its life a CA's certificate must have left: that of a leaf signed today, and the time by which leaves are renewed early.
const CA_RENEW_BEFORE: SignedDuration =
    SignedDuration::from_hours(leaf::LEAF_LIFE.as_hours() + RENEW_BEFORE.as_hours());

/// The CA of one cluster.
pub struct Authority {
    /// In PEM.
    pub certificate: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// The subject key identifier, by which a leaf names the CA that signed it.
    pub(super) key_id: Vec<u8>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the CA in `dir`; the first call makes it.
    ///
    /// # Errors
    /// [`PkiError::Damaged`] for a key that is lost or cannot be read, or that is not the certificate's.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Self, PkiError> {
        Self::open_named(dir, NAME, now)
    }

    /// As [`open`](Self::open), for a CA of another name.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_named(dir: &Path, name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let (key_path, certificate_path) = (dir.join("ca.key"), dir.join("ca.crt"));
        let damaged = |path: &Path, why: String| PkiError::Damaged { path: path.to_owned(), dir: dir.to_owned(), why };
        let stands = files::read(&certificate_path)?;
        let key = match (files::read(&key_path)?, &stands) {
            (Some(text), _) => KeyPair::from_pem(&text).map_err(|error| damaged(&key_path, error.to_string()))?,
            (None, Some(_)) => {
                return Err(damaged(&key_path, "it is missing, while ca.crt is there".to_owned()));
            }
            (None, None) => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                // Written before the certificate: a start that breaks off between the two is healed by the next.
                files::write_durably(&key_path, &key.serialize_pem())?;
                key
            }
        };
        let certificate = match stands {
            Some(text) => {
                let parsed = Parsed::read(&text).map_err(|why| damaged(&certificate_path, why))?;
                if parsed.public_key != key.public_key_raw() {
                    return Err(damaged(&key_path, "it does not belong to ca.crt".to_owned()));
                }
                if parsed.lasts_beyond(now + CA_RENEW_BEFORE) {
                    text
                } else {
                    certify(&key, name, &certificate_path, now)?
                }
            }
            None => certify(&key, name, &certificate_path, now)?,
        };
        let parsed = Parsed::read(&certificate).map_err(|why| damaged(&certificate_path, why))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        Ok(Authority { certificate, issuer, key_id: parsed.key_id })
    }
}

fn certify(key: &KeyPair, name: &str, path: &Path, now: Timestamp) -> Result<String, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    leaf::valid(&mut params, now, CA_LIFE);
    // A CA certified anew keeps its key, so the time must tell the two certificates apart.
    params.serial_number = Some(SerialNumber::from_slice(&now.as_second().to_be_bytes()));
    let text = params.self_signed(key)?.pem();
    files::write_durably(path, &text)?;
    Ok(text)
}
