//! What every namespace has: the service account `default`, and the cluster's CA for pods to trust.
//!
//! In: namespaces, their accounts, their config maps named `kube-root-ca.crt`. Out: what is missing or was changed.

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::json;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{ROOT_CA, World};

const DEFAULT: &str = "default";

/// The controller.
pub struct ServiceAccounts {
    /// The CA's certificate; without one no config map is published.
    pub root_ca: Option<String>,
}

impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.namespaces);
        let namespace = |key: &Key| Key::new("", key.namespace());
        wires.on(&world.service_accounts, move |change| {
            if change.key.name() == DEFAULT { vec![namespace(&change.key)] } else { Vec::new() }
        });
        wires.on(&world.root_cas, move |change| vec![namespace(&change.key)]);
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(namespace) = world.namespaces.get(key) else { return plan };
        if namespace.metadata.deletion_timestamp.is_some() {
            return plan;
        }
        let create = |resource, body| Action::Create { resource, namespace: key.name().to_owned(), body };
        if world.service_accounts.get(&Key::new(key.name(), DEFAULT)).is_none() {
            plan.act(create(SERVICE_ACCOUNTS, json!({ "metadata": { "name": DEFAULT, "namespace": key.name() } })));
        }
        let Some(ca) = &self.root_ca else { return plan };
        let data = json!({ "ca.crt": ca });
        match world.root_cas.get(&Key::new(key.name(), ROOT_CA)) {
            None => {
                let about = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
                let annotations = json!({ "kubernetes.io/description": about });
                let metadata = json!({ "name": ROOT_CA, "namespace": key.name(), "annotations": annotations });
                plan.act(create(CONFIG_MAPS, json!({ "metadata": metadata, "data": data })));
            }
            Some(map) if map.data.len() != 1 || map.data.get("ca.crt") != Some(ca) => {
                let mut patch = json!({ "data": data });
                for other in map.data.keys().filter(|it| *it != "ca.crt") {
                    patch["data"][other] = serde_json::Value::Null;
                }
                plan.act(Action::Patch {
                    resource: CONFIG_MAPS,
                    key: key_of(&map.metadata),
                    sub: None,
                    uid: uid_of(&map.metadata).to_owned(),
                    revision: map.metadata.resource_version.clone(),
                    patch,
                });
            }
            Some(_) => {}
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(world: &World) -> String {
        let controller = ServiceAccounts { root_ca: Some("CA".to_owned()) };
        controller.decide(&Key::new("", "a"), world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    #[test]
    fn a_namespace_gets_what_every_namespace_has() {
        let world = World::default();
        let namespace = json!({ "metadata": { "name": "a", "uid": "n" } });
        world.namespaces.apply(serde_json::from_value(namespace.clone()).unwrap());
        insta::assert_snapshot!(plan(&world), @r#"
        create serviceaccounts a/default {"metadata":{"name":"default","namespace":"a"}}
        create configmaps a/kube-root-ca.crt {"data":{"ca.crt":"CA"},"metadata":{"annotations":{"kubernetes.io/description":"Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."},"name":"kube-root-ca.crt","namespace":"a"}}
        "#);
        let account = json!({ "metadata": { "namespace": "a", "name": "default", "uid": "s" } });
        world.service_accounts.apply(serde_json::from_value(account).unwrap());
        let map = json!({ "metadata": { "namespace": "a", "name": ROOT_CA, "uid": "m", "resourceVersion": "5" },
            "data": { "ca.crt": "old", "other": "x" } });
        world.root_cas.apply(serde_json::from_value(map).unwrap());
        insta::assert_snapshot!(plan(&world), @r#"patch configmaps a/kube-root-ca.crt at 5 {"data":{"ca.crt":"CA","other":null}}"#);
        let mut ending = namespace;
        ending["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z".into();
        world.namespaces.apply(serde_json::from_value(ending).unwrap());
        insta::assert_snapshot!(plan(&world), @"nothing to do");
    }
}
