//! Every built-in kind, in the order in which discovery lists them. A new kind is a file below and a line in [`KINDS`].

mod cells;
mod checks;
mod pod_spec;
mod workload;

mod config_map;
mod endpoints;
mod event;
mod event_columns;
mod event_rules;
mod namespace;
mod node;
mod pod;
mod secret;
mod service;
mod service_account;

mod deployment;
mod replica_set;

mod lease;

mod endpoint_slice;

mod event_v1;

mod cluster_role;
mod cluster_role_binding;
mod rbac;
mod role;
mod role_binding;

use k8s_openapi::api::{apps, coordination, core, discovery, events, rbac as rbac_api};

use crate::kind::Kind;

/// The built-in kinds.
pub static KINDS: &[Kind] = &[
    Kind::of::<core::v1::ConfigMap>(),
    Kind::of::<core::v1::Endpoints>(),
    Kind::of::<core::v1::Event>(),
    Kind::of::<core::v1::Namespace>(),
    Kind::of::<core::v1::Node>(),
    Kind::of::<core::v1::Pod>(),
    Kind::of::<core::v1::Secret>(),
    Kind::of::<core::v1::Service>(),
    Kind::of::<core::v1::ServiceAccount>(),
    Kind::of::<apps::v1::Deployment>(),
    Kind::of::<apps::v1::ReplicaSet>(),
    Kind::of::<coordination::v1::Lease>(),
    Kind::of::<discovery::v1::EndpointSlice>(),
    Kind::of::<events::v1::Event>().stored_as("events", event_v1::CONVERSION),
    Kind::of::<rbac_api::v1::ClusterRole>(),
    Kind::of::<rbac_api::v1::ClusterRoleBinding>(),
    Kind::of::<rbac_api::v1::Role>(),
    Kind::of::<rbac_api::v1::RoleBinding>(),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::{Value, json};

    use super::KINDS;
    use crate::json::Strictness;
    use crate::kind::{Body, Kind, Part, Scope, Write};
    use crate::meta::MetaContext;

    fn context(kind: &Kind) -> MetaContext<'static> {
        MetaContext {
            name: None,
            namespace: if kind.scope == Scope::Namespaced { "default" } else { "" },
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            uid: "00000000-0000-4000-8000-000000000000",
            suffix: "abcde",
        }
    }

    /// The least that a kind's validation lets pass.
    fn minimal(kind: &Kind) -> Value {
        let container = json!({"name": "a", "image": "nginx"});
        let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}});
        let mut it = match kind.kind {
            "Pod" => json!({"spec": {"containers": [container]}}),
            "Service" => json!({"spec": {"ports": [{"port": 80}]}}),
            "Deployment" | "ReplicaSet" => {
                json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}})
            }
            "Event" if kind.group.is_empty() => json!({"involvedObject": {"namespace": "default"}}),
            "Event" => json!({
                "regarding": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
                "reason": "Tried", "action": "Trying", "reportingController": "a.b/c", "reportingInstance": "c-0",
            }),
            "EndpointSlice" => json!({"addressType": "IPv4", "endpoints": []}),
            "RoleBinding" | "ClusterRoleBinding" => json!({"roleRef": {"kind": "ClusterRole", "name": "view"}}),
            _ => json!({}),
        };
        it["metadata"] = json!({"name": "a"});
        it
    }

    fn admit(kind: &Kind, value: Value) -> Value {
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
            assert!(resources.insert((kind.group, kind.names.plural)), "{kind:?} is listed twice");
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
            for part in [Part::Main, Part::Status] {
                let write = Write {
                    part,
                    new: Body::Value(value.clone()),
                    old: Some(&stored),
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
}
