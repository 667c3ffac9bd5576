//! What is kept of a bootstrap token: the secrets of type `bootstrap.kubernetes.io/token` in `kube-system`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;
use serde::Deserialize;

use super::name_of;

const PREFIX: &str = "bootstrap-token-";
const ID_LENGTH: usize = 6;

/// A bootstrap token. Its secret signs, so that it is kept; nothing prints it.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct BootstrapTokenView {
    pub metadata: ObjectMeta,
    data: DataView,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct DataView {
    token_id: String,
    token_secret: String,
    expiration: String,
    usage_bootstrap_signing: String,
}

orlop_client::view!(BootstrapTokenView: Secret);

impl std::fmt::Debug for BootstrapTokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootstrapTokenView").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}

impl BootstrapTokenView {
    /// When it ends, if it does. One whose end is no time has ended long ago.
    pub fn ends(&self) -> Option<Timestamp> {
        let text = decoded(&self.data.expiration);
        (!text.is_empty()).then(|| text.parse().unwrap_or(Timestamp::MIN))
    }

    /// Its id and secret, if it may sign now.
    pub fn signing(&self, now: Timestamp) -> Option<(String, String)> {
        let id = name_of(&self.metadata).strip_prefix(PREFIX)?;
        let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        let secret = decoded(&self.data.token_secret);
        let good = id.len() == ID_LENGTH
            && id.bytes().all(plain)
            && decoded(&self.data.token_id) == id
            && !secret.is_empty()
            && decoded(&self.data.usage_bootstrap_signing) == "true"
            && self.ends().is_none_or(|it| now < it);
        good.then(|| (id.to_owned(), secret))
    }
}

fn decoded(text: &str) -> String {
    String::from_utf8(STANDARD.decode(text).unwrap_or_default()).unwrap_or_default()
}
