//! Tables of what Kubernetes says of definitions.

use serde_json::{Value, json};

use super::keep_until_empty;
use crate::json::Strictness;
use crate::kind::{Body, Kind, Part, Write};
use crate::kinds::KINDS;
use crate::meta::MetaContext;
use crate::status;

fn kind() -> &'static Kind {
    KINDS.iter().find(|it| it.kind == "CustomResourceDefinition").unwrap()
}

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string"}}}},
            }}}],
        },
    })
}

fn admit(value: Value, old: Option<&[u8]>) -> status::Result<Value> {
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    let meta = MetaContext { name: None, namespace: "", now, uid: "u", suffix: "" };
    let write = Write { part: Part::Main, new: Body::Value(value), old, meta, strictness: Strictness::Strict };
    kind().admit(write).map(|it| serde_json::from_slice(&it.json).unwrap())
}

#[track_caller]
fn check(change: impl FnOnce(&mut Value), old: Option<&Value>, expected: &[&str]) {
    let mut value = definition();
    change(&mut value);
    let old = old.map(|it| it.to_string().into_bytes());
    match admit(value, old.as_deref()) {
        Ok(_) => assert!(expected.is_empty(), "expected {expected:?}"),
        Err(status) => {
            for text in expected {
                assert!(status.message.contains(text), "{text} is not in {}", status.message);
            }
            let causes = status.details.map_or(0, |it| it.causes.len());
            assert_eq!(causes, expected.len(), "{}", status.message);
        }
    }
}

#[test]
fn defaults_are_filled_in() {
    let it = admit(definition(), None).unwrap();
    assert_eq!(it["spec"]["names"]["singular"], "crontab");
    assert_eq!(it["spec"]["names"]["listKind"], "CronTabList");
    assert_eq!(it["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!((&it["metadata"]["generation"], &it["status"]["storedVersions"]), (&json!(1), &json!(["v1"])));
}

#[test]
fn names_and_versions_are_checked() {
    check(|_| {}, None, &[]);
    check(
        |it| it["metadata"]["name"] = "x.example.com".into(),
        None,
        &["metadata.name: Invalid value: \"x.example.com\": must be spec.names.plural+\".\"+spec.group"],
    );
    check(
        |it| {
            it["spec"]["group"] = "example".into();
            it["metadata"]["name"] = "crontabs.example".into();
        },
        None,
        &["spec.group: Invalid value: \"example\": should be a domain with at least one dot"],
    );
    check(|it| it["spec"]["scope"] = "".into(), None, &["spec.scope: Required value"]);
    check(
        |it| it["spec"]["scope"] = "Pod".into(),
        None,
        &["spec.scope: Unsupported value: \"Pod\": supported values: \"Cluster\", \"Namespaced\""],
    );
    check(
        |it| it["spec"]["versions"][0]["storage"] = false.into(),
        None,
        &["must have exactly one version marked as storage version", "status.storedVersions: Invalid value"],
    );
    check(
        |it| {
            let mut second = it["spec"]["versions"][0].clone();
            second["storage"] = false.into();
            it["spec"]["versions"].as_array_mut().unwrap().push(second);
        },
        None,
        &["must contain unique version names"],
    );
    check(
        |it| it["spec"]["names"]["shortNames"] = json!(["CT"]),
        None,
        &["spec.names.shortNames[0]: Invalid value: \"CT\": a DNS-1035 label must consist of"],
    );
    check(
        |it| it["spec"]["names"]["listKind"] = "CronTab".into(),
        None,
        &["spec.names.listKind: Invalid value: \"CronTab\": kind and listKind may not be the same"],
    );
    check(
        |it| it["spec"]["preserveUnknownFields"] = true.into(),
        None,
        &[
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields",
        ],
    );
    check(
        |it| {
            it["spec"]["group"] = "x.k8s.io".into();
            it["metadata"]["name"] = "crontabs.x.k8s.io".into();
        },
        None,
        &[
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation",
        ],
    );
}

#[test]
fn parts_of_versions_are_checked() {
    let version = |field: &'static str, value: Value| move |it: &mut Value| it["spec"]["versions"][0][field] = value;
    check(
        version("schema", json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"properties": {}}}}})),
        None,
        &[
            "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ],
    );
    check(
        version("additionalPrinterColumns", json!([{"name": "", "type": "text", "jsonPath": "spec", "format": "x"}])),
        None,
        &[
            "spec.additionalPrinterColumns[0].name: Required value",
            "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
            "spec.additionalPrinterColumns[0].format: Invalid value: \"x\": must be one of byte,date,",
            "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
        ],
    );
    check(
        version("subresources", json!({"scale": {"specReplicasPath": ".x", "statusReplicasPath": ""}})),
        None,
        &[
            "spec.subresources.scale.specReplicasPath: Invalid value: \".x\": should be a json path under .spec",
            "spec.subresources.scale.statusReplicasPath: Required value",
        ],
    );
    check(
        version(
            "selectableFields",
            json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.color"}, {"jsonPath": ".spec"}]),
        ),
        None,
        &[
            "spec.selectableFields[1].jsonPath: Duplicate value: \".spec.color\"",
            "spec.selectableFields[2].jsonPath: Invalid value: \".spec\": must point to a field of type string",
        ],
    );
    check(
        version("deprecationWarning", json!("old")),
        None,
        &["spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions"],
    );
}

#[test]
fn conversions_are_checked() {
    let conversion = |value: Value| move |it: &mut Value| it["spec"]["conversion"] = value;
    check(
        conversion(json!({"strategy": "Webhook"})),
        None,
        &[
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            "spec.conversion.conversionReviewVersions: Required value",
        ],
    );
    let webhook = |config: Value| {
        conversion(
            json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": config}}),
        )
    };
    check(webhook(json!({"url": "https://host:1/convert"})), None, &[]);
    check(webhook(json!({"service": {"namespace": "d", "name": "n", "path": "/a/b"}})), None, &[]);
    check(
        webhook(json!({"url": "http://u@/x?y#z"})),
        None,
        &[
            "url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            "host must be specified",
            "user information is not permitted in the URL",
            "fragments are not permitted in the URL",
            "query parameters are not permitted in the URL",
        ],
    );
    check(webhook(json!({})), None, &["exactly one of url or service is required"]);
}

#[test]
fn what_is_established_stays() {
    let mut old = admit(definition(), None).unwrap();
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True", "message": "", "reason": ""}]);
    check(
        |it| {
            it["spec"]["scope"] = "Cluster".into();
            it["spec"]["versions"][0]["name"] = "v2".into();
        },
        Some(&old),
        &[
            "spec.scope: Invalid value: \"Cluster\": field is immutable",
            "status.storedVersions[0]: Invalid value: \"v1\": missing from",
        ],
    );
    let mut more = definition();
    more["spec"]["versions"][0]["served"] = false.into();
    let bytes = old.to_string();
    let changed = admit(more, Some(bytes.as_bytes())).unwrap();
    assert_eq!((&changed["metadata"]["generation"], &changed["status"]), (&json!(2), &old["status"]));
    keep_until_empty(&mut old, "2026-01-02T03:04:05Z".parse().unwrap());
    assert_eq!(old["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(old["status"]["conditions"][1]["reason"], "InstanceDeletionPending");
}
