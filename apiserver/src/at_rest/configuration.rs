//! Which resources are encrypted with what: an EncryptionConfiguration, as kube-apiserver's `--encryption-provider-config` names one.
//!
//! In: a file that a user gives, or the one in `<data-dir>/pki/` that the first start makes with a key of its own for Secrets. Out: a
//! [`Configuration`] that finds the providers of a key. Later entries of the file count only for what no earlier one names. The providers
//! `secretbox` and `kms` are refused: the one has a cipher that our crypto provider lacks, the other needs a plugin.
//! Source: `k8s.io/apiserver/pkg/server/options/encryptionconfig`.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orlop_api::kinds::KINDS;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::transform::{Cipher, Provider, Transformers};
use crate::pki::{PkiError, files};

/// The file that a first start makes.
pub(crate) const OWN_FILE: &str = "encryption.yaml";
/// A key of AES-256, in bytes.
const KEY_BYTES: usize = 32;
/// How much of the key's digest names it: who restores a wrong key sees that it is another.
const NAME_DIGITS: usize = 8;

/// Why values cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error(transparent)]
    File(#[from] PkiError),
    #[error("{0} is not there")]
    Missing(PathBuf),
    #[error("{path} is no EncryptionConfiguration: {why}")]
    Malformed { path: PathBuf, why: String },
    #[error("the operating system has no randomness for a key")]
    Randomness,
}

/// Which keys of the store have which providers.
pub struct Configuration {
    /// Prefixes of keys, each with the place of its providers; the first that fits counts.
    prefixes: Vec<(String, usize)>,
    transformers: Vec<Transformers>,
}

impl std::fmt::Debug for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configuration").field("prefixes", &self.prefixes).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    resources: Vec<String>,
    providers: Vec<Given>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
struct Given {
    aesgcmhkdf: Option<Keys>,
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<serde_json::Value>,
    kms: Option<serde_json::Value>,
    identity: Option<Nothing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    secret: String,
}

impl Configuration {
    /// Reads the file that is given, or that of the data directory, which the first call makes.
    ///
    /// # Errors
    /// [`ConfigurationError`] says which file is to be mended.
    pub fn open(given: Option<&Path>, data_dir: &Path) -> Result<Self, ConfigurationError> {
        let (path, text) = match given {
            Some(path) => {
                (path.to_owned(), files::read(path)?.ok_or_else(|| ConfigurationError::Missing(path.to_owned()))?)
            }
            None => {
                let path = data_dir.join("pki").join(OWN_FILE);
                let text = match files::read(&path)? {
                    Some(text) => text,
                    None => {
                        let text = fresh()?;
                        // Before the first Secret is written: a lost key would be a lost Secret.
                        files::write_durably(&path, &text)?;
                        text
                    }
                };
                (path, text)
            }
        };
        Self::parse(&text).map_err(|why| ConfigurationError::Malformed { path, why })
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// What is wrong with it; never a part of a key.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Our own file is JSON below its comment, which YAML takes, too: a start then does without the YAML reader and its memory.
        let mut own = text;
        while own.starts_with('#') {
            own = own.split_once('\n').map_or("", |it| it.1);
        }
        // What the parser says may quote the text, keys included.
        let file: File = serde_json::from_str(own).or_else(|_| serde_saphyr::from_str(text)).map_err(|_| {
            "it is not YAML of that form: resources: [{resources: [...], providers: [{aesgcm: {keys: [{name, secret}]}}]}]"
        })?;
        if file.kind != "EncryptionConfiguration" || !file.api_version.starts_with("apiserver.config.k8s.io/") {
            return Err(format!("it is a {} of {}", file.kind, file.api_version));
        }
        let mut out = Configuration { prefixes: Vec::new(), transformers: Vec::new() };
        for (place, entry) in file.resources.iter().enumerate() {
            if entry.providers.is_empty() {
                return Err(format!("resources[{place}].providers: Required value: at least one provider is required"));
            }
            for resource in &entry.resources {
                for prefix in prefixes(resource)? {
                    out.prefixes.push((prefix, place));
                }
            }
            let providers = entry.providers.iter().map(provider).collect::<Result<_, _>>();
            out.transformers
                .push(Transformers::new(providers.map_err(|why| format!("resources[{place}].providers: {why}"))?));
        }
        Ok(out)
    }

    /// The providers of what stands under this key of the store; none if it is kept as it is.
    pub fn of(&self, key: &str) -> Option<&Transformers> {
        let (_, place) = self.prefixes.iter().find(|(prefix, _)| key.starts_with(&**prefix))?;
        self.transformers.get(*place)
    }
}

/// Where the objects of a resource stand: `secrets`, `deployments.apps`, `*.apps`, `*.` (the core group), `*.*`.
fn prefixes(resource: &str) -> Result<Vec<String>, String> {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    if plural == "*" && group == "*" {
        return Ok(vec!["/registry/".to_owned()]);
    }
    if plural.is_empty() || group.contains('*') || (plural == "*" && resource == "*") {
        return Err(format!("{resource:?} names no resource"));
    }
    let mut out: Vec<String> = KINDS
        .iter()
        .filter(|it| it.group == group && (plural == "*" || it.names.plural == plural))
        .map(orlop_api::kind::Kind::prefix)
        .collect();
    // Custom resources stand below their group.
    if group.contains('.') {
        out.push(if plural == "*" { format!("/registry/{group}/") } else { format!("/registry/{group}/{plural}/") });
    }
    if out.is_empty() { Err(format!("{resource:?} names no resource of this server")) } else { Ok(out) }
}

fn provider(it: &Given) -> Result<Provider, String> {
    if it.secretbox.is_some() || it.kms.is_some() {
        return Err("secretbox and kms are not supported: use aesgcmhkdf, aesgcm, aescbc or identity".to_owned());
    }
    let ciphers = [(Cipher::Derived, &it.aesgcmhkdf), (Cipher::Gcm, &it.aesgcm), (Cipher::Cbc, &it.aescbc)];
    let given: Vec<(Cipher, &Keys)> =
        ciphers.into_iter().filter_map(|(cipher, keys)| Some((cipher, keys.as_ref()?))).collect();
    match (&given[..], &it.identity) {
        ([], Some(_)) => Ok(Provider::Identity),
        ([(cipher, keys)], None) => {
            if keys.keys.is_empty() {
                return Err("keys: Required value: at least one key is required".to_owned());
            }
            let mut decoded: Vec<(String, Vec<u8>)> = Vec::new();
            for key in &keys.keys {
                if key.name.is_empty() || key.name.contains(':') || decoded.iter().any(|(name, _)| *name == key.name) {
                    return Err(format!("keys: {:?} is no name of its own for a key", key.name));
                }
                let secret =
                    STANDARD.decode(&key.secret).map_err(|_| format!("the key {:?} is not base64", key.name))?;
                decoded.push((key.name.clone(), secret));
            }
            Provider::keys(*cipher, &decoded)
        }
        _ => Err("provider does not contain any of the expected providers, or more than one".to_owned()),
    }
}

/// The text of a configuration with a new key, for Secrets.
fn fresh() -> Result<String, ConfigurationError> {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| ConfigurationError::Randomness)?;
    let digest: String = Sha256::digest(key).iter().map(|it| format!("{it:02x}")).collect();
    Ok(format!(
        "# Made at the first start. To change the key, put a new one first and start anew; remove the old one when no value is under it.\n\
         # Secrets from before encryption are read by the provider `identity`.\n\
         {{\n\
         \x20 \"apiVersion\": \"apiserver.config.k8s.io/v1\",\n\
         \x20 \"kind\": \"EncryptionConfiguration\",\n\
         \x20 \"resources\": [{{\n\
         \x20   \"resources\": [\"secrets\"],\n\
         \x20   \"providers\": [\n\
         \x20     {{\"aesgcmhkdf\": {{\"keys\": [{{\"name\": \"key-{}\", \"secret\": \"{}\"}}]}}}},\n\
         \x20     {{\"identity\": {{}}}}\n\
         \x20   ]\n\
         \x20 }}]\n\
         }}\n",
        &digest[..NAME_DIGITS],
        STANDARD.encode(key)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_configuration_encrypts_secrets_and_nothing_else() {
        let made = Configuration::parse(&fresh().unwrap()).unwrap();
        assert!(made.of("/registry/secrets/default/a").is_some());
        assert!(made.of("/registry/configmaps/default/a").is_none());
        assert_ne!(fresh().unwrap(), fresh().unwrap());
        // As whoever edits it may: it is YAML.
        let edited = fresh().unwrap().replace("\"resources\":", "resources:");
        assert!(Configuration::parse(&edited).unwrap().of("/registry/secrets/default/a").is_some());
    }

    #[test]
    fn the_file_is_made_once_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pki")).unwrap();
        Configuration::open(None, dir.path()).unwrap();
        let path = dir.path().join("pki").join(OWN_FILE);
        let first = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        Configuration::open(None, dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
        let missing = Configuration::open(Some(&dir.path().join("no")), dir.path()).unwrap_err().to_string();
        assert!(missing.ends_with("no is not there"), "{missing}");
    }

    #[track_caller]
    fn check(resources: &str, providers: &str, expected: Result<&[(&str, bool)], &str>) {
        let text = format!(
            "{{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{{resources: [{resources}], providers: [{providers}]}}]}}"
        );
        match (Configuration::parse(&text), expected) {
            (Ok(made), Ok(keys)) => {
                for (key, encrypted) in keys {
                    assert_eq!(made.of(key).is_some(), *encrypted, "{key}");
                }
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn resources_are_named_as_in_kubernetes() {
        let (secret, map, deployment) =
            ("/registry/secrets/d/a", "/registry/configmaps/d/a", "/registry/deployments/d/a");
        let good = "{identity: {}}";
        check("secrets", good, Ok(&[(secret, true), (map, false), (deployment, false)]));
        check("deployments.apps, configmaps", good, Ok(&[(secret, false), (map, true), (deployment, true)]));
        check("'*.'", good, Ok(&[(secret, true), (map, true), (deployment, false)]));
        check("'*.apps'", good, Ok(&[(secret, false), (deployment, true)]));
        check("'*.*'", good, Ok(&[(secret, true), (deployment, true), ("/registry/x.io/ys/a", true)]));
        check("ys.x.io", good, Ok(&[("/registry/x.io/ys/a", true), ("/registry/x.io/zs/a", false)]));
        check("nothings", good, Err("names no resource"));
        check("'*'", good, Err("names no resource"));
    }

    #[test]
    fn mistakes_are_told_without_the_key() {
        check("secrets", "{secretbox: {keys: []}}", Err("not supported"));
        check("secrets", "{aesgcm: {keys: []}}", Err("at least one key"));
        check("secrets", "{aesgcm: {keys: [{name: a, secret: c2hvcnQ=}]}}", Err("has 5 bytes"));
        check("secrets", "{aesgcm: {keys: [{name: a, secret: '#'}]}}", Err("is not base64"));
        check("secrets", "{aescbc: {keys: [{name: 'a:b', secret: c2hvcnQ=}]}}", Err("no name of its own"));
        check("secrets", "", Err("at least one provider"));
        check("secrets", "{rot13: {}}", Err("not YAML of that form"));
    }
}
