//! The text of kubeconfig files: one cluster, one user, one context, with all keys inside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Pair;

/// The name of the context and of the cluster.
pub const CONTEXT: &str = "orlop";

/// A kubeconfig for `user` at `server` (a URL), who shows `client`.
pub fn text(server: &str, ca: &str, user: &str, client: &Pair) -> String {
    let (ca, certificate, key) =
        (STANDARD.encode(ca), STANDARD.encode(&client.certificate), STANDARD.encode(&client.key));
    // In the order in which `kubectl config view` prints the fields. A user's name may hold colons, so it is quoted.
    format!(
        "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {ca}
    server: {server}
  name: {CONTEXT}
contexts:
- context:
    cluster: {CONTEXT}
    user: \"{user}\"
  name: {CONTEXT}
current-context: {CONTEXT}
kind: Config
preferences: {{}}
users:
- name: \"{user}\"
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_kubeconfig() {
        let client = Pair { certificate: "crt".to_owned(), key: "key".to_owned() };
        let text = text("https://127.0.0.1:6443", "ca", "system:node:n1", &client);
        let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("orlop"));
        assert_eq!(config.contexts[0].context.as_ref().unwrap().user.as_deref(), Some("system:node:n1"));
        assert_eq!(config.clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some("https://127.0.0.1:6443"));
    }
}
