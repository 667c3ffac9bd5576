//! The documents as clients walk them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

fn parsed(document: &Document) -> Value {
    serde_json::from_slice(&document.body).unwrap()
}

fn check(document: &Value, pointer: &str, expected: Value) {
    assert_eq!(document.pointer(pointer), Some(&expected), "{pointer}");
}

/// All references of a document, each of which must lead somewhere.
fn references(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(to)) = fields.get("$ref") {
                out.insert(to.clone());
            }
            fields.values().for_each(|it| references(it, out));
        }
        Value::Array(list) => list.iter().for_each(|it| references(it, out)),
        _ => {}
    }
}

fn check_references(document: &Value) {
    let mut all = BTreeSet::new();
    references(document, &mut all);
    assert!(!all.is_empty());
    for to in all {
        assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to} leads nowhere");
    }
}

#[test]
fn every_group_version_has_a_document_of_version_3() {
    let index = parsed(Documents::default().v3_index());
    for (path, entry) in index["paths"].as_object().unwrap() {
        let document = v3(path).unwrap();
        assert_eq!(entry["serverRelativeURL"], format!("/openapi/v3/{path}?hash={}", document.etag));
        check_references(&parsed(document));
    }
    assert!(v3("apis/no.such/v1").is_none());
}

#[test]
fn kubectl_finds_what_it_looks_for() {
    let apps = parsed(v3("apis/apps/v1").unwrap());
    let patch = "/paths/~1apis~1apps~1v1~1namespaces~1{namespace}~1deployments~1{name}/patch";
    check(&apps, &format!("{patch}/operationId"), json!("patchAppsV1NamespacedDeployment"));
    check(
        &apps,
        &format!("{patch}/x-kubernetes-group-version-kind"),
        json!({"group": "apps", "version": "v1", "kind": "Deployment"}),
    );
    let operation = apps.pointer(patch).unwrap();
    let names: Vec<&Value> = operation["parameters"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert!(names.contains(&&json!("fieldValidation")) && names.contains(&&json!("force")));
    let media_types: Vec<&String> = operation["requestBody"]["content"].as_object().unwrap().keys().collect();
    assert!(media_types.iter().any(|it| *it == "application/apply-patch+yaml"));
    assert!(media_types.iter().any(|it| *it == "application/strategic-merge-patch+json"));
    let deployment = "/components/schemas/io.k8s.api.apps.v1.Deployment";
    check(&apps, &format!("{deployment}/x-kubernetes-group-version-kind/0/kind"), json!("Deployment"));
    check(
        &apps,
        &format!("{deployment}/properties/spec/allOf/0/$ref"),
        json!("#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"),
    );
    let ports = "/components/schemas/io.k8s.api.core.v1.Container/properties/ports";
    check(&apps, &format!("{ports}/x-kubernetes-list-map-keys"), json!(["containerPort", "protocol"]));
    check(&apps, &format!("{ports}/x-kubernetes-patch-merge-key"), json!("containerPort"));
    check(&apps, "/paths/~1apis~1apps~1v1~1deployments/get/operationId", json!("listAppsV1DeploymentForAllNamespaces"));
    let collection = "/paths/~1apis~1apps~1v1~1namespaces~1{namespace}~1deployments/delete";
    check(&apps, &format!("{collection}/operationId"), json!("deleteAppsV1CollectionNamespacedDeployment"));
}

#[test]
fn version_2_has_the_same() {
    let document = parsed(v2());
    check_references(&document);
    check(&document, "/definitions/io.k8s.api.core.v1.Pod/x-kubernetes-group-version-kind/0/kind", json!("Pod"));
    check(&document, "/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString/format", json!("int-or-string"));
    check(
        &document,
        "/paths/~1api~1v1~1namespaces~1{namespace}~1pods~1{name}/patch/x-kubernetes-action",
        json!("patch"),
    );
}

/// The fields of a message: number and content. All lengths must fit.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            shift += 7;
            if first & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        match tag & 7 {
            0 => {
                varint(&mut bytes);
                out.push((tag >> 3, &[][..]));
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                out.push((tag >> 3, content));
            }
            other => panic!("wire type {other}"),
        }
    }
    out
}

/// The content of the first field of this number in each step.
fn descend<'a>(bytes: &'a [u8], path: &[u64]) -> &'a [u8] {
    path.iter().fold(bytes, |at, number| fields(at).into_iter().find(|(it, _)| it == number).unwrap().1)
}

#[test]
fn the_protobuf_form_is_well_formed() {
    let body = &v2_protobuf().body;
    assert_eq!(descend(body, &[1]), b"2.0");
    assert_eq!(descend(body, &[2, 1]), b"Kubernetes");
    let definitions = fields(descend(body, &[9]));
    let pod = definitions.iter().find(|(_, it)| descend(it, &[1]) == b"io.k8s.api.core.v1.Pod").unwrap().1;
    assert_eq!(descend(pod, &[2, 22, 1]), b"object");
    assert_eq!(descend(pod, &[2, 31, 1]), b"x-kubernetes-group-version-kind");
    let yaml: Value = serde_json::from_slice(descend(pod, &[2, 31, 2, 2])).unwrap();
    assert_eq!(yaml, json!([{"group": "", "version": "v1", "kind": "Pod"}]));
    let paths = fields(descend(body, &[8]));
    let item =
        paths.iter().find(|(_, it)| descend(it, &[1]) == b"/api/v1/namespaces/{namespace}/pods/{name}").unwrap().1;
    let patch = fields(descend(item, &[2, 8]));
    let queries: Vec<&[u8]> = patch
        .iter()
        .filter(|(number, it)| *number == 8 && fields(descend(it, &[1]))[0].0 == 2)
        .map(|(_, it)| descend(it, &[1, 2, 3, 4]))
        .collect();
    assert!(queries.contains(&&b"fieldValidation"[..]), "{queries:?}");
}

#[test]
fn building_is_quick() {
    let start = Instant::now();
    let body = v3::document(&built_in(), "", "v1").to_string();
    // 100 ms in release, on a machine that does nothing else; ten times that in debug beside other tests.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(body.len() < 2_000_000, "{}", body.len());
}
