//! When a service account's token of a Secret was used last: a label of the Secret tells the day. And which of them may not be used any more.
//!
//! In: Secrets of type `kubernetes.io/service-account-token` whose tokens came with requests. Out: refusals of those that are labelled invalid,
//! and at most one patch a day and Secret, made by a task beside the requests. A use that cannot be written down is told in the log and
//! forgotten: the next day brings the next. Source: KEP-2799, `pkg/serviceaccount/legacy.go`.

use std::collections::{BTreeMap, HashMap};

use http::{Method, Request, header};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Found;

/// The label that tells the day.
pub const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// The label that says since when a token may not be used.
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

const TYPE: &str = "kubernetes.io/service-account-token";

/// How many uses may wait to be written down; what comes when there are more is noted by a later request.
const WAITING_MAX: usize = 256;
/// How many Secrets are remembered as written down: 100 bytes each, under half a megabyte. Beyond, all are asked about anew.
const REMEMBERED_MAX: usize = 4096;

/// A Secret whose token was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// As `2026-01-31`, in UTC.
    pub day: String,
}

/// Notes uses.
#[derive(Debug)]
pub struct LastUsed {
    /// The day that was noted last for each Secret, by uid.
    noted: Mutex<HashMap<String, String>>,
    out: mpsc::Sender<Use>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Slim {
    #[serde(rename = "type")]
    kind: String,
    metadata: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    labels: BTreeMap<String, String>,
}

impl LastUsed {
    /// One, and what is to be given to [`write_down`].
    pub fn new() -> (LastUsed, mpsc::Receiver<Use>) {
        let (out, uses) = mpsc::channel(WAITING_MAX);
        (LastUsed { noted: Mutex::default(), out }, uses)
    }

    /// Notes that the token of a Secret was used.
    ///
    /// # Errors
    /// When it is marked as invalid: the text is Kubernetes'.
    pub fn note(
        &self,
        namespace: &str,
        name: &str,
        account: &str,
        secret: &Found,
        now: Timestamp,
    ) -> Result<(), String> {
        let it: Slim = serde_json::from_slice(&secret.json).unwrap_or_default();
        if it.kind != TYPE {
            return Ok(());
        }
        let labels = &it.metadata.labels;
        let day = now.strftime("%Y-%m-%d").to_string();
        if labels.get(LAST_USED) != Some(&day) {
            self.send(Use { namespace: namespace.to_owned(), name: name.to_owned(), uid: secret.uid.clone(), day });
        }
        if labels.get(INVALID_SINCE).is_some_and(|it| !it.is_empty()) {
            return Err(format!(
                "the token in secret {namespace}/{name} for service account {namespace}/{account} has been marked invalid. Use tokens \
                 from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the \
                 secret to temporarily allow use of this token"
            ));
        }
        Ok(())
    }

    fn send(&self, it: Use) {
        let mut noted = self.noted.lock();
        if noted.get(&it.uid) == Some(&it.day) {
            return;
        }
        if noted.len() >= REMEMBERED_MAX {
            noted.clear();
        }
        let (uid, day) = (it.uid.clone(), it.day.clone());
        if self.out.try_send(it).is_ok() {
            noted.insert(uid, day);
        }
    }
}

/// Writes uses down, until `shutdown`.
pub async fn write_down(mut uses: mpsc::Receiver<Use>, client: kube::Client, shutdown: CancellationToken) {
    loop {
        let it = tokio::select! {
            () = shutdown.cancelled() => return,
            it = uses.recv() => match it {
                Some(it) => it,
                None => return,
            },
        };
        let path = format!("/api/v1/namespaces/{}/secrets/{}", it.namespace, it.name);
        // Another Secret of the name is not meant.
        let patch = json!({ "metadata": { "uid": it.uid, "labels": { LAST_USED: it.day } } });
        let request = Request::builder().method(Method::PATCH).uri(&path);
        let request =
            request.header(header::CONTENT_TYPE, "application/merge-patch+json").body(patch.to_string().into_bytes());
        let written = match request {
            Ok(request) => client.request_text(request).await.map(drop),
            Err(error) => Err(kube::Error::HttpError(error)),
        };
        if let Err(error) = written {
            tracing::warn!(%error, path, "the use of a token could not be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_told_once_a_day() {
        let (used, mut uses) = LastUsed::new();
        let secret = |kind: &str, labels: serde_json::Value| Found {
            uid: "u".into(),
            deleting: false,
            json: json!({ "type": kind, "metadata": { "labels": labels } }).to_string().into(),
        };
        let mut check = |secret: &Found, now: &str, expected: Option<&str>| {
            used.note("a", "token", "bot", secret, now.parse().unwrap()).unwrap();
            let told = uses.try_recv().ok();
            assert_eq!(told.as_ref().map(|it| it.day.as_str()), expected, "{told:?}");
        };
        check(&secret("Opaque", json!({})), "2026-01-01T00:00:00Z", None);
        check(&secret(TYPE, json!({ LAST_USED: "2026-01-01" })), "2026-01-01T23:00:00Z", None);
        check(&secret(TYPE, json!({ LAST_USED: "2025-12-31" })), "2026-01-01T00:00:00Z", Some("2026-01-01"));
        check(&secret(TYPE, json!({})), "2026-01-01T12:00:00Z", None);
        check(&secret(TYPE, json!({})), "2026-01-02T00:00:00Z", Some("2026-01-02"));
        let invalid = secret(TYPE, json!({ INVALID_SINCE: "2026-01-01" }));
        let why = used.note("a", "token", "bot", &invalid, "2026-01-02T00:00:00Z".parse().unwrap()).unwrap_err();
        assert!(
            why.starts_with("the token in secret a/token for service account a/bot has been marked invalid."),
            "{why}"
        );
    }
}
