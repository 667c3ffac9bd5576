//! `Label`: one key and value that objects carry as a label, and how many of which kind do.
//!
//! A `Label` carries itself as its label, so that `kubectl get labels -l app` shows every value of `app`. Its name begins as people read it and
//! ends with a part of a hash, because keys and values have characters that names have not.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Parts;
use crate::kind::{Kind, Names, Scope, Selectable};
use crate::table::{Cell, Column};

const GROUP: &str = "orlop.dev";
const VERSION: &str = "v1";
const NAME: &str = "Label";

/// The longest part of a name that people read: with the hash behind it, far below the 253 bytes that names may have.
const READABLE_BYTES_MAX: usize = 180;

/// How many digits of the hash stand behind it: 40 bits, so that among a million labels two agree once in two clusters, if they read alike, too.
const HASH_DIGITS: usize = 10;

pub(super) const KIND: Kind = Kind::computed(Parts {
    group: GROUP,
    version: VERSION,
    kind: NAME,
    names: Names { plural: "labels", singular: "label", short: &[], categories: &[] },
    scope: Scope::Cluster,
    fields: &[Selectable { path: "key", absent: "", from: &[] }, Selectable { path: "value", absent: "", from: &[] }],
    columns: COLUMNS,
    stored_as: "orlop.dev/labels",
    verbs: &["get", "list", "watch"],
    deprecated: None,
    schema,
});

const COLUMNS: &[Column] = &[
    column("Key", "string", "The label's key.", |it| text(&it["key"])),
    column("Value", "string", "The label's value.", |it| text(&it["value"])),
    column("Objects", "integer", "How many objects carry the label.", |it| {
        Cell::Number(it["objects"].as_i64().unwrap_or_default())
    }),
    column("Kinds", "string", "How many objects of each kind carry the label.", kinds),
    Column {
        priority: 1,
        ..column("Name", "string", "The name by which one label is read.", |it| text(&it["metadata"]["name"]))
    },
];

const fn column(name: &'static str, kind: &'static str, description: &'static str, cell: fn(&Value) -> Cell) -> Column {
    Column { name, kind, format: "", priority: 0, description, cell }
}

fn text(value: &Value) -> Cell {
    Cell::Text(value.as_str().unwrap_or_default().to_owned())
}

/// `pods:3,replicasets.apps:1`.
fn kinds(label: &Value) -> Cell {
    let of = |it: &Value| {
        let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
        format!("{}:{}", crate::status::qualified(&text("group"), &text("resource")), it["objects"])
    };
    let all = label["kinds"].as_array();
    Cell::Text(all.into_iter().flatten().map(of).collect::<Vec<_>>().join(","))
}

fn schema() -> schemars::Schema {
    let of: Value = json!({
        "title": "dev.orlop.v1.Label",
        "description": "Label is one key and value that objects carry as a label, with the number of objects that do. It is computed and cannot be written.",
        "type": "object",
        "required": ["key", "value", "objects", "kinds"],
        "properties": {
            "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object."},
            "kind": {"type": "string", "description": "Kind is a string value representing the REST resource this object represents."},
            "metadata": {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
            "key": {"type": "string", "description": "The label's key."},
            "value": {"type": "string", "description": "The label's value."},
            "objects": {"type": "integer", "format": "int64", "description": "How many objects carry the label."},
            "kinds": {
                "type": "array",
                "description": "How many objects of each kind carry the label.",
                "items": {
                    "type": "object",
                    "required": ["resource", "objects"],
                    "properties": {
                        "group": {"type": "string", "description": "The API group of the kind; not set for the core group."},
                        "resource": {"type": "string", "description": "The plural name of the kind."},
                        "objects": {"type": "integer", "format": "int64", "description": "How many of its objects carry the label."},
                    },
                },
            },
        },
    });
    super::with_types(of)
}

/// How many objects of a kind carry a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Empty for the core group.
    pub group: &'static str,
    /// The plural name.
    pub resource: &'static str,
    pub objects: usize,
}

/// The name of the object of a label: always the same, and another for every label.
pub fn name_of(key: &str, value: &str) -> String {
    let mut out = String::with_capacity(READABLE_BYTES_MAX + HASH_DIGITS + 1);
    for it in key.chars().chain(['-']).chain(value.chars()) {
        let it = if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' };
        if out.len() < READABLE_BYTES_MAX && !(it == '-' && (out.is_empty() || out.ends_with('-'))) {
            out.push(it);
        }
    }
    if !out.is_empty() && !out.ends_with('-') {
        out.push('-');
    }
    // No key holds a NUL, so that no two labels are the same bytes.
    let digest = Sha256::digest(format!("{key}\0{value}"));
    let digits: String = digest.iter().map(|it| format!("{it:02x}")).collect();
    out.push_str(&digits[..HASH_DIGITS]);
    out
}

/// The object of a label, without a resource version.
pub fn object(name: &str, key: &str, value: &str, counts: &[Count]) -> Vec<u8> {
    let kinds: Vec<Value> = counts
        .iter()
        .map(|it| match it.group {
            "" => json!({ "resource": it.resource, "objects": it.objects }),
            group => json!({ "group": group, "resource": it.resource, "objects": it.objects }),
        })
        .collect();
    let objects: usize = counts.iter().map(|it| it.objects).sum();
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": NAME,
        "metadata": { "name": name, "labels": { key: value } },
        "key": key, "value": value, "objects": objects, "kinds": kinds,
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row;

    #[track_caller]
    fn check(key: &str, value: &str, readable: &str) {
        let name = name_of(key, value);
        assert_eq!(&name[..name.len() - HASH_DIGITS], readable);
        assert!(name.len() <= READABLE_BYTES_MAX + HASH_DIGITS + 1);
        assert!(name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-'));
        assert!(!name.starts_with('-'));
    }

    #[test]
    fn names_are_valid_and_differ() {
        check("app", "web", "app-web-");
        check("app.kubernetes.io/name", "My_App.v2", "app-kubernetes-io-name-my-app-v2-");
        check("a", "", "a-");
        check(&format!("{}/{}", "d".repeat(253), "n".repeat(63)), &"v".repeat(63), &format!("{}-", "d".repeat(180)));
        assert_ne!(name_of("a", "b-c"), name_of("a-b", "c"));
        assert_ne!(name_of("a", "B"), name_of("a", "b"));
        assert_eq!(name_of("a", "b"), name_of("a", "b"));
    }

    #[test]
    fn rows_show_what_a_label_is_carried_by() {
        let counts = [
            Count { group: "", resource: "pods", objects: 3 },
            Count { group: "apps", resource: "replicasets", objects: 1 },
        ];
        let json = object("app-web-1", "app", "web", &counts);
        let mut cells = Vec::new();
        Row::parse(&KIND, &json).unwrap().write_cells(&mut cells, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(cells, br#"["app","web",4,"pods:3,replicasets.apps:1","app-web-1"]"#);
        let head = KIND.head(&json).unwrap();
        assert_eq!((&*head.name, &*head.fields[0], &*head.fields[1]), ("app-web-1", "app", "web"));
    }
}
