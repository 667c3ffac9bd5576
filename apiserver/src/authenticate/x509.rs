//! Who a client certificate names: the common name is the user, the organizations are the groups.
//!
//! In: a certificate whose chain has been verified. Out: an identity, when it was given and until when it is good. Source:
//! `CommonNameUserConversion` of `k8s.io/apiserver/pkg/authentication/request/x509`.

use jiff::Timestamp;
use orlop_api::csr::BACKDATED;
use sha2::{Digest, Sha256};

use crate::pki::leaf::Parsed;
use crate::stage::Identity;

/// What a certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub identity: Identity,
    /// When it was made.
    pub issued: Timestamp,
    pub expires: Timestamp,
}

/// Reads a certificate; without a common name it names nobody.
///
/// # Errors
/// A text for the log where it cannot be read.
pub fn read(der: &[u8]) -> Result<Option<Named>, String> {
    let parsed = Parsed::from_der(der)?;
    if parsed.user.is_empty() {
        return Ok(None);
    }
    let groups: Vec<&str> = parsed.groups.iter().map(String::as_str).collect();
    let mut identity = Identity::new(&parsed.user, &groups);
    let hex: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    identity.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={hex}")]);
    // Where the sum has no place in time, the certificate counts as the oldest.
    let issued = parsed.not_before.checked_add(BACKDATED).unwrap_or(Timestamp::MIN);
    Ok(Some(Named { identity, issued, expires: parsed.not_after }))
}
