//! What Kubernetes fills in, kind by kind (`pkg/apis/*/v1/defaults.go`, and the first statuses of the registries). Every case names all that is
//! added to what it gives, so that nothing more is added either.

#![allow(clippy::unwrap_used)] // A test says what it expects by panicking.

use orlop_api::json::Strictness;
use orlop_api::kind::{Body, Part, Scope, Write};
use orlop_api::kinds::KINDS;
use orlop_api::meta::MetaContext;
use serde_json::{Map, Value, json};

/// All scalars and empty values of an object, by path.
fn leaves(at: &str, value: &Value, out: &mut Map<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| leaves(&format!("{at}.{name}"), value, out));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, value)| leaves(&format!("{at}[{index}]"), value, out));
        }
        _ => _ = out.insert(at.to_owned(), value.clone()),
    }
}

/// What every new object has.
const ALWAYS: [&str; 6] = [
    ".apiVersion",
    ".kind",
    ".metadata.creationTimestamp",
    ".metadata.generation",
    ".metadata.namespace",
    ".metadata.uid",
];

/// `given` is made a `group/Kind`; `expected` is what is added, as an object.
#[track_caller]
fn check(name: &str, given: Value, expected: Value) {
    let (group, kind) = name.split_once('/').unwrap_or(("", name));
    let kind = KINDS.iter().find(|it| it.kind == kind && it.group.starts_with(group)).unwrap();
    let mut object = given.clone();
    object["metadata"]["name"] = "a".into();
    let namespace = if kind.scope == Scope::Namespaced { "default" } else { "" };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let meta = MetaContext { name: None, namespace, now, uid: "u", suffix: "abcde" };
    let new = Body::Value(object.clone());
    let write = Write { part: Part::Main, new, old: None, meta, strictness: Strictness::Strict };
    let made = kind.admit(write).unwrap_or_else(|status| panic!("{name}: {status}"));
    let made: Value = serde_json::from_slice(&made.json).unwrap();
    let (mut before, mut after) = (Map::new(), Map::new());
    leaves("", &object, &mut before);
    leaves("", &made, &mut after);
    after.retain(|path, value| !ALWAYS.contains(&path.as_str()) && before.get(path) != Some(value));
    let wanted: Map<String, Value> =
        expected.as_object().unwrap().iter().map(|(path, value)| (format!(".{path}"), value.clone())).collect();
    assert_eq!(after, wanted, "{name} {given}");
}

/// What a specification at `path` with one container gets, and more.
fn of_spec(path: &str, more: Value) -> Value {
    let mut out = Map::new();
    for (field, value) in [
        ("containers[0].imagePullPolicy", json!("Always")),
        ("containers[0].resources", json!({})),
        ("containers[0].terminationMessagePath", json!("/dev/termination-log")),
        ("containers[0].terminationMessagePolicy", json!("File")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("restartPolicy", json!("Always")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("terminationGracePeriodSeconds", json!(30)),
    ] {
        out.insert(format!("{path}.{field}"), value);
    }
    // A null takes away.
    for (path, value) in more.as_object().unwrap() {
        if value.is_null() {
            out.remove(path)
        } else {
            out.insert(path.clone(), value.clone())
        };
    }
    out.into()
}

#[test]
fn kinds_that_get_little() {
    check("ConfigMap", json!({}), json!({}));
    check("ServiceAccount", json!({}), json!({}));
    check("coordination/Lease", json!({"spec": {"holderIdentity": "x"}}), json!({}));
    check("Secret", json!({}), json!({"type": "Opaque"}));
    check(
        "Namespace",
        json!({}),
        json!({"metadata.labels.kubernetes.io/metadata.name": "a", "spec.finalizers[0]": "kubernetes", "status.phase": "Active"}),
    );
    check(
        "Node",
        json!({"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}, "status": {"capacity": {"cpu": "2"}}}),
        json!({"status.allocatable.cpu": "2"}),
    );
    check(
        "Endpoints",
        json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
        json!({"subsets[0].ports[0].protocol": "TCP"}),
    );
    check(
        "discovery/EndpointSlice",
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}], "ports": [{"port": 80}]}),
        json!({"ports[0].name": "", "ports[0].protocol": "TCP"}),
    );
    let subjects = json!([{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]);
    check(
        "rbac/RoleBinding",
        json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": subjects}),
        json!({"roleRef.apiGroup": "rbac.authorization.k8s.io", "subjects[0].apiGroup": "rbac.authorization.k8s.io"}),
    );
}

#[test]
fn services() {
    let check = |spec: Value, more: Value| {
        let mut expected = json!({
            "spec.internalTrafficPolicy": "Cluster", "spec.ipFamilies[0]": "IPv4", "spec.ipFamilyPolicy": "SingleStack",
            "spec.ports[0].protocol": "TCP", "spec.ports[0].targetPort": 80, "spec.sessionAffinity": "None",
            "status.loadBalancer": {},
        });
        expected.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        expected.as_object_mut().unwrap().retain(|_, it| !it.is_null());
        let mut spec = spec;
        spec["ports"] = json!([{"port": 80}]);
        check("Service", json!({ "spec": spec }), expected);
    };
    check(json!({}), json!({"spec.type": "ClusterIP"}));
    check(json!({"type": "NodePort"}), json!({"spec.externalTrafficPolicy": "Cluster"}));
    check(
        json!({"type": "LoadBalancer"}),
        json!({"spec.externalTrafficPolicy": "Cluster", "spec.allocateLoadBalancerNodePorts": true}),
    );
    check(
        json!({"type": "ClusterIP", "externalIPs": ["192.0.2.1"], "sessionAffinity": "ClientIP"}),
        json!({"spec.externalTrafficPolicy": "Cluster", "spec.sessionAffinityConfig.clientIP.timeoutSeconds": 10800, "spec.sessionAffinity": null}),
    );
}

#[test]
fn pods() {
    let check = |spec: Value, more: Value| {
        let mut all =
            json!({"spec.enableServiceLinks": true, "status.phase": "Pending", "status.qosClass": "BestEffort"});
        all.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        check("Pod", json!({ "spec": spec }), of_spec("spec", all));
    };
    let container = json!({"name": "c", "image": "i"});
    check(json!({"containers": [container]}), json!({}));
    let volumes = json!([
        {"name": "a"}, {"name": "b", "hostPath": {"path": "/x"}}, {"name": "c", "secret": {"secretName": "s"}}, {"name": "d", "configMap": {"name": "m"}},
        {"name": "e", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "f", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
    ]);
    check(
        json!({"containers": [container], "volumes": volumes, "serviceAccountName": "s", "serviceAccount": "s"}),
        json!({
            "spec.volumes[0].emptyDir": {}, "spec.volumes[1].hostPath.type": "", "spec.volumes[2].secret.defaultMode": 420,
            "spec.volumes[3].configMap.defaultMode": 420, "spec.volumes[4].downwardAPI.defaultMode": 420,
            "spec.volumes[4].downwardAPI.items[0].fieldRef.apiVersion": "v1", "spec.volumes[5].projected.defaultMode": 420,
            "spec.volumes[5].projected.sources[0].serviceAccountToken.expirationSeconds": 3600,
        }),
    );
    let full = json!({
        "name": "c", "image": "i", "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}}, "startupProbe": {"grpc": {"port": 80}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}], "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
    });
    let mut more = json!({
        "spec.containers[0].ports[0].hostPort": 80, "spec.containers[0].ports[0].protocol": "TCP",
        "spec.containers[0].env[0].valueFrom.fieldRef.apiVersion": "v1", "spec.containers[0].startupProbe.grpc.service": "",
    });
    for place in ["livenessProbe", "lifecycle.preStop"] {
        more[format!("spec.containers[0].{place}.httpGet.path")] = "/".into();
        more[format!("spec.containers[0].{place}.httpGet.scheme")] = "HTTP".into();
    }
    for probe in ["livenessProbe", "startupProbe"] {
        for (field, value) in
            [("failureThreshold", 3), ("periodSeconds", 10), ("successThreshold", 1), ("timeoutSeconds", 1)]
        {
            more[format!("spec.containers[0].{probe}.{field}")] = value.into();
        }
    }
    check(json!({"hostNetwork": true, "containers": [full]}), more);
    check(
        json!({"containers": [{"name": "c", "image": "r:5000/i:1", "resources": {"limits": {"cpu": "1"}}}], "serviceAccount": "s"}),
        json!({
            "spec.containers[0].imagePullPolicy": "IfNotPresent", "spec.containers[0].resources": null,
            "spec.containers[0].resources.requests.cpu": "1", "status.qosClass": "Burstable", "spec.serviceAccountName": "s",
        }),
    );
}

#[test]
fn workloads() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let given = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let deployment = json!({
        "spec.progressDeadlineSeconds": 600, "spec.replicas": 1, "spec.revisionHistoryLimit": 10, "status": {},
        "spec.strategy.rollingUpdate.maxSurge": "25%", "spec.strategy.rollingUpdate.maxUnavailable": "25%",
        "spec.strategy.type": "RollingUpdate",
    });
    check("apps/Deployment", given.clone(), of_spec("spec.template.spec", deployment));
    let set = json!({"spec.replicas": 1, "status.replicas": 0});
    check("apps/ReplicaSet", given, of_spec("spec.template.spec", set));
}
