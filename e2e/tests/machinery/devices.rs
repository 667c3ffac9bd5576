//! The kinds of devices by every operation (of `resource.k8s.io`, for which no driver is known here: they are only objects).

use anyhow::Result;
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use super::operations::{Kind, walk_all};

const GROUP: &str = "resource.k8s.io";
const DRIVER: &str = "e2e.example.com";

pub fn operations(it: &Scene<'_>) -> Result<()> {
    walk_all(it, &[classes(), claims(), templates(), slices()])
}

fn classes() -> Kind {
    let selector = json!({ "cel": { "expression": format!("device.driver == '{DRIVER}'") } });
    let change = json!({ "spec": { "selectors": [selector] } });
    Kind::new(GROUP, "DeviceClass", "deviceclasses", json!({ "spec": {} }), change).of_cluster()
}

fn claims() -> Kind {
    let request = json!({ "name": "one", "exactly": { "deviceClassName": "class" } });
    let body = json!({ "spec": { "devices": { "requests": [request] } } });
    let result = json!({ "driver": DRIVER, "pool": "pool", "device": "one", "request": "one" });
    let user = json!({ "resource": "pods", "name": "user", "uid": "1" });
    Kind::new(GROUP, "ResourceClaim", "resourceclaims", body, json!({})).told(
        Value::Null,
        json!({ "allocation": { "devices": { "results": [result] } } }),
        json!({ "reservedFor": [user] }),
    )
}

fn templates() -> Kind {
    let request = json!({ "name": "one", "exactly": { "deviceClassName": "class" } });
    let body = json!({ "spec": { "spec": { "devices": { "requests": [request] } } } });
    Kind::new(GROUP, "ResourceClaimTemplate", "resourceclaimtemplates", body, json!({}))
}

fn slices() -> Kind {
    let pool = json!({ "name": "pool", "generation": 1, "resourceSliceCount": 1 });
    let body = json!({ "spec": { "driver": DRIVER, "pool": pool, "nodeName": "node-operations", "devices": [{ "name": "one" }] } });
    let change = json!({ "spec": { "devices": [{ "name": "two" }] } });
    Kind::new(GROUP, "ResourceSlice", "resourceslices", body, change).of_cluster()
}
