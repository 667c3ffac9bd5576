//! The ciphers of values: what each provider of an EncryptionConfiguration does to one value.
//!
//! In: a value, its key in the store, and the providers of its resource in their order. Out: the value as it is stored, behind a prefix
//! that names provider and key (`k8s:enc:aesgcm:v1:key1:`), or the plain value again. Formats `aesgcm` and `aescbc` are Kubernetes', byte for byte, so that
//! one etcd serves both. The default is `aesgcmhkdf`, ours: every value gets an AES-256-GCM key of its own, derived from the configured key and a random
//! salt of 256 bits (HKDF-SHA-256, RFC 5869). With a plain random nonce of 96 bits a key is good for 2^32 values (NIST SP 800-38D); with
//! such salts two values of 2^64 share a key with a probability below 2^-128, so that no count of writes has to be kept.
//! Source: `k8s.io/apiserver/pkg/storage/value`.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;

/// What every encrypted value begins with.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// The salt from which a value's own key is derived, in bytes.
const SALT_BYTES: usize = 32;
/// AES-CBC's initialization vector, in bytes.
const IV_BYTES: usize = 16;
/// AES-GCM's tag, in bytes.
const TAG_BYTES: usize = 16;

/// The form of a provider's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-GCM with a key derived for each value.
    Derived,
    /// AES-GCM with a random nonce, as Kubernetes' `aesgcm`.
    Gcm,
    /// AES-CBC with PKCS #7 padding, as Kubernetes' `aescbc`: it detects no change.
    Cbc,
}

impl Cipher {
    fn name(self) -> &'static str {
        match self {
            Cipher::Derived => "aesgcmhkdf",
            Cipher::Gcm => "aesgcm",
            Cipher::Cbc => "aescbc",
        }
    }

    /// What is said of a value under none of the provider's keys.
    fn unknown_key(self) -> &'static str {
        "no matching key was found for the provided AES transformer"
    }
}

/// One key of a provider.
pub struct Key {
    prefix: Vec<u8>,
    secret: Vec<u8>,
}

/// One provider of a resource.
pub enum Provider {
    Keys {
        cipher: Cipher,
        keys: Vec<Key>,
    },
    /// Values as they are.
    Identity,
}

/// A value that was opened.
pub struct Opened {
    /// The plain value; none if it was plain already.
    pub plain: Option<Vec<u8>>,
    /// Whether it would be written in another form now.
    pub stale: bool,
}

/// The providers of some resources: the first, with its first key, writes; all read.
pub struct Transformers(Vec<Provider>);

impl Provider {
    /// A provider with keys: pairs of name and secret.
    ///
    /// # Errors
    /// A text where a key has another length than AES keys have.
    pub fn keys(cipher: Cipher, given: &[(String, Vec<u8>)]) -> Result<Self, String> {
        let keys = given.iter().map(|(name, secret)| {
            let fits = match cipher {
                Cipher::Derived => secret.len() == 32,
                _ => matches!(secret.len(), 16 | 24 | 32),
            };
            if !fits {
                return Err(format!(
                    "the key {name:?} has {} bytes, which no key of {} has",
                    secret.len(),
                    cipher.name()
                ));
            }
            let prefix = format!("k8s:enc:{}:v1:{name}:", cipher.name()).into_bytes();
            Ok(Key { prefix, secret: secret.clone() })
        });
        Ok(Provider::Keys { cipher, keys: keys.collect::<Result<_, _>>()? })
    }

    /// What its values begin with, whichever key they are under.
    fn owns(&self, value: &[u8]) -> bool {
        match self {
            Provider::Identity => !value.starts_with(ENCRYPTED),
            Provider::Keys { cipher, .. } => value
                .strip_prefix(ENCRYPTED)
                .and_then(|it| it.strip_prefix(cipher.name().as_bytes()))
                .is_some_and(|it| it.starts_with(b":v1:")),
        }
    }
}

impl Transformers {
    /// These, in this order.
    pub fn new(providers: Vec<Provider>) -> Self {
        Transformers(providers)
    }

    /// The value as it is to be stored; none if that is as it is.
    ///
    /// # Errors
    /// Where the crypto provider fails, for instance for want of randomness.
    pub fn seal(&self, at: &str, plain: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let Some(Provider::Keys { cipher, keys }) = self.0.first() else { return Ok(None) };
        let Some(key) = keys.first() else { return Ok(None) };
        seal(*cipher, key, at, plain).map(Some).map_err(|_| "it cannot be encrypted".to_owned())
    }

    /// The plain value of what is stored.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(&self, at: &str, stored: &[u8]) -> Result<Opened, String> {
        let mut failure = None;
        for (place, provider) in self.0.iter().enumerate() {
            if !provider.owns(stored) {
                continue;
            }
            let Provider::Keys { cipher, keys } = provider else {
                return Ok(Opened { plain: None, stale: place > 0 });
            };
            for (number, key) in keys.iter().enumerate() {
                let Some(rest) = stored.strip_prefix(&*key.prefix) else { continue };
                match open(*cipher, key, at, rest) {
                    Ok(plain) => return Ok(Opened { plain: Some(plain), stale: place > 0 || number > 0 }),
                    Err(why) => failure = Some(why),
                }
            }
            failure = failure.or(Some(cipher.unknown_key()));
        }
        Err(failure.unwrap_or("no matching prefix found").to_owned())
    }
}

fn seal(cipher: Cipher, key: &Key, at: &str, plain: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
    let mut out = Vec::with_capacity(key.prefix.len() + SALT_BYTES + plain.len() + TAG_BYTES);
    out.extend_from_slice(&key.prefix);
    match cipher {
        Cipher::Derived => {
            let mut salt = [0; SALT_BYTES];
            rand::fill(&mut salt)?;
            out.extend_from_slice(&salt);
            // The key serves this one value, so that any nonce is a fresh one.
            let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
            append_sealed(&derived(key, &salt)?, nonce, at, plain, &mut out)?;
        }
        Cipher::Gcm => {
            let mut nonce = [0; NONCE_LEN];
            rand::fill(&mut nonce)?;
            out.extend_from_slice(&nonce);
            let nonce = Nonce::assume_unique_for_key(nonce);
            append_sealed(&gcm(&key.secret)?, nonce, at, plain, &mut out)?;
        }
        Cipher::Cbc => {
            let mut body = plain.to_vec();
            let context = PaddedBlockEncryptingKey::cbc_pkcs7(cbc(&key.secret)?)?.encrypt(&mut body)?;
            let iv: &[u8] = (&context).try_into()?;
            out.extend_from_slice(iv);
            out.extend_from_slice(&body);
        }
    }
    Ok(out)
}

fn append_sealed(
    key: &LessSafeKey,
    nonce: Nonce,
    at: &str,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), aws_lc_rs::error::Unspecified> {
    let begin = out.len();
    out.extend_from_slice(plain);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(at.as_bytes()), &mut out[begin..])?;
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

fn open(cipher: Cipher, key: &Key, at: &str, stored: &[u8]) -> Result<Vec<u8>, &'static str> {
    const SHORT: &str = "the stored data was shorter than the required size";
    const FORGED: &str = "cipher: message authentication failed";
    match cipher {
        Cipher::Derived => {
            let (salt, body) = stored.split_at_checked(SALT_BYTES).ok_or(SHORT)?;
            let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
            opened(&derived(key, salt).map_err(|_| FORGED)?, nonce, at, body).ok_or(FORGED)
        }
        Cipher::Gcm => {
            let (nonce, body) = stored.split_at_checked(NONCE_LEN).ok_or(SHORT)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SHORT)?;
            opened(&gcm(&key.secret).map_err(|_| FORGED)?, nonce, at, body).ok_or(FORGED)
        }
        Cipher::Cbc => {
            const PADDING: &str = "invalid padding on input";
            let (iv, body) = stored.split_at_checked(IV_BYTES).ok_or(SHORT)?;
            let iv = FixedLength::try_from(iv).map_err(|_| SHORT)?;
            let mut body = body.to_vec();
            let key = cbc(&key.secret).and_then(PaddedBlockDecryptingKey::cbc_pkcs7).map_err(|_| PADDING)?;
            let plain = key.decrypt(&mut body, DecryptionContext::Iv128(iv)).map_err(|_| PADDING)?;
            Ok(plain.to_vec())
        }
    }
}

fn opened(key: &LessSafeKey, nonce: Nonce, at: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut body = body.to_vec();
    let length = key.open_in_place(nonce, Aad::from(at.as_bytes()), &mut body).ok()?.len();
    body.truncate(length);
    Some(body)
}

/// The key of one value.
fn derived(key: &Key, salt: &[u8]) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
    let (root, info) = (Prk::new_less_safe(HKDF_SHA256, &key.secret), [salt]);
    let made = root.expand(&info, &AES_256_GCM)?;
    Ok(LessSafeKey::new(UnboundKey::from(made)))
}

fn gcm(secret: &[u8]) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
    let algorithm: &'static Algorithm = match secret.len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        _ => &AES_256_GCM,
    };
    UnboundKey::new(algorithm, secret).map(LessSafeKey::new)
}

fn cbc(secret: &[u8]) -> Result<UnboundCipherKey, aws_lc_rs::error::Unspecified> {
    let algorithm = match secret.len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    UnboundCipherKey::new(algorithm, secret)
}
