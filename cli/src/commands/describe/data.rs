//! The pages of what only holds something: ConfigMap, Secret, ServiceAccount, Namespace.

use serde_json::Value;

use super::{Page, list, plain, text};

/// How many bytes a base64 text stands for.
fn decoded_bytes(it: &Value) -> usize {
    it.as_str().map_or(0, |it| it.trim_end_matches('=').len() * 3 / 4)
}

fn heading(page: &mut Page, title: &str) {
    page.line(0, "");
    page.line(0, title);
    page.line(0, "====");
}

/// Describes a ConfigMap, with all that it says.
pub fn config_map(page: &mut Page, it: &Value) {
    page.identity(it);
    page.labels(it);
    heading(page, "Data");
    for (key, value) in it["data"].as_object().into_iter().flatten() {
        page.line(0, format!("{key}:"));
        page.line(0, "----");
        page.line(0, value.as_str().unwrap_or_default());
        page.line(0, "");
    }
    heading(page, "BinaryData");
    for (key, value) in it["binaryData"].as_object().into_iter().flatten() {
        page.line(0, format!("{key}: {} bytes", decoded_bytes(value)));
    }
    page.line(0, "");
}

/// Describes a Secret: what it holds is not shown, only how much.
pub fn secret(page: &mut Page, it: &Value) {
    page.identity(it);
    page.labels(it);
    page.line(0, "");
    page.field(0, "Type", plain(&it["type"]));
    heading(page, "Data");
    for (key, value) in it["data"].as_object().into_iter().flatten() {
        page.field(0, key, format!("{} bytes", decoded_bytes(value)));
    }
}

/// The annotation and type of a Secret that holds a ServiceAccount's token.
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const TOKEN: &str = "kubernetes.io/service-account-token";

/// Describes a ServiceAccount; `secrets` are those of its namespace.
pub fn service_account(page: &mut Page, it: &Value, secrets: &[Value]) {
    page.identity(it);
    page.labels(it);
    let names = |values: Vec<&str>| if values.is_empty() { "<none>".to_owned() } else { values.join(", ") };
    let named = |field: &str| names(list(&it[field]).filter_map(|it| text(&it["name"])).collect());
    page.field(0, "Image pull secrets", named("imagePullSecrets"));
    page.field(0, "Mountable secrets", named("secrets"));
    let own = secrets.iter().filter(|secret| {
        secret["type"] == TOKEN && secret["metadata"]["annotations"][ACCOUNT] == it["metadata"]["name"]
    });
    page.field(0, "Tokens", names(own.filter_map(|it| text(&it["metadata"]["name"])).collect()));
}

/// Describes a Namespace.
pub fn namespace(page: &mut Page, it: &Value) {
    page.identity(it);
    page.labels(it);
    page.field(0, "Status", plain(&it["status"]["phase"]));
    let unwell: Vec<Vec<String>> = list(&it["status"]["conditions"])
        .map(|it| ["type", "lastTransitionTime", "status", "reason", "message"].map(|field| plain(&it[field])).to_vec())
        .collect();
    if !unwell.is_empty() {
        page.table("Conditions", &["Type", "LastTransitionTime", "Status", "Reason", "Message"], unwell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let mut page = Page { now: jiff::Timestamp::UNIX_EPOCH, lines: Vec::new() };
        secret(
            &mut page,
            &serde_json::json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "aGlkZGVu"}}),
        );
        let text = page.text();
        assert!(text.contains("key:  6 bytes"), "{text}");
        assert!(!text.contains("aGlkZGVu") && !text.contains("hidden"), "{text}");
    }
}
