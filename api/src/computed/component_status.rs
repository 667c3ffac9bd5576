//! `ComponentStatus`: whether the parts of the control plane are well. Kubernetes deprecates it, and clients ask for it still.

use serde_json::{Value, json};

use super::Parts;
use crate::kind::{Kind, Names, Scope};
use crate::table::{Cell, Column};

pub(super) const KIND: Kind = Kind::computed(Parts {
    group: "",
    version: "v1",
    kind: "ComponentStatus",
    names: Names { plural: "componentstatuses", singular: "componentstatus", short: &["cs"], categories: &[] },
    scope: Scope::Cluster,
    fields: &[],
    columns: COLUMNS,
    stored_as: "componentstatuses",
    verbs: &["get", "list"],
    deprecated: Some("v1 ComponentStatus is deprecated in v1.19+"),
    schema: || schemars::schema_for!(k8s_openapi::api::core::v1::ComponentStatus),
});

const COLUMNS: &[Column] = &[
    column("Status", "Status of the component conditions", |it| {
        Cell::Text(match health(it)["status"].as_str() {
            Some("True") => "Healthy".to_owned(),
            Some(_) => "Unhealthy".to_owned(),
            None => "Unknown".to_owned(),
        })
    }),
    column("Message", "Message of the component conditions", |it| text(&health(it)["message"])),
    column("Error", "Error of the component conditions", |it| text(&health(it)["error"])),
];

const fn column(name: &'static str, description: &'static str, cell: fn(&Value) -> Cell) -> Column {
    Column { name, kind: "string", format: "", priority: 0, description, cell }
}

fn health(it: &Value) -> &Value {
    let conditions = it["conditions"].as_array();
    conditions.and_then(|it| it.iter().find(|it| it["type"] == "Healthy")).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> Cell {
    Cell::Text(value.as_str().unwrap_or_default().to_owned())
}

/// The object of a part: well, or not, and why.
pub fn object(name: &str, health: Result<(), &str>) -> Vec<u8> {
    let (status, message) = match health {
        Ok(()) => ("True", "ok"),
        Err(why) => ("False", why),
    };
    json!({
        "apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": status, "message": message}],
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row;

    fn check(health: Result<(), &str>, cells: &str) {
        let mut out = Vec::new();
        Row::parse(&KIND, &object("scheduler", health)).unwrap().write_cells(&mut out, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(String::from_utf8(out).unwrap(), cells);
    }

    #[test]
    fn rows_show_who_is_well() {
        check(Ok(()), r#"["scheduler","Healthy","ok",""]"#);
        check(Err("nobody leads"), r#"["scheduler","Unhealthy","nobody leads",""]"#);
    }
}
