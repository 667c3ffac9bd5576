//! `NodeMetrics`: what a node uses. It has the node's name and labels.

use serde_json::{Value, json};

use super::Parts;
use super::usage::{self, GROUP, Usage, VERSION, Window, amount, columns};
use crate::kind::{Kind, Names, Scope};
use crate::table::{Cell, Column};

pub(super) const KIND: Kind = Kind::computed(Parts {
    group: GROUP,
    version: VERSION,
    kind: "NodeMetrics",
    names: Names { plural: "nodes", singular: "node", short: &[], categories: &[] },
    scope: Scope::Cluster,
    fields: &[],
    columns: &COLUMNS,
    stored_as: "metrics.k8s.io/nodes",
    verbs: &["get", "list"],
    deprecated: None,
    schema: || {
        usage::schema(
            "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics",
            "NodeMetrics sets resource usage metrics of a node.",
            json!({ "usage": usage::usage_schema() }),
        )
    },
});

const COLUMNS: [Column; 3] =
    columns(|it| Cell::Text(amount(it, "cpu").to_string()), |it| Cell::Text(amount(it, "memory").to_string()));

/// The object of a node, without a resource version; `meta` are its name and labels.
pub fn object(meta: &Value, window: &Window, usage: &Usage) -> Vec<u8> {
    json!({
        "kind": "NodeMetrics", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": meta,
        "timestamp": crate::meta::whole_seconds(window.at).to_string(), "window": window.length(), "usage": usage.object(),
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row;

    #[test]
    fn a_row_shows_what_is_used() {
        let window = Window { at: jiff::Timestamp::UNIX_EPOCH, length_ms: 15_000 };
        let usage = Usage { cpu_nanocores: 250_000_000, memory_bytes: 1 << 30 };
        let json = object(&json!({"name": "n1"}), &window, &usage);
        let mut cells = Vec::new();
        Row::parse(&KIND, &json).unwrap().write_cells(&mut cells, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(String::from_utf8(cells).unwrap(), r#"["n1","250m","1Gi","15s"]"#);
    }
}
