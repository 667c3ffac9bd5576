//! The CA that signs: its key and certificate, and what it says in the certificates it makes.
//!
//! In: a request, what it may be used for, for how long. Out: a certificate in PEM. Subject, names and key are taken over from the request as they
//! are; nothing else of it is. The serial number is a digest of the request's uid, so that the same request decided on twice gets the same
//! one. Source: `pkg/controller/certificates/authority` (`PermissiveSigningPolicy`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use orlop_api::csr::{BACKDATED, Csr};
use rcgen::{KeyPair, SigningKey};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::der;

/// Certificates of a shorter life than this are not shortened by being valid from before they are made.
const SHORT: SignedDuration = SignedDuration::from_hours(8);
/// The shortest life.
const LIFE_MIN: SignedDuration = SignedDuration::from_mins(10);
/// How much of the digest is the serial number: 159 bits at the most, as RFC 5280 allows 20 bytes of a positive number.
const SERIAL_BYTES: usize = 16;
/// How long a line of PEM is.
const PEM_LINE: usize = 64;

/// The usages that are bits of the extension keyUsage, by the place of the bit.
const KEY_USAGES: &[(&str, u16)] = &[
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// The usages that are object identifiers of the extension extKeyUsage, in the order in which they stand there.
const EXTENDED_USAGES: &[(&str, &[u8])] = &[
    ("any", &[0x55, 0x1d, 0x25, 0x00]),
    ("server auth", &[0x2b, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[0x2b, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[0x2b, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[0x2b, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[0x2b, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[0x2b, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[0x2b, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[0x2b, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[0x2b, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[0x2b, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 10, 3, 3]),
    ("netscape sgc", &[0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 4, 1]),
];

/// The extensions' object identifiers, below 2.5.29.
const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 15];
const EXTENDED_KEY_USAGE: [u8; 3] = [0x55, 0x1d, 37];
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 19];
const AUTHORITY_KEY: [u8; 3] = [0x55, 0x1d, 35];
const SUBJECT_NAMES: [u8; 3] = [0x55, 0x1d, 17];

/// Who signs.
pub struct Authority {
    key: KeyPair,
    /// The algorithm of its signatures, encoded.
    algorithm: Vec<u8>,
    /// Its name, encoded.
    name: Vec<u8>,
    key_id: Vec<u8>,
    not_after: Timestamp,
    /// How long certificates live whose requests do not say or say more.
    life: SignedDuration,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("not_after", &self.not_after)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A CA from the PEM texts of its certificate and key.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(certificate: &str, key: &str, life: SignedDuration) -> Result<Self, String> {
        let key = KeyPair::from_pem(key).map_err(|error| format!("the CA's key cannot be used: {error}"))?;
        let (_, block) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
            .map_err(|error| format!("the CA's certificate cannot be read: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(&block.contents)
            .map_err(|error| format!("the CA's certificate cannot be read: {error}"))?;
        if *parsed.public_key().subject_public_key.data != *rcgen::PublicKeyData::der_bytes(&key) {
            return Err("the CA's key does not belong to its certificate".to_owned());
        }
        let key_id = parsed.extensions().iter().find_map(|it| match it.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let algorithm = algorithm(&key).ok_or("the CA's key is of a kind that cannot sign here")?;
        let not_after = Timestamp::from_second(parsed.validity().not_after.timestamp());
        Ok(Authority {
            algorithm,
            name: parsed.subject().as_raw().to_vec(),
            key_id: key_id.unwrap_or_default(),
            not_after: not_after.map_err(|error| error.to_string())?,
            life,
            key,
        })
    }

    /// A certificate, in PEM.
    ///
    /// # Errors
    /// Where it may not be made, in Kubernetes' words.
    pub fn sign(
        &self,
        csr: &Csr,
        usages: &[String],
        seconds: Option<i32>,
        uid: &str,
        now: Timestamp,
    ) -> Result<String, String> {
        if now >= self.not_after {
            return Err(format!(
                "refusing to sign a certificate that expired in the past: NotAfter={}",
                self.not_after.strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
            ));
        }
        let life = self.life_of(seconds);
        let end = if life < SHORT { now + life } else { now + (life - BACKDATED) };
        let validity = der::sequence(&[&der::time(now - BACKDATED), &der::time(end.min(self.not_after))]);
        let digest = Sha256::digest(uid.as_bytes());
        let extensions = self.extensions(csr, usages)?;
        let body = der::sequence(&[
            &der::value(0xa0, &[&der::unsigned(&[2])]),
            &der::unsigned(&digest[..SERIAL_BYTES]),
            &self.algorithm,
            &self.name,
            &validity,
            &csr.subject_der,
            &csr.public_key_der,
            &der::value(0xa3, &[&extensions]),
        ]);
        let signature = self.key.sign(&body).map_err(|error| format!("unable to sign certificate: {error}"))?;
        Ok(pem(&der::sequence(&[&body, &self.algorithm, &der::bits(&signature)])))
    }

    fn life_of(&self, seconds: Option<i32>) -> SignedDuration {
        let asked = seconds.map(|it| SignedDuration::from_secs(it.into()).max(LIFE_MIN));
        asked.map_or(self.life, |it| it.min(self.life))
    }

    fn extensions(&self, csr: &Csr, usages: &[String]) -> Result<Vec<u8>, String> {
        let (mut set, mut unknown) = (0_u16, Vec::new());
        for usage in usages {
            match KEY_USAGES.iter().find(|(name, _)| name == usage) {
                Some((_, place)) => set |= 0x8000 >> place,
                None if EXTENDED_USAGES.iter().any(|(name, _)| name == usage) => {}
                None => unknown.push(usage),
            }
        }
        if !unknown.is_empty() {
            return Err(format!("unrecognized usage values: {unknown:?}"));
        }
        let mut purposes: Vec<Vec<u8>> = Vec::new();
        for (name, id) in EXTENDED_USAGES {
            let purpose = der::value(der::OBJECT_IDENTIFIER, &[id]);
            if usages.iter().any(|it| it == name) && !purposes.contains(&purpose) {
                purposes.push(purpose);
            }
        }
        let mut all = Vec::new();
        if set != 0 {
            all.push(extension(&KEY_USAGE, true, &der::flags(set)));
        }
        if !purposes.is_empty() {
            all.push(extension(&EXTENDED_KEY_USAGE, false, &der::sequence(&[&purposes.concat()])));
        }
        all.push(extension(&BASIC_CONSTRAINTS, true, &der::sequence(&[])));
        if !self.key_id.is_empty() {
            all.push(extension(&AUTHORITY_KEY, false, &der::sequence(&[&der::value(0x80, &[&self.key_id])])));
        }
        if !csr.names_der.is_empty() {
            // A certificate without a subject is known by these names alone.
            let nameless = csr.subject_der == der::sequence(&[]);
            all.push(extension(&SUBJECT_NAMES, nameless, &csr.names_der));
        }
        Ok(der::sequence(&[&all.concat()]))
    }
}

fn extension(id: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &der::TRUE } else { &[] };
    der::sequence(&[&der::value(der::OBJECT_IDENTIFIER, &[id]), flag, &der::value(der::OCTET_STRING, &[content])])
}

/// The `AlgorithmIdentifier` of what the key signs.
fn algorithm(key: &KeyPair) -> Option<Vec<u8>> {
    let kind = key.algorithm();
    let id: &[u8] = if *kind == rcgen::PKCS_ECDSA_P256_SHA256 {
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]
    } else if *kind == rcgen::PKCS_ECDSA_P384_SHA384 {
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]
    } else if *kind == rcgen::PKCS_ED25519 {
        &[0x2b, 0x65, 0x70]
    } else if *kind == rcgen::PKCS_RSA_SHA256 {
        let id = der::value(der::OBJECT_IDENTIFIER, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]]);
        return Some(der::sequence(&[&id, &der::value(der::NULL, &[])]));
    } else {
        return None;
    };
    Some(der::sequence(&[&der::value(der::OBJECT_IDENTIFIER, &[id])]))
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: any place is one to cut at.
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
