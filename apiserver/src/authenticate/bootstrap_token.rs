//! Bootstrap tokens: `id.secret`, by which a new machine shows that it was invited.
//!
//! In: the Secrets of type `bootstrap.kubernetes.io/token` in `kube-system`, named `bootstrap-token-<id>`. Out: the user
//! `system:bootstrap:<id>` of the group `system:bootstrappers`. Source: `plugin/pkg/auth/authenticator/token/bootstrap`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::{Objects, digest};
use crate::stage::Identity;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// The longest name of an extra group behind `system:bootstrappers:`.
const EXTRA_GROUP_BYTES_MAX: usize = 256;

/// The id and the secret of a text that has the form of a bootstrap token.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let fits = |text: &str, length| {
        text.len() == length && text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
    };
    (fits(id, ID_LENGTH) && fits(secret, SECRET_LENGTH)).then_some((id, secret))
}

/// Whether such a token was given out, and is good now.
///
/// # Errors
/// Why not, for the log.
pub fn verify(objects: &dyn Objects, id: &str, secret: &str, now: Timestamp) -> Result<Identity, String> {
    let name = format!("bootstrap-token-{id}");
    let refused = |why: &str| format!("bootstrap token {id}: {why}");
    let found = objects.find("", "Secret", NAMESPACE, &name).ok_or_else(|| refused("no such token"))?;
    let object: Value = serde_json::from_slice(&found.json).map_err(|_| refused("its secret cannot be read"))?;
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Err(refused("it is being deleted"));
    }
    if object["type"] != TYPE {
        return Err(refused("the secret is not of the type of tokens"));
    }
    let data = |key: &str| {
        let bytes = STANDARD.decode(object["data"][key].as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    // Compared first, so that only who knows the secret learns anything else.
    if digest(&data("token-secret")) != digest(secret) || data("token-id") != id {
        return Err(refused("the secret is wrong"));
    }
    let expiration = data("expiration");
    if !expiration.is_empty() {
        let until: Timestamp = expiration.parse().map_err(|_| refused("its expiration is no time"))?;
        if now >= until {
            return Err(refused("it has expired"));
        }
    }
    if data("usage-bootstrap-authentication") != "true" {
        return Err(refused("it is not for authentication"));
    }
    let extra = data("auth-extra-groups");
    let mut groups = vec![GROUP];
    for group in extra.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        if !is_extra_group(group) {
            return Err(refused("an extra group is none that tokens may have"));
        }
        groups.push(group);
    }
    Ok(Identity::new(&format!("system:bootstrap:{id}"), &groups))
}

fn is_extra_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    rest.len() <= EXTRA_GROUP_BYTES_MAX
        && rest.bytes().all(|it| plain(it) || it == b':' || it == b'-')
        && rest.bytes().last().is_some_and(plain)
}
