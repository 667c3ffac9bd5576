//! Every built-in kind, in the order in which discovery lists them. A new kind is a file below and a line in [`KINDS`].

mod addresses;
mod cells;
mod checks;
mod conditions;
mod disk_rules;
mod pod_spec;
mod volume_rules;
mod workload;

mod config_map;
mod endpoints;
mod event;
mod event_columns;
mod event_rules;
mod limit_range;
mod namespace;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_template;
mod replication_controller;
mod resource_quota;
mod secret;
mod service;
mod service_account;

mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;

mod cron_job;
mod job;

mod flow_schema;
mod priority_level_configuration;

mod horizontal_pod_autoscaler;

mod ingress;
mod ingress_class;
mod ip_address;
mod network_policy;
mod service_cidr;

mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod storage_class;
mod volume_attachment;
mod volume_attributes_class;

mod device_allocation;
mod device_class;
mod device_rules;
mod resource_claim;
mod resource_claim_template;
mod resource_slice;

mod pod_disruption_budget;
mod priority_class;
mod runtime_class;

pub mod custom_resource_definition;

mod mutating_webhook_configuration;
pub mod policy_types;
pub mod validating_admission_policy;
mod validating_admission_policy_binding;
mod validating_webhook_configuration;
mod webhook_client;
pub mod webhook_rules;

mod lease;

mod endpoint_slice;

mod event_v1;

mod certificate_signing_request;

mod cluster_role;
mod cluster_role_binding;
mod rbac;
mod role;
mod role_binding;

use k8s_openapi::api::{
    admissionregistration as admission, apps, autoscaling, batch, certificates, coordination, core, discovery, events,
    flowcontrol, networking, node as node_api, policy, rbac as rbac_api, resource, scheduling, storage,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;

use crate::kind::Kind;

pub(crate) use self::addresses::strict_ip;
pub use persistent_volume::GENERAL_FIELDS as VOLUME_GENERAL_FIELDS;
pub use pod_spec::resources::{is_extended as is_extended_resource, quality_of_service};

/// The built-in kinds.
pub static KINDS: &[Kind] = &[
    Kind::of::<core::v1::ConfigMap>(),
    Kind::of::<core::v1::Endpoints>(),
    Kind::of::<core::v1::Event>(),
    Kind::of::<core::v1::LimitRange>(),
    Kind::of::<core::v1::Namespace>(),
    Kind::of::<core::v1::Node>(),
    Kind::of::<core::v1::PersistentVolume>(),
    Kind::of::<core::v1::PersistentVolumeClaim>(),
    Kind::of::<core::v1::Pod>(),
    Kind::of::<core::v1::PodTemplate>(),
    Kind::of::<core::v1::ReplicationController>(),
    Kind::of::<core::v1::ResourceQuota>(),
    Kind::of::<core::v1::Secret>(),
    Kind::of::<core::v1::Service>(),
    Kind::of::<core::v1::ServiceAccount>(),
    Kind::of::<apps::v1::ControllerRevision>(),
    Kind::of::<apps::v1::DaemonSet>(),
    Kind::of::<apps::v1::Deployment>(),
    Kind::of::<apps::v1::ReplicaSet>(),
    Kind::of::<apps::v1::StatefulSet>(),
    Kind::of::<autoscaling::v2::HorizontalPodAutoscaler>(),
    Kind::of::<autoscaling::v1::HorizontalPodAutoscaler>()
        .stored_as("horizontalpodautoscalers", horizontal_pod_autoscaler::v1::CONVERSION),
    Kind::of::<batch::v1::CronJob>(),
    Kind::of::<batch::v1::Job>(),
    Kind::of::<certificates::v1::CertificateSigningRequest>(),
    Kind::of::<coordination::v1::Lease>(),
    Kind::of::<discovery::v1::EndpointSlice>(),
    Kind::of::<events::v1::Event>().stored_as("events", event_v1::CONVERSION),
    Kind::of::<flowcontrol::v1::FlowSchema>(),
    Kind::of::<flowcontrol::v1::PriorityLevelConfiguration>(),
    Kind::of::<networking::v1::IPAddress>(),
    Kind::of::<networking::v1::Ingress>(),
    Kind::of::<networking::v1::IngressClass>(),
    Kind::of::<networking::v1::NetworkPolicy>(),
    Kind::of::<networking::v1::ServiceCIDR>(),
    Kind::of::<node_api::v1::RuntimeClass>(),
    Kind::of::<policy::v1::PodDisruptionBudget>(),
    Kind::of::<rbac_api::v1::ClusterRole>(),
    Kind::of::<rbac_api::v1::ClusterRoleBinding>(),
    Kind::of::<rbac_api::v1::Role>(),
    Kind::of::<rbac_api::v1::RoleBinding>(),
    Kind::of::<resource::v1::DeviceClass>(),
    Kind::of::<resource::v1::ResourceClaim>(),
    Kind::of::<resource::v1::ResourceClaimTemplate>(),
    Kind::of::<resource::v1::ResourceSlice>(),
    Kind::of::<scheduling::v1::PriorityClass>(),
    Kind::of::<storage::v1::CSIDriver>(),
    Kind::of::<storage::v1::CSINode>(),
    Kind::of::<storage::v1::CSIStorageCapacity>(),
    Kind::of::<storage::v1::StorageClass>(),
    Kind::of::<storage::v1::VolumeAttachment>(),
    Kind::of::<storage::v1::VolumeAttributesClass>(),
    Kind::of::<admission::v1::MutatingWebhookConfiguration>(),
    Kind::of::<admission::v1::ValidatingAdmissionPolicy>(),
    Kind::of::<admission::v1::ValidatingAdmissionPolicyBinding>(),
    Kind::of::<admission::v1::ValidatingWebhookConfiguration>(),
    Kind::of::<apiextensions::v1::CustomResourceDefinition>(),
];

#[cfg(test)]
mod tables;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::KINDS;
    use crate::json::Strictness;
    use crate::kind::{Body, Kind, Part, Scope, Write};
    use crate::meta::MetaContext;

    pub(super) fn context(kind: &Kind) -> MetaContext<'static> {
        MetaContext {
            name: None,
            namespace: if kind.scope == Scope::Namespaced { "default" } else { "" },
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            uid: "00000000-0000-4000-8000-000000000000",
            suffix: "abcde",
        }
    }

    /// The least that a kind's validation lets pass.
    pub(super) fn minimal(kind: &Kind) -> Value {
        let container = json!({"name": "a", "image": "nginx"});
        let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}});
        let ending = json!({"spec": {"containers": [container], "restartPolicy": "Never"}});
        let mut it = match kind.kind {
            "Pod" => json!({"spec": {"containers": [container]}}),
            "Service" => json!({"spec": {"ports": [{"port": 80}]}}),
            "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
                json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}})
            }
            "ReplicationController" => json!({ "spec": { "template": template } }),
            "PodTemplate" => json!({ "template": template }),
            "ControllerRevision" => json!({"data": {"spec": {}}, "revision": 1}),
            "Job" => json!({ "spec": { "template": ending } }),
            "CronJob" => json!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": ending}}}}),
            "PersistentVolume" => json!({"spec": {
                "capacity": {"storage": "1024Mi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}}),
            "PersistentVolumeClaim" => {
                json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
            }
            "Event" if kind.group.is_empty() => json!({"involvedObject": {"namespace": "default"}}),
            "Event" => json!({
                "regarding": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
                "reason": "Tried", "action": "Trying", "reportingController": "a.b/c", "reportingInstance": "c-0",
            }),
            "CertificateSigningRequest" => json!({"spec": {
                "request": STANDARD.encode(crate::csr::tests::NODE), "signerName": "example.com/a", "usages": ["client auth"]}}),
            "ValidatingAdmissionPolicy" => json!({"spec": {
                "matchConstraints": {"resourceRules": [
                    {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]},
                "validations": [{"expression": "true"}]}}),
            "ValidatingAdmissionPolicyBinding" => json!({"spec": {"policyName": "a", "validationActions": ["Deny"]}}),
            "EndpointSlice" => json!({"addressType": "IPv4", "endpoints": []}),
            "Ingress" => json!({"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}}),
            "IngressClass" => json!({"spec": {"controller": "example.com/a"}}),
            "CSIDriver" => json!({"spec": {}}),
            "CSINode" => json!({"spec": {"drivers": []}}),
            "CSIStorageCapacity" => json!({"storageClassName": "a"}),
            "StorageClass" => json!({"provisioner": "example.com/a"}),
            "VolumeAttachment" => json!({"spec": {
                "attacher": "example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
            "PodDisruptionBudget" | "NetworkPolicy" => json!({"spec": {}}),
            "HorizontalPodAutoscaler" => json!({"spec": {
                "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}}),
            "FlowSchema" => json!({"spec": {"priorityLevelConfiguration": {"name": "a"}}}),
            "PriorityLevelConfiguration" => {
                json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}})
            }
            "IPAddress" => {
                json!({"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}})
            }
            "ServiceCIDR" => json!({"spec": {"cidrs": ["10.0.0.0/24"]}}),
            "VolumeAttributesClass" => json!({"driverName": "example.com", "parameters": {"iops": "9"}}),
            "CustomResourceDefinition" => json!({"spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "as", "kind": "A"}, "versions": [{"name": "v1",
                "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
            "DeviceClass" | "ResourceClaim" => json!({"spec": {}}),
            "ResourceClaimTemplate" => json!({"spec": {"spec": {}}}),
            "ResourceSlice" => json!({"spec": {
                "driver": "example.com", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "nodeName": "n"}}),
            "PriorityClass" => json!({"value": 1000}),
            "RuntimeClass" => json!({"handler": "a"}),
            "RoleBinding" | "ClusterRoleBinding" => json!({"roleRef": {"kind": "ClusterRole", "name": "view"}}),
            _ => json!({}),
        };
        let name = match kind.kind {
            "IPAddress" => "10.0.0.9",
            "CustomResourceDefinition" => "as.example.com",
            _ => "a",
        };
        it["metadata"] = json!({ "name": name });
        it
    }

    pub(super) fn admit(kind: &Kind, value: Value) -> Value {
        let write = Write {
            part: Part::Main,
            new: Body::Value(value),
            old: None,
            meta: context(kind),
            strictness: Strictness::Strict,
        };
        let admitted = kind.admit(write).unwrap_or_else(|status| panic!("{kind:?}: {status}"));
        serde_json::from_slice(&admitted.json).unwrap()
    }

    #[test]
    fn names_are_unique() {
        let mut resources = HashSet::new();
        let mut places = HashSet::new();
        for kind in KINDS {
            assert!(resources.insert((kind.group, kind.version, kind.names.plural)), "{kind:?} is listed twice");
            assert!(!kind.names.singular.is_empty(), "{kind:?} has no singular name");
            if kind.conversion.is_none() {
                assert!(places.insert(kind.stored_as), "{kind:?} is stored where another is");
            }
        }
        for kind in KINDS.iter().filter(|it| it.conversion.is_some()) {
            assert!(places.contains(kind.stored_as), "{kind:?} is stored as what nobody has");
        }
    }

    #[test]
    fn defaults_are_stable_and_pass_validation() {
        for kind in KINDS {
            let once = admit(kind, minimal(kind));
            let twice = admit(kind, once.clone());
            assert_eq!(once, twice, "{kind:?} changes what it has admitted");
        }
    }

    #[test]
    fn an_update_without_a_change_changes_nothing() {
        for kind in KINDS {
            let stored = serde_json::to_vec(&admit(kind, minimal(kind))).unwrap();
            let mut value: Value = serde_json::from_slice(&stored).unwrap();
            value["metadata"]["resourceVersion"] = "7".into();
            // The old object is the cache's, and has its version.
            let standing = serde_json::to_vec(&value).unwrap();
            for part in [Part::Main, Part::Status] {
                let write = Write {
                    part,
                    new: Body::Value(value.clone()),
                    old: Some(&standing),
                    meta: context(kind),
                    strictness: Strictness::Strict,
                };
                let admitted = kind.admit(write).unwrap_or_else(|status| panic!("{kind:?}: {status}"));
                let admitted: Value = serde_json::from_slice(&admitted.json).unwrap();
                assert_eq!(admitted, serde_json::from_slice::<Value>(&stored).unwrap(), "{kind:?} {part:?}");
            }
        }
    }

    #[test]
    fn columns_show_any_object() {
        for kind in KINDS {
            for value in [Value::Null, json!({}), json!({"spec": [], "status": 1}), admit(kind, minimal(kind))] {
                for column in kind.columns {
                    let _ = (column.cell)(&value);
                }
            }
            assert!(!kind.columns.is_empty(), "{kind:?} shows nothing");
        }
    }

    /// The mistakes that Kubernetes finds when `change` is written over the minimal object of a kind, or when it is created with it.
    pub(super) fn check(plural: &str, part: Option<Part>, change: Value, expected: &[&str]) {
        let kind = KINDS.iter().find(|it| it.names.plural == plural).unwrap();
        let stored = part.map(|_| admit(kind, minimal(kind)));
        let mut new = stored.clone().unwrap_or_else(|| minimal(kind));
        if stored.is_some() {
            new["metadata"]["resourceVersion"] = "7".into();
        }
        merge(&mut new, change);
        assert_eq!(mistakes(kind, part, new, stored.as_ref()), expected, "{plural}");
    }

    /// The mistakes that Kubernetes finds in an object that is written over `old`, or created.
    pub(super) fn mistakes(kind: &Kind, part: Option<Part>, new: Value, old: Option<&Value>) -> Vec<String> {
        let old = old.map(|it| serde_json::to_vec(it).unwrap());
        let write = Write {
            part: part.unwrap_or(Part::Main),
            new: Body::Value(new),
            old: old.as_deref(),
            meta: context(kind),
            strictness: Strictness::Strict,
        };
        kind.admit(write).err().map_or_else(Vec::new, |status| {
            let causes = status.details.map(|it| it.causes).unwrap_or_default();
            causes
                .into_iter()
                .map(|it| format!("{}: {}", it.field, it.message.lines().next().unwrap_or_default()))
                .collect()
        })
    }

    pub(super) fn merge(into: &mut Value, change: Value) {
        match (into, change) {
            (Value::Object(into), Value::Object(change)) => {
                for (key, value) in change {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, change) => *into = change,
        }
    }

    #[test]
    fn pods_are_checked() {
        let create = |spec: Value, expected: &[&str]| check("pods", None, json!({ "spec": spec }), expected);
        create(json!({"containers": []}), &["spec.containers: Required value"]);
        create(
            json!({"containers": [{"name": "a"}, {"name": "a", "image": "b", "imagePullPolicy": "Sometimes"}]}),
            &[
                "spec.containers[0].image: Required value",
                "spec.containers[1].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
                "spec.containers[1].name: Duplicate value: \"a\"",
            ],
        );
        create(
            json!({"restartPolicy": "Maybe", "volumes": [{"name": "v"}, {"name": "v"}], "containers": [{"name": "a", "image": "b",
                "volumeMounts": [{"name": "w", "mountPath": "/w"}], "ports": [{"containerPort": 0}],
                "livenessProbe": {"successThreshold": 2}, "env": [{"name": "a=b"}]}]}),
            &[
                "spec.volumes[1].name: Duplicate value: \"v\"",
                "spec.containers[0].ports[0].containerPort: Required value",
                "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                "spec.containers[0].volumeMounts[0].name: Not found: \"w\"",
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
                "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        );
        create(
            json!({"tolerations": [{"operator": "Equal", "value": "x"}], "nodeSelector": {"a": "b c"}}),
            &[
                "spec.nodeSelector: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ],
        );
    }

    #[test]
    fn pods_hardly_change() {
        let update = |change: Value, expected: &[&str]| check("pods", Some(Part::Main), change, expected);
        update(json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Failed"}}), &[]);
        update(json!({"spec": {"activeDeadlineSeconds": 5, "tolerations": [{"operator": "Exists"}]}}), &[]);
        update(
            json!({"spec": {"dnsPolicy": "Default"}}),
            &[
                "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
            ],
        );
        update(
            json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]}}),
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        );
    }

    #[test]
    fn workloads_are_checked() {
        check(
            "deployments",
            None,
            json!({"spec": {"replicas": -1, "template": {"metadata": {"labels": {"app": "b"}}}, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}}}),
            &[
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`",
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
            ],
        );
        for plural in ["deployments", "replicasets"] {
            check(
                plural,
                Some(Part::Main),
                json!({"spec": {"selector": {"matchLabels": {"b": "c"}}, "template": {"metadata": {"labels": {"b": "c"}}}}}),
                &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"a\",\"b\":\"c\"}}: field is immutable"],
            );
            check(
                plural,
                None,
                json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
                &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
            );
        }
    }

    #[test]
    fn services_are_checked() {
        let create = |spec: Value, expected: &[&str]| check("services", None, json!({ "spec": spec }), expected);
        create(json!({"ports": []}), &["spec.ports: Required value"]);
        create(json!({"ports": [], "clusterIP": "None"}), &[]);
        create(json!({"ports": [], "type": "ExternalName"}), &["spec.externalName: Required value"]);
        create(
            json!({"ports": [{"port": 80}, {"port": 80, "nodePort": 30000}], "clusterIP": "10.96.0"}),
            &[
                "spec.ports[0].name: Required value",
                "spec.ports[1].name: Required value",
                "spec.clusterIPs[0]: Invalid value: \"10.96.0\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
                "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
            ],
        );
    }

    #[test]
    fn data_is_checked() {
        check(
            "configmaps",
            None,
            json!({"data": {"a/b": "c"}}),
            &[
                "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            ],
        );
        check(
            "configmaps",
            None,
            json!({"data": {"a": "x".repeat(1 << 20), "b": "y"}}),
            &[": Too long: may not be more than 1048576 bytes"],
        );
        check(
            "secrets",
            None,
            json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": "c"}}),
            &["data[tls.key]: Required value"],
        );
        check("secrets", Some(Part::Main), json!({"type": "x"}), &["type: Invalid value: \"x\": field is immutable"]);
        check(
            "rolebindings",
            Some(Part::Main),
            json!({"roleRef": {"name": "edit"}}),
            &[
                "roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"edit\"}: cannot change roleRef",
            ],
        );
        check(
            "endpointslices",
            None,
            json!({"endpoints": [{"addresses": ["10.0.0.300"]}, {"addresses": ["127.0.0.1"]}]}),
            &[
                "endpoints[0].addresses[0]: Invalid value: \"10.0.0.300\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "endpoints[1].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        );
        check(
            "leases",
            None,
            json!({"spec": {"leaseDurationSeconds": 0}}),
            &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        );
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        for plural in ["pods", "deployments", "services", "namespaces"] {
            let kind = KINDS.iter().find(|it| it.names.plural == plural).unwrap();
            insta::assert_yaml_snapshot!(plural, admit(kind, minimal(kind)));
        }
    }
}
