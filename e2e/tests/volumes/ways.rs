//! The ways by which an object's keys become files: a ConfigMap or a Secret, by itself or projected. Kubernetes has the same tests for all four.

use serde_json::{Value, json};

/// One of the ways.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// A part of its volumes' names.
    pub name: &'static str,
    pub is_secret: bool,
    pub is_projected: bool,
}

/// All four.
pub const WAYS: [Way; 4] = [
    Way { name: "config-map", is_secret: false, is_projected: false },
    Way { name: "secret", is_secret: true, is_projected: false },
    Way { name: "projected-config-map", is_secret: false, is_projected: true },
    Way { name: "projected-secret", is_secret: true, is_projected: true },
];

impl Way {
    /// The value that the object's key has: in a ConfigMap this one, in a Secret one of its own.
    pub fn value(self, value: &str) -> String {
        if self.is_secret { format!("secret-{value}") } else { value.to_owned() }
    }

    /// The source of a volume out of the object of this name; `more` is what else is said of the object: `items`, `optional`.
    pub fn source(self, object: &str, default_mode: Option<u32>, more: &Value) -> Value {
        let kind = if self.is_secret { "secret" } else { "configMap" };
        let named = if self.is_secret && !self.is_projected { "secretName" } else { "name" };
        let mut own = more.clone();
        own[named] = object.into();
        let (outer, mut source) =
            if self.is_projected { ("projected", json!({ "sources": [{ kind: own }] })) } else { (kind, own) };
        if let Some(mode) = default_mode {
            source["defaultMode"] = mode.into();
        }
        json!({ outer: source })
    }
}

/// A ConfigMap and a Secret of the same name with the same keys; the Secret's values begin with `secret-`.
pub fn objects(name: &str, data: &[(&str, &str)]) -> [Value; 2] {
    let values = |prefix: &str| -> Value { data.iter().map(|(key, it)| (*key, format!("{prefix}{it}"))).collect() };
    [
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": values("") }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": values("secret-") }),
    ]
}

/// Objects as one manifest.
pub fn manifest(objects: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}
