//! What is encoded comes back: every built-in kind, filled in by its schema, and the bytes that Go writes for a few.

use serde_json::{Map, Value, json};

use super::*;
use crate::kinds::KINDS;
use crate::openapi::schema;
use crate::protobuf::decode;
use crate::protobuf::wire::{Reader, Wire};

/// A value of everything that a schema has, no deeper than needed for kinds that hold themselves.
fn filled(schemas: &Map<String, Value>, of: &Value, depth: usize) -> Value {
    if let Some(name) = of["$ref"].as_str().and_then(|it| it.rsplit('/').next()) {
        return match name.rsplit('.').next().unwrap_or_default() {
            "Quantity" => "250m".into(),
            "IntOrString" => {
                if depth.is_multiple_of(2) {
                    json!(8080)
                } else {
                    json!("25%")
                }
            }
            "Time" => "2026-11-21T10:00:00Z".into(),
            "MicroTime" => "2026-11-21T10:00:00.123456Z".into(),
            "FieldsV1" | "RawExtension" => json!({"f:spec": {}}),
            "ByteString" => "AAEC/w==".into(),
            // Definitions hold themselves; their schemas have tests of their own.
            it if it.starts_with("JSONSchemaProps") => json!({"type": "object"}),
            _ => filled(schemas, &schemas[name], depth + 1),
        };
    }
    if let Some(inner) = of["allOf"][0].as_object() {
        return filled(schemas, &Value::Object(inner.clone()), depth);
    }
    match of["type"].as_str() {
        Some("string") if of["format"] == "byte" => "AAEC/w==".into(),
        Some("string") => "text".into(),
        Some("integer") => (-7 * (depth as i64 % 2) + 300).into(),
        Some("boolean") => true.into(),
        Some("array") => vec![filled(schemas, &of["items"], depth + 1); 2].into(),
        Some("object") if of["additionalProperties"].is_object() => {
            let value = filled(schemas, &of["additionalProperties"], depth + 1);
            json!({"key": value, "other": value})
        }
        Some("object") => {
            let properties = of["properties"].as_object().into_iter().flatten();
            properties.map(|(name, it)| (name.clone(), filled(schemas, it, depth))).collect()
        }
        _ => Value::Null,
    }
}

#[test]
fn every_kind_comes_back_as_it_went() {
    let kinds: Vec<_> = KINDS.iter().collect();
    let schemas: Map<String, Value> = schema::schemas(&kinds, &[], schema::Form::V2).into_iter().collect();
    for kind in KINDS.iter().filter(|it| speaks(it.kind, &it.api_version())) {
        let gvk = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let of = schemas.values().find(|it| it["x-kubernetes-group-version-kind"][0] == gvk);
        let mut object = filled(&schemas, of.unwrap_or_else(|| panic!("no schema of {kind:?}")), 0);
        object["kind"] = kind.kind.into();
        object["apiVersion"] = kind.api_version().into();
        // Of which kind a nested object is stands in no message, in Kubernetes neither.
        for template in
            object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten()
        {
            template.as_object_mut().unwrap().retain(|name, _| !["kind", "apiVersion"].contains(&name.as_str()));
        }
        assert!(object["metadata"]["managedFields"].is_array(), "{kind:?}");
        let body = of_value(&object).unwrap_or_else(|| panic!("no message of {kind:?}"));
        let back = decode(&body, "", "").unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert!(back == object, "{kind:?} came back otherwise");
        let message = message_of(kind.kind, &kind.api_version(), object.to_string().as_bytes()).unwrap();
        let partial = partial_within(&message).unwrap();
        assert_eq!(Some(partial), partial_of(object.to_string().as_bytes()).as_deref(), "{kind:?}");
    }
}

#[test]
fn zero_and_nothing_stay_apart() {
    let object = json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"},
        "spec": {
            "terminationGracePeriodSeconds": 0, "hostNetwork": false, "securityContext": {}, "nodeName": "",
            "containers": [{"name": "c", "resources": {}, "args": [], "command": null}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
        "status": {"startTime": "1970-01-01T00:00:00Z", "conditions": [{"type": "Ready", "lastProbeTime": null}]},
    });
    let back = decode(&of_value(&object).unwrap(), "", "").unwrap();
    let expected = json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"},
        "spec": {
            "terminationGracePeriodSeconds": 0, "securityContext": {},
            "containers": [{"name": "c", "resources": {}}], "volumes": [{"name": "v", "emptyDir": {}}],
        },
        "status": {"startTime": "1970-01-01T00:00:00Z", "conditions": [{"type": "Ready"}]},
    });
    assert_eq!(back, expected);
}

#[test]
fn bodies_are_those_that_go_writes() {
    // runtime.Unknown{TypeMeta{"v1", "ConfigMap"}, Raw, "", ""} around ConfigMap{metadata.name: "a", data: {"k": "v"}}.
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let raw = b"\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v";
    let mut expected = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d".to_vec();
    expected.extend_from_slice(raw);
    expected.extend_from_slice(b"\x1a\0\x22\0");
    assert_eq!(of_value(&object).unwrap(), expected);
    assert_eq!(body("v1", "ConfigMap", raw), expected);
    let list = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7", "remainingItemCount": 3}, "items": [object]});
    let meta = ListMeta { resource_version: "7", continue_token: "", remaining: Some(3) };
    let mut piecewise = Vec::new();
    begin_list(&mut piecewise, "v1", "ConfigMapList", &meta, [raw.len()].into_iter());
    item(&mut piecewise, raw);
    piecewise.extend_from_slice(END);
    assert_eq!(of_value(&list).unwrap(), piecewise);
}

#[test]
fn frames_hold_one_event() {
    let mut out = Vec::new();
    let message = vec![0x0a, 0];
    frame(&mut out, "ADDED", "apps/v1", "Deployment", &message);
    let (length, event) = out.split_first_chunk().unwrap();
    assert_eq!(u32::from_be_bytes(*length) as usize, event.len());
    let mut fields = Reader::new(event);
    assert_eq!(fields.next().unwrap(), Some((1, Wire::Bytes(b"ADDED"))));
    let Some((2, Wire::Bytes(extension))) = fields.next().unwrap() else { panic!("no object") };
    let Some((1, Wire::Bytes(object))) = Reader::new(extension).next().unwrap() else { panic!("no raw object") };
    assert_eq!(object, body("apps/v1", "Deployment", &message));
    assert_eq!(fields.next().unwrap(), None);
}

#[test]
fn failures_and_groups_have_messages() {
    let kinds: Vec<_> = KINDS.iter().collect();
    let status = crate::status::Status::too_many_requests("full", 3).to_json();
    let back = decode(&of_value(&status).unwrap(), "", "").unwrap();
    assert_eq!((&back["message"], &back["details"]["retryAfterSeconds"]), (&json!("full"), &json!(3)));
    for value in
        [crate::discovery::api_group_list(&kinds), crate::discovery::api_resource_list(&kinds, "apps", "v1").unwrap()]
    {
        assert_eq!(decode(&of_value(&value).unwrap(), "", "").unwrap(), value);
    }
    assert!(of_value(&json!({"kind": "Widget", "apiVersion": "x.io/v1"})).is_none());
}
