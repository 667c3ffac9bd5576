//! Bodies put together by hand, field by field as Kubernetes' messages have them.

use serde_json::json;

use super::*;

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A field that holds bytes: a text or a message.
fn field(number: usize, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len()), bytes.to_vec()].concat()
}

fn number(number: usize, value: usize) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &types), field(2, object), field(3, b""), field(4, b"")].concat()
}

#[track_caller]
fn check(api_version: &str, kind: &str, object: &[u8], expected: Value) {
    let mut expected = expected;
    expected["apiVersion"] = api_version.into();
    expected["kind"] = kind.into();
    assert_eq!(decode(&body(api_version, kind, object), "Expected", "v1"), Ok(expected));
}

#[test]
fn maps_and_bytes() {
    let entry = |key: &str, value: &[u8]| [field(1, key.as_bytes()), field(2, value)].concat();
    // The zero time of a new object is an empty message.
    let metadata = field(1, &[field(1, b"a"), field(2, b""), field(8, b""), field(11, &entry("app", b"x"))].concat());
    let secret = [metadata, field(2, &entry("key", b"\xff\x00")), field(2, &field(1, b"none")), field(3, b"Opaque")];
    let expected = json!({
        "metadata": {"name": "a", "labels": {"app": "x"}}, "data": {"key": "/wA=", "none": ""}, "type": "Opaque",
    });
    check("v1", "Secret", &secret.concat(), expected);
}

#[test]
fn zero_is_kept_where_go_has_a_pointer() {
    let pod_spec = [number(4, 0), number(11, 0), number(27, 0), field(3, b"")].concat();
    let expected = json!({"spec": {"terminationGracePeriodSeconds": 0, "shareProcessNamespace": false}});
    check("v1", "Pod", &field(2, &pod_spec), expected);
    check("apps/v1", "Deployment", &field(2, &number(1, 0)), json!({"spec": {"replicas": 0}}));
}

#[test]
fn embedded_messages_stand_among_the_outer_fields() {
    let port = field(2, &[number(1, 1), number(2, 0), field(3, b"http")].concat());
    let get = field(2, &[field(1, b"/"), port].concat());
    let probe = field(10, &[field(1, &get), number(2, 5), number(7, 0)].concat());
    let key = field(3, &[field(1, &field(1, b"cm")), field(2, b"k")].concat());
    let env = field(7, &[field(1, b"E"), field(2, b""), field(3, &key)].concat());
    let amount = [field(1, b"cpu"), field(2, &field(1, b"100m"))].concat();
    let container = field(2, &[field(1, b"c"), probe, env, field(8, &field(1, &amount))].concat());
    let volume = field(1, &[field(1, b"v"), field(2, &field(19, &field(1, &field(1, b"cm"))))].concat());
    let expected = json!({"spec": {
        "volumes": [{"name": "v", "configMap": {"name": "cm"}}],
        "containers": [{
            "name": "c",
            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 5, "terminationGracePeriodSeconds": 0},
            "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}],
            "resources": {"limits": {"cpu": "100m"}},
        }],
    }});
    check("v1", "Pod", &field(2, &[volume, container].concat()), expected);
}

#[test]
fn times_have_the_form_of_json() {
    // 2024-01-01T00:00:00Z is 1704067200 seconds, and 1,500 nanoseconds are a microsecond.
    let time = [number(1, 1_704_067_200), number(2, 1500)].concat();
    let lease = field(2, &[field(1, b"me"), number(2, 15), field(3, &time), field(4, b"")].concat());
    let expected = json!({"spec": {
        "holderIdentity": "me", "leaseDurationSeconds": 15, "acquireTime": "2024-01-01T00:00:00.000001Z",
    }});
    check("coordination.k8s.io/v1", "Lease", &lease, expected);
    let event = field(6, &time);
    check("v1", "Event", &event, json!({"firstTimestamp": "2024-01-01T00:00:00Z"}));
}

#[test]
fn raw_json_and_numbers_as_text() {
    let managed = field(7, &field(1, br#"{"f:data":{}}"#));
    let metadata = field(1, &field(17, &managed));
    check("v1", "ConfigMap", &metadata, json!({"metadata": {"managedFields": [{"fieldsV1": {"f:data": {}}}]}}));
    let update = field(1, &[number(1, 0), number(2, 1), field(3, b"")].concat());
    let spec = field(2, &field(4, &field(2, &update)));
    check("apps/v1", "Deployment", &spec, json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 1}}}}));
}

#[test]
fn what_comes_twice_counts_last_and_messages_are_merged() {
    let spec = [field(2, &number(1, 3)), field(2, &number(5, 1)), field(2, &number(1, 4))].concat();
    check("apps/v1", "Deployment", &spec, json!({"spec": {"replicas": 4, "minReadySeconds": 1}}));
    let spec = [field(2, &number(5, 1)), field(2, &number(5, 0)), number(2000, 1)].concat();
    check("apps/v1", "Deployment", &spec, json!({"spec": {}}));
}

#[test]
fn options_are_of_every_version() {
    check(
        "apps/v1",
        "DeleteOptions",
        &[number(1, 0), field(4, b"Orphan")].concat(),
        json!({"gracePeriodSeconds": 0, "propagationPolicy": "Orphan"}),
    );
}

#[test]
fn a_body_without_a_kind_is_what_is_expected() {
    let nameless = [b"k8s\0".to_vec(), field(2, &field(1, &field(1, b"a")))].concat();
    let expected = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
    assert_eq!(decode(&nameless, "ConfigMap", "v1"), Ok(expected));
}

#[test]
fn garbage_is_refused() {
    let refused = |body: &[u8]| decode(body, "Pod", "v1").unwrap_err().to_string();
    assert_eq!(refused(b"{}"), Malformed::Prefix.to_string());
    assert_eq!(refused(b"k8s\0\x12\x7f"), "unexpected EOF");
    assert_eq!(refused(&body("v1", "Nothing", b"")), "no kind \"Nothing\" is registered for version \"v1\"");
    assert_eq!(refused(&body("v1", "Pod", &number(1, 1))), "wrong wireType for field metadata");
    assert_eq!(
        refused(&[&b"k8s\0"[..], &field(4, b"application/json")].concat()),
        Malformed::Encoding("application/json".to_owned()).to_string()
    );
    assert!(refused(&body("v1", "Pod", &field(1, &field(1, b"\xff")))).starts_with("field name: invalid utf-8"));
    assert!(
        refused(&body("v1", "ConfigMap", &field(1, &field(17, &field(7, &field(1, b"{"))))))
            .starts_with("field fieldsV1: EOF")
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_bring_it_down(object in proptest::collection::vec(0u8..=255, 0..200)) {
        for kind in ["Pod", "Node", "Secret", "Event"] {
            // Whatever it says, it says it.
            let _ = decode(&body("v1", kind, &object), "Pod", "v1");
        }
    }
}

/// What JSON leaves out or calls null is the same.
fn without_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, it| !it.is_null());
        fields.values_mut().for_each(without_nulls);
    } else if let Value::Array(items) = value {
        items.iter_mut().for_each(without_nulls);
    }
}

/// In `bodies` stand what kubectl 1.33 sends in this form, and what kubectl 1.27 sends as JSON for the same commands.
#[test]
fn bodies_of_kubectl_are_the_same_in_both_forms() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/protobuf/bodies");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "pb") {
            continue;
        }
        let json = std::fs::read(path.with_extension("json")).unwrap();
        let mut expected: Value = serde_json::from_slice(&json).unwrap();
        without_nulls(&mut expected);
        assert_eq!(decode(&std::fs::read(&path).unwrap(), "", ""), Ok(expected), "{path:?}");
        seen += 1;
    }
    assert_eq!(seen, 9);
}
