//! `PodMetrics`: what each container of a pod uses. It has the pod's name and labels.

use serde_json::{Value, json};

use super::Parts;
use super::usage::{self, GROUP, Usage, VERSION, Window, amount, columns};
use crate::kind::{Kind, Names, Scope};
use crate::quantity::Quantity;
use crate::table::{Cell, Column};

pub(super) const KIND: Kind = Kind::computed(Parts {
    group: GROUP,
    version: VERSION,
    kind: "PodMetrics",
    names: Names { plural: "pods", singular: "pod", short: &[], categories: &[] },
    scope: Scope::Namespaced,
    fields: &[],
    columns: &COLUMNS,
    stored_as: "metrics.k8s.io/pods",
    verbs: &["get", "list"],
    deprecated: None,
    schema: || {
        let container = json!({
            "type": "object",
            "required": ["name", "usage"],
            "properties": {
                "name": {"type": "string", "description": "Container name corresponding to the one from pod.spec.containers."},
                "usage": usage::usage_schema(),
            },
        });
        usage::schema(
            "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics",
            "PodMetrics sets resource usage metrics of a pod.",
            json!({ "containers": {"type": "array", "description": "Metrics for all containers are collected within the same time window.", "items": container} }),
        )
    },
});

const COLUMNS: [Column; 3] = columns(|it| sum(it, "cpu"), |it| sum(it, "memory"));

/// What all containers use of a resource.
fn sum(pod: &Value, resource: &str) -> Cell {
    let all = pod["containers"].as_array().into_iter().flatten().map(|it| amount(it, resource));
    let total = all.reduce(|a, b| a + b).unwrap_or(Quantity::ZERO);
    Cell::Text(total.to_string())
}

/// The object of a pod, without a resource version; `meta` are its name, namespace and labels.
pub fn object(meta: &Value, window: &Window, containers: &[(&str, Usage)]) -> Vec<u8> {
    let containers: Vec<Value> =
        containers.iter().map(|(name, usage)| json!({"name": name, "usage": usage.object()})).collect();
    json!({
        "kind": "PodMetrics", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": meta,
        "timestamp": crate::meta::whole_seconds(window.at).to_string(), "window": window.length(), "containers": containers,
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row;

    #[test]
    fn a_row_shows_the_sum_of_the_containers() {
        let window = Window { at: jiff::Timestamp::UNIX_EPOCH, length_ms: 10_500 };
        let of = |cpu_nanocores, memory_bytes| Usage { cpu_nanocores, memory_bytes };
        let containers = [("a", of(1_500_000, 1 << 20)), ("b", of(500_000, 3 << 20))];
        let json = object(&json!({"name": "p", "namespace": "n"}), &window, &containers);
        let mut cells = Vec::new();
        Row::parse(&KIND, &json).unwrap().write_cells(&mut cells, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(String::from_utf8(cells).unwrap(), r#"["p","2m","4Mi","10.5s"]"#);
    }
}
