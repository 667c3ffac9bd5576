//! What whoever writes an object of a kind is warned of, at its creation and at updates.

use super::*;
use crate::json::Strictness;
use crate::kind::{Body, Write};

/// The warnings about the minimal object with `change`: created so, or updated to it.
fn warned(plural: &str, updated: bool, change: Value, expected: &[&str]) {
    let kind = kind(plural);
    let stored = updated.then(|| serde_json::to_vec(&admit(kind, minimal(kind))).unwrap());
    let mut new = minimal(kind);
    if let Some(stored) = &stored {
        new = serde_json::from_slice(stored).unwrap();
        new["metadata"]["resourceVersion"] = "7".into();
    }
    merge(&mut new, change);
    let (old, meta) = (stored.as_deref(), super::super::tests::context(kind));
    let write = Write { part: Part::Main, new: Body::Value(new), old, meta, strictness: Strictness::Strict };
    let admitted = kind.admit(write).unwrap_or_else(|status| panic!("{plural}: {status}"));
    assert_eq!(admitted.warnings, expected, "{plural}");
}

#[test]
fn names_that_no_host_could_have_are_told_of_once() {
    let named = json!({"metadata": {"name": "a.b"}});
    let why = "must not contain dots";
    let built = format!(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{why}]"
    );
    for plural in ["deployments", "replicasets", "replicationcontrollers", "jobs", "cronjobs"] {
        warned(plural, false, named.clone(), &[&built]);
    }
    warned("daemonsets", false, named.clone(), &[]);
    let of_host = format!(
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{why}]"
    );
    warned("pods", false, named, &[&of_host]);
}

#[test]
fn templates_are_told_of_where_they_change() {
    let spec = json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}});
    let label = "nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead";
    let template = json!({"spec": {"template": {"spec": spec}}});
    for plural in ["deployments", "replicasets", "replicationcontrollers", "daemonsets", "statefulsets"] {
        for updated in [false, true] {
            warned(plural, updated, template.clone(), &[&format!("spec.template.spec.{label}")]);
        }
        // Nothing that is wanted changes here.
        warned(plural, true, json!({"metadata": {"labels": {"a": "b"}}}), &[]);
    }
    warned("jobs", false, template.clone(), &[&format!("spec.template.spec.{label}")]);
    let nested = json!({"spec": {"jobTemplate": template}});
    warned("cronjobs", false, nested, &[&format!("spec.jobTemplate.spec.template.spec.{label}")]);
    warned("podtemplates", false, json!({"template": {"spec": spec}}), &[&format!("template.spec.{label}")]);
    let many = json!({"spec": {"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001, "backoffLimit": 1}});
    warned(
        "jobs",
        false,
        many,
        &[
            "spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
        ],
    );
}

#[test]
fn what_controllers_write_is_not_looked_into() {
    let address = "2001:DB8::1";
    let told = |path: &str| {
        format!("{path}: IPv6 address \"{address}\" should be in RFC 5952 canonical format (\"2001:db8::1\")")
    };
    let slice = json!({"addressType": "IPv6", "endpoints": [{"addresses": [address]}]});
    warned("endpointslices", false, slice.clone(), &[&told("endpoints[0].addresses[0]")]);
    let endpoints = json!({"subsets": [{"addresses": [{"ip": address}]}]});
    for updated in [false, true] {
        warned("endpoints", updated, endpoints.clone(), &[&told("subsets[0].addresses[0].ip")]);
    }
    let labelled = |mut it: Value, key: &str, value: &str| {
        it["metadata"]["labels"][key] = value.into();
        it
    };
    let slice = labelled(slice, "endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
    warned("endpointslices", false, slice, &[]);
    warned("endpoints", false, labelled(endpoints, "endpoints.kubernetes.io/managed-by", "endpoint-controller"), &[]);
    let named = json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.example.com"]}]});
    warned("endpointslices", false, named, &["spec.addressType: FQDN endpoints are deprecated"]);
}

#[test]
fn stateful_sets_and_claims() {
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1500m"}}});
    let fraction = "resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer";
    warned(
        "statefulsets",
        false,
        json!({"spec": {"revisionHistoryLimit": -1, "volumeClaimTemplates": [{"metadata": {"name": "c"}, "spec": claim}]}}),
        &[
            &format!("spec.volumeClaimTemplates[0].Spec.{fraction}"),
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
        ],
    );
    let annotated = json!({"annotations": {"volume.beta.kubernetes.io/storage-class": "c"}});
    let class = "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead";
    warned(
        "persistentvolumeclaims",
        false,
        json!({"metadata": annotated, "spec": claim}),
        &[class, &format!("spec.{fraction}")],
    );
    warned(
        "persistentvolumes",
        true,
        json!({"metadata": annotated, "spec": {"persistentVolumeReclaimPolicy": "Retain"}}),
        &[class],
    );
}

#[test]
fn services_and_ingresses() {
    warned(
        "services",
        false,
        json!({"metadata": {"annotations": {"service.kubernetes.io/topology-aware-hints": "auto"}},
            "spec": {"clusterIP": "None", "externalIPs": ["2001:DB8::1"], "sessionAffinity": "ClientIP", "externalName": "a.b", "trafficDistribution": "PreferClose"}}),
        &[
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
            "spec.externalIPs[0]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ],
    );
    let annotated = json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}}});
    let class = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
    warned("ingresses", false, annotated.clone(), &[class]);
    warned("ingresses", true, annotated, &[]);
}

#[test]
fn what_nodes_and_classes_should_not_say_any_more() {
    warned(
        "nodes",
        false,
        json!({"spec": {"externalID": "e", "configSource": {"configMap": {"name": "c", "namespace": "d", "kubeletConfigKey": "k"}}}}),
        &["spec.externalID: this field is deprecated, and is unused by Kubernetes"],
    );
    let old = "beta.kubernetes.io/arch";
    let message = "deprecated since v1.14; use \"kubernetes.io/arch\" instead";
    warned(
        "storageclasses",
        false,
        json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": old, "values": ["a"]}]}]}),
        &[&format!("allowedTopologies[0].matchLabelExpressions[0].key: {message}")],
    );
    warned(
        "csistoragecapacities",
        false,
        json!({"nodeTopology": {"matchLabels": {old: "a"}, "matchExpressions": [{"key": old, "operator": "Exists"}]}}),
        &[
            &format!("nodeTopology.matchExpressions[0].key: {old} is {message}"),
            &format!("nodeTopology.matchLabels.{old}: {message}"),
        ],
    );
    warned(
        "runtimeclasses",
        false,
        json!({"scheduling": {"nodeSelector": {old: "a"}}}),
        &[&format!("scheduling.nodeSelector: {message}")],
    );
    let secrets = json!({"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}});
    warned(
        "serviceaccounts",
        false,
        secrets,
        &[
            "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets",
        ],
    );
}

#[test]
fn pods_are_told_of_only_when_they_are_new() {
    let metadata = json!({"annotations": {"container.seccomp.security.alpha.kubernetes.io/c": "unconfined"}});
    let spec = json!({
        "dnsConfig": {"nameservers": ["::ffff:1.2.3.4"]},
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "z"}}]},
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}]}}]}},
        "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostIP": "1.2.3.4"}]}],
    });
    warned(
        "pods",
        false,
        json!({"metadata": metadata, "spec": spec}),
        &[
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: b c is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            "metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
            "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}",
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
            "spec.dnsConfig.nameservers[0]: non-standard IP address \"::ffff:1.2.3.4\" will be considered invalid in a future Kubernetes release: use \"1.2.3.4\"",
        ],
    );
    warned("pods", true, json!({"metadata": {"annotations": {"scheduler.alpha.kubernetes.io/critical-pod": ""}}}), &[]);
}

#[test]
fn secrets_of_servers_are_looked_into() {
    use base64::Engine as _;
    let pair = |certificate: &str, key: &str, expected: &[&str]| {
        let of = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let data = json!({"tls.crt": of(certificate), "tls.key": of(key)});
        warned("secrets", false, json!({"type": "kubernetes.io/tls", "data": data}), expected);
    };
    let block = |label: &str| format!("-----BEGIN {label}-----\nAA==\n-----END {label}-----\n");
    let (certificate, key) = (block("CERTIFICATE"), block("EC PRIVATE KEY"));
    pair(&certificate, &key, &[]);
    pair(&format!("{key}{certificate}"), &format!("{certificate}{key}"), &[]);
    pair("", &key, &["tls: failed to find any PEM data in certificate input"]);
    pair(
        &key,
        &certificate,
        &[
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
        ],
    );
    pair(&certificate, "x", &["tls: failed to find any PEM data in key input"]);
    pair(&certificate, &certificate, &["tls: found a certificate rather than a key in the PEM for the private key"]);
    pair(
        &format!("{}{}", block("A"), block("B")),
        &key,
        &[
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [A B]",
        ],
    );
}

#[test]
fn what_belongs_to_no_feature_that_is_on_is_left_out() {
    let leases = kind("leases");
    let mut it = minimal(leases);
    merge(&mut it, json!({"spec": {"holderIdentity": "a", "strategy": "x", "preferredHolder": "b"}}));
    assert_eq!(admit(leases, it)["spec"], json!({"holderIdentity": "a"}));
}

#[test]
fn accounts_know_secrets_by_their_names() {
    let accounts = kind("serviceaccounts");
    let mut it = minimal(accounts);
    merge(&mut it, json!({"secrets": [{"name": "s", "namespace": "other", "uid": "u", "kind": "Secret"}]}));
    assert_eq!(admit(accounts, it)["secrets"], json!([{"name": "s"}]));
}
