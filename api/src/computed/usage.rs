//! What the kinds of `metrics.k8s.io` have in common: amounts of CPU and memory, their columns and their schemas.
//!
//! Source: `k8s.io/metrics/pkg/apis/metrics/v1beta1`; columns as metrics-server's `pkg/api/table.go`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::quantity::{Format, Quantity};
use crate::table::{Cell, Column};

/// The group of both kinds.
pub const GROUP: &str = "metrics.k8s.io";
/// Its only version.
pub const VERSION: &str = "v1beta1";

/// What was used over a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// In thousand-millionths of a core.
    pub cpu_nanocores: u64,
    pub memory_bytes: u64,
}

impl Usage {
    /// As the API writes it: `{"cpu": "12345678n", "memory": "1024Ki"}`.
    pub fn object(&self) -> Value {
        let memory = Quantity::from_units(i64::try_from(self.memory_bytes).unwrap_or(i64::MAX), Format::BinarySi);
        json!({ "cpu": format!("{}{}", self.cpu_nanocores, if self.cpu_nanocores == 0 { "" } else { "n" }), "memory": memory.to_string() })
    }
}

/// When it was measured: the end of the window, and how long that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub at: Timestamp,
    pub length_ms: u64,
}

impl Window {
    /// The length as Go writes a duration: `15.123s`, `1m5.2s`.
    pub fn length(&self) -> String {
        let (minutes, ms) = (self.length_ms / 60_000, self.length_ms % 60_000);
        let seconds = ms as f64 / 1000.0;
        let (hours, minutes) = (minutes / 60, minutes % 60);
        match (hours, minutes) {
            (0, 0) => format!("{seconds}s"),
            (0, _) => format!("{minutes}m{seconds}s"),
            _ => format!("{hours}h{minutes}m{seconds}s"),
        }
    }
}

/// The columns after the name.
pub const fn columns(cpu: fn(&Value) -> Cell, memory: fn(&Value) -> Cell) -> [Column; 3] {
    [
        Column { name: "cpu", kind: "string", format: "quantity", priority: 0, description: "", cell: cpu },
        Column { name: "memory", kind: "string", format: "quantity", priority: 0, description: "", cell: memory },
        Column {
            name: "Window",
            kind: "string",
            format: "duration",
            priority: 0,
            description: "",
            cell: |it| Cell::Text(it["window"].as_str().unwrap_or_default().to_owned()),
        },
    ]
}

/// The amount of a resource in an object's `usage`; nothing where there is none.
pub(super) fn amount(it: &Value, resource: &str) -> Quantity {
    it["usage"][resource].as_str().and_then(|it| Quantity::parse(it).ok()).unwrap_or(Quantity::ZERO)
}

/// The schema of a kind: what both have, and `own`.
pub(super) fn schema(title: &str, description: &str, own: Value) -> schemars::Schema {
    let mut properties = json!({
        "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object."},
        "kind": {"type": "string", "description": "Kind is a string value representing the REST resource this object represents."},
        "metadata": {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
        "timestamp": {"type": "string", "format": "date-time", "description": "The end of the window over which the usage was measured."},
        "window": {"type": "string", "description": "The length of the window over which the usage was measured."},
    });
    let mut required = vec![json!("timestamp"), json!("window")];
    for (name, of) in own.as_object().into_iter().flatten() {
        properties[name] = of.clone();
        required.push(json!(name));
    }
    let of = json!({
        "title": title, "description": description, "type": "object", "required": required, "properties": properties,
    });
    super::with_types(of)
}

/// The schema of `usage`.
pub(super) fn usage_schema() -> Value {
    json!({
        "type": "object",
        "description": "The amount of each resource that was used.",
        "additionalProperties": {"type": "string"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_metrics_server_does() {
        let check = |cpu_nanocores, memory_bytes, cpu: &str, memory: &str| {
            let told = Usage { cpu_nanocores, memory_bytes }.object();
            assert_eq!(told, json!({"cpu": cpu, "memory": memory}));
        };
        check(12_345_678, 10 << 20, "12345678n", "10Mi");
        check(0, 1536 << 10, "0", "1536Ki");
    }

    #[test]
    fn windows_are_written_as_go_does() {
        let check = |length_ms, expected: &str| {
            assert_eq!(Window { at: Timestamp::UNIX_EPOCH, length_ms }.length(), expected);
        };
        check(15_123, "15.123s");
        check(10_000, "10s");
        check(65_200, "1m5.2s");
        check(3_600_000, "1h0m0s");
    }
}
