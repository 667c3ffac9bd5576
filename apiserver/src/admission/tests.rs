//! Plugins against a store in memory.

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::draft::Draft;
use orlop_api::head::Head;
use orlop_api::json::Strictness;
use orlop_api::kind::{Body, Part, Sub, Write};
use orlop_api::meta::MetaContext;
use orlop_store::memory::Memory;
use orlop_store::{Commit, Expect};
use serde_json::{Value, json};

use super::*;
use crate::stage::{Identity, Notes, Operation, Subject};

/// An object of a kind on its way into the store.
fn draft(kind: &'static Kind, namespace: &'static str, object: Value) -> Draft<'static> {
    let meta = MetaContext { name: None, namespace, now: jiff::Timestamp::UNIX_EPOCH, uid: "u", suffix: "bcdfg" };
    let strictness = Strictness::Strict;
    kind.draft(Write { part: Part::Main, new: Body::Value(object), old: None, meta, strictness }).unwrap()
}

/// A cache that has seen nothing yet: everything is found in the store.
struct Empty;

impl Objects for Empty {
    fn find(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Found> {
        None
    }
}

async fn sight(objects: &[(&str, Value)]) -> Sight {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    for (kind, object) in objects {
        let kind = registry::named("", kind).unwrap();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = kind.key(&text("namespace"), &text("name")).into();
        let value = Some(Bytes::from(object.to_string()));
        store.commit(Commit { key, expect: Expect::Absent, value }).await.unwrap();
    }
    Sight { objects: Arc::new(Empty), store }
}

fn write<'a>(
    who: &'a Identity,
    operation: Operation,
    kind: (&str, &str),
    namespace: &'a str,
    name: &'a str,
) -> Admission<'a> {
    let kind = registry::named(kind.0, kind.1).unwrap();
    Admission {
        identity: who,
        operation,
        kind,
        sub: None,
        namespace,
        name,
        dry_run: false,
        old: None,
        aside: None,
        request: None,
        notes: Notes::default(),
    }
}

#[tokio::test]
async fn namespaces_must_be_there_and_stay() {
    let sight = sight(&[
        ("Namespace", json!({"metadata":{"name":"here","uid":"1"},"status":{"phase":"Active"}})),
        ("Namespace", json!({"metadata":{"name":"going","uid":"2","deletionTimestamp":"2026-01-01T00:00:00Z"},"status":{"phase":"Terminating"}})),
    ])
    .await;
    let plugin = namespace_lifecycle::NamespaceLifecycle::new(sight);
    let who = Identity::new("ann", &[]);
    let check = async |operation, kind: &str, namespace: &str, name: &str, expected: Option<(u16, &str)>| {
        let write = write(&who, operation, ("", kind), namespace, name);
        let admitted = if plugin.admits(&write) { plugin.admit(&write, None).await } else { Ok(()) };
        match (admitted, expected) {
            (Ok(()), None) => None,
            (Err(refusal), Some((code, text))) => {
                assert_eq!((refusal.code(), refusal.message.as_str()), (code, text));
                refusal.details
            }
            (got, expected) => panic!("{got:?} is not {expected:?}"),
        }
    };
    check(Operation::Create, "ConfigMap", "here", "a", None).await;
    check(Operation::Create, "ConfigMap", "nowhere", "a", Some((404, "namespaces \"nowhere\" not found"))).await;
    check(Operation::Delete, "ConfigMap", "going", "a", None).await;
    check(Operation::Update, "ConfigMap", "going", "a", None).await;
    let why =
        "configmaps \"a\" is forbidden: unable to create new content in namespace going because it is being terminated";
    let details = check(Operation::Create, "ConfigMap", "going", "a", Some((403, why))).await.unwrap();
    assert_eq!(details.causes[0].reason, "NamespaceTerminating");
    let why = "namespaces \"kube-system\" is forbidden: this namespace may not be deleted";
    check(Operation::Delete, "Namespace", "", "kube-system", Some((403, why))).await;
    check(Operation::Delete, "Namespace", "", "here", None).await;
}

#[tokio::test(start_paused = true)]
async fn pods_run_as_an_account_that_exists() {
    let sight = sight(&[
        ("Namespace", json!({"metadata":{"name":"d","uid":"1"}})),
        (
            "ServiceAccount",
            json!({"metadata":{"namespace":"d","name":"bot","uid":"2"},"imagePullSecrets":[{"name":"registry"}]}),
        ),
    ])
    .await;
    let plugin = service_account::ServiceAccount::new(sight.clone());
    let who = Identity::new("ann", &[]);
    let write = write(&who, Operation::Create, ("", "Pod"), "d", "p");
    assert!(plugin.admits(&write));
    let pod = |mut spec: Value| {
        spec["containers"] = json!([{"name": "c", "image": "i"}]);
        draft(write.kind, "d", json!({"metadata": {"name": "p"}, "spec": spec}))
    };
    let mut it = pod(json!({"serviceAccountName": "bot"}));
    plugin.admit(&write, Some(&mut it)).await.unwrap();
    let secrets = it.get::<Pod>().unwrap().spec.as_ref().unwrap().image_pull_secrets.clone().unwrap();
    assert_eq!(secrets[0].name, "registry");
    assert_eq!(
        plugin.admit(&write, Some(&mut pod(json!({"serviceAccountName": "missing"})))).await.unwrap_err().message,
        "pods \"p\" is forbidden: error looking up service account d/missing: serviceaccount \"missing\" not found"
    );
    // The default account comes a moment after its namespace.
    let kind = registry::named("", "ServiceAccount").unwrap();
    let store = sight.store.clone();
    let late = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        let value = Some(Bytes::from_static(br#"{"metadata":{"namespace":"d","name":"default","uid":"3"}}"#));
        store.commit(Commit { key: kind.key("d", "default").into(), expect: Expect::Absent, value }).await.unwrap();
    });
    let mut it = pod(json!({}));
    plugin.admit(&write, Some(&mut it)).await.unwrap();
    assert_eq!(it.get::<Pod>().unwrap().spec.as_ref().unwrap().service_account_name.as_deref(), Some("default"));
    late.await.unwrap();
}

#[tokio::test]
async fn nodes_keep_to_their_own() {
    let who = Identity::new("system:node:n1", &["system:nodes"]);
    let on =
        |name: &str, node: &str| json!({"metadata":{"namespace":"d","name":name,"uid":name},"spec":{"nodeName":node}});
    let sight = sight(&[("Pod", on("mine", "n1")), ("Pod", on("other", "n2"))]).await;
    let plugin = node_restriction::NodeRestriction::new(sight.clone());
    for (pod, allowed) in [("mine", true), ("other", false), ("gone", true)] {
        let eviction = crate::aside::Aside::new("policy/v1", "Eviction", Sub::Eviction, json!({}));
        let write = Admission { aside: Some(&eviction), ..write(&who, Operation::Create, ("", "Pod"), "d", pod) };
        assert!(plugin.sees_asides() && plugin.validates(&write));
        assert_eq!(plugin.validate(&write, Subject::default()).await.is_ok(), allowed, "{pod}");
    }
    let check = async |operation, kind: (&str, &str), sub, new: Value, old: Value, expected: Option<&str>| {
        let namespace = if kind.1 == "Lease" { "kube-node-lease" } else { "" };
        let (new, old, write) =
            (new.to_string(), old.to_string(), Admission { sub, ..write(&who, operation, kind, namespace, "x") });
        let got = node_restriction::NodeRestriction::new(sight.clone())
            .validate(
                &Admission { old: Some(old.as_bytes()), ..write },
                Subject { json: Some(new.as_bytes()), draft: None },
            )
            .await;
        match (got, expected) {
            (Ok(()), None) => {}
            (Err(refusal), Some(why)) => assert!(refusal.message.contains(why), "{}", refusal.message),
            (got, expected) => panic!("{got:?} is not {expected:?}"),
        }
    };
    let node = |name: &str, labels: Value, taints: Value| json!({"metadata":{"name":name,"labels":labels},"spec":{"taints":taints}});
    let nodes = ("", "Node");
    let plain = node("n1", json!({}), Value::Null);
    check(
        Operation::Create,
        nodes,
        None,
        node("n1", json!({"kubernetes.io/hostname":"n1","mine":"1","node.kubernetes.io/any":"1"}), json!([])),
        Value::Null,
        None,
    )
    .await;
    check(
        Operation::Create,
        nodes,
        None,
        node("n2", json!({}), json!([])),
        Value::Null,
        Some("node \"n1\" is not allowed to modify node \"n2\""),
    )
    .await;
    check(
        Operation::Update,
        nodes,
        None,
        node("n1", json!({"node-restriction.kubernetes.io/tier":"a"}), Value::Null),
        plain.clone(),
        Some("node-restriction.kubernetes.io/tier"),
    )
    .await;
    check(
        Operation::Update,
        nodes,
        None,
        node("n1", json!({"node-role.kubernetes.io/control-plane":""}), Value::Null),
        plain.clone(),
        Some("not allowed to modify labels"),
    )
    .await;
    check(
        Operation::Update,
        nodes,
        None,
        node("n1", json!({}), json!([{"key":"a"}])),
        plain.clone(),
        Some("not allowed to modify taints"),
    )
    .await;
    check(Operation::Update, nodes, Some(Sub::Status), plain.clone(), plain, None).await;
    let pod = |node: &str, label: &str| json!({"metadata":{"labels":{"a":label}},"spec":{"nodeName":node}});
    let pods = ("", "Pod");
    check(Operation::Update, pods, Some(Sub::Status), pod("n1", "1"), pod("n1", "1"), None).await;
    check(Operation::Update, pods, Some(Sub::Status), pod("n1", "2"), pod("n1", "1"), Some("cannot update labels"))
        .await;
    check(
        Operation::Update,
        pods,
        Some(Sub::Status),
        pod("n2", "1"),
        pod("n2", "1"),
        Some("can only update pod status for pods"),
    )
    .await;
    check(Operation::Delete, pods, None, Value::Null, pod("n2", "1"), Some("can only delete pods")).await;
    check(Operation::Create, pods, None, pod("n1", "1"), Value::Null, Some("can only create mirror pods")).await;
    let leases = ("coordination.k8s.io", "Lease");
    check(Operation::Create, leases, None, json!({"metadata":{"name":"n1"}}), Value::Null, None).await;
    check(Operation::Create, leases, None, json!({"metadata":{"name":"n2"}}), Value::Null, Some("same name")).await;
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let policy = Arc::new(Policy::default());
    let put = |kind: &str, namespace: &str, name: &str, object: Value| {
        let kind = registry::named("rbac.authorization.k8s.io", kind).unwrap();
        let head = Head { namespace: namespace.into(), name: name.into(), ..Head::default() };
        policy.put(kind, &head, object.to_string().as_bytes());
    };
    put(
        "Role",
        "d",
        "own",
        json!({"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]},
        {"apiGroups":["rbac.authorization.k8s.io"],"resources":["*"],"verbs":["create"]}]}),
    );
    put(
        "RoleBinding",
        "d",
        "own",
        json!({"subjects":[{"kind":"User","name":"ann"}],"roleRef":{"kind":"Role","name":"own"}}),
    );
    put("ClusterRole", "", "cluster-admin", json!({"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}));
    let plugin = escalation::Escalation::new(policy.clone());
    let check = async |user: &str, kind: &str, object: Value, expected: Option<&str>| {
        let who = Identity::new(user, &[]);
        let write = write(&who, Operation::Create, ("rbac.authorization.k8s.io", kind), "d", "x");
        let object = object.to_string();
        let subject = Subject { json: Some(object.as_bytes()), draft: None };
        match (plugin.validate(&write, subject).await, expected) {
            (Ok(()), None) => {}
            (Err(refusal), Some(text)) => assert_eq!(refusal.message, text),
            (got, expected) => panic!("{got:?} is not {expected:?}"),
        }
    };
    check(
        "ann",
        "Role",
        json!({"rules":[{"apiGroups":[""],"resources":["pods"],"resourceNames":["p"],"verbs":["get"]}]}),
        None,
    )
    .await;
    check(
        "ann",
        "Role",
        json!({"rules":[{"apiGroups":[""],"resources":["secrets","pods"],"verbs":["get"]}]}),
        Some("roles.rbac.authorization.k8s.io \"x\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"),
    )
    .await;
    let bind = |kind: &str, name: &str| json!({"subjects":[],"roleRef":{"kind":kind,"name":name}});
    check("ann", "RoleBinding", bind("Role", "own"), None).await;
    check(
        "ann",
        "RoleBinding",
        bind("ClusterRole", "cluster-admin"),
        Some("rolebindings.rbac.authorization.k8s.io \"x\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}"),
    )
    .await;
    check("ann", "RoleBinding", bind("Role", "missing"), Some("rolebindings.rbac.authorization.k8s.io \"x\" is forbidden: role.rbac.authorization.k8s.io \"missing\" not found")).await;
}

#[tokio::test]
async fn only_namespaces_for_admins_have_the_devices_of_others() {
    let sight = sight(&[
        (
            "Namespace",
            json!({"metadata":{"name":"admins","uid":"1","labels":{"resource.kubernetes.io/admin-access":"true"}}}),
        ),
        ("Namespace", json!({"metadata":{"name":"d","uid":"2"}})),
    ])
    .await;
    let plugin = admin_access::AdminAccess::new(&sight);
    let who = Identity::new("ann", &[]);
    let request =
        |name: &str, admin: bool| json!({"name": name, "exactly": {"deviceClassName": "c", "adminAccess": admin}});
    let spec = json!({"devices": {"requests": [request("a", false), request("b", true)]}});
    let claim = |spec: &Value, status: Value| json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "x", "namespace": "d"}, "spec": spec, "status": status});
    let template = json!({"metadata": {"name": "x"}, "spec": {"spec": spec}});
    let plain = json!({"devices": {"requests": [request("a", false)]}});
    for (kind, object, refused) in [
        ("ResourceClaim", json!({"metadata": {"name": "x"}, "spec": spec}), true),
        ("ResourceClaimTemplate", template, true),
        ("ResourceClaim", json!({"metadata": {"name": "x"}, "spec": plain}), false),
    ] {
        for namespace in ["admins", "d"] {
            let write = write(&who, Operation::Create, ("resource.k8s.io", kind), namespace, "x");
            assert!(plugin.validates(&write));
            let draft = draft(write.kind, namespace, object.clone());
            let got = plugin.validate(&write, Subject { json: None, draft: Some(&draft) }).await;
            assert_eq!(got.is_err(), refused && namespace == "d", "{kind} in {namespace}: {got:?}");
            if let Err(refusal) = got {
                let why = format!(
                    "{kind}.resource.k8s.io \"x\" is invalid: spec.devices.requests[1].exactly.adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
                );
                assert_eq!((refusal.code(), refusal.message), (422, why));
            }
        }
    }
    let given = json!({"allocation": {"devices": {"results": [{"request": "b", "driver": "e.com", "pool": "p", "device": "g", "adminAccess": true}]}}});
    for (before, refused) in [(json!({}), true), (given.clone(), false)] {
        let write = Admission {
            sub: Some(Sub::Status),
            ..write(&who, Operation::Update, ("resource.k8s.io", "ResourceClaim"), "d", "x")
        };
        let old = claim(&spec, before).to_string();
        let meta =
            MetaContext { name: None, namespace: "d", now: jiff::Timestamp::UNIX_EPOCH, uid: "u", suffix: "bcdfg" };
        let new = Body::Value(claim(&spec, given.clone()));
        let (old, strictness) = (Some(old.as_bytes()), Strictness::Strict);
        let draft = write.kind.draft(Write { part: Part::Status, new, old, meta, strictness }).unwrap();
        let got = plugin.validate(&write, Subject { json: None, draft: Some(&draft) }).await;
        assert_eq!(got.is_err(), refused, "{got:?}");
        if let Err(refusal) = got {
            assert!(
                refusal.message.contains(" status.allocation.devices.results[0].adminAccess: Forbidden: admin access"),
                "{refusal:?}"
            );
        }
    }
}
