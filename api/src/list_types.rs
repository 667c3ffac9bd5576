//! How the lists and maps of Kubernetes' types are merged: patch strategies, merge keys, list types and list map keys.
//!
//! Source: the extensions `x-kubernetes-patch-strategy`, `x-kubernetes-patch-merge-key`, `x-kubernetes-list-type`,
//! `x-kubernetes-list-map-keys` and `x-kubernetes-map-type` of Kubernetes' OpenAPI document, which the Rust types do not carry. One table
//! serves strategic merge patch, server-side apply and our own OpenAPI documents. A list without a row is atomic.

/// How the elements of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// It is replaced as a whole.
    Atomic,
    /// Scalars, each of which stands once.
    Set,
    /// Objects with these fields as key.
    Map(&'static [&'static str]),
}

/// How one field is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The list type, where the field is a list.
    pub list: Option<List>,
    /// The patch strategy: `merge`, `retainKeys`, both with a comma, or nothing.
    pub strategy: &'static str,
    /// The key by which strategic merge patch finds elements; empty for scalars.
    pub merge_key: &'static str,
    /// Whether the field is a map that is replaced as a whole.
    pub atomic_map: bool,
}

impl Rule {
    /// Whether a strategic merge patch merges the field's list instead of replacing it.
    pub fn merges(&self) -> bool {
        self.strategy.split(',').any(|it| it == "merge")
    }
}

/// A field with a rule: the type's name below its package, the field, the rule.
type Row = (&'static str, &'static str, Rule);

const fn rule(list: Option<List>, strategy: &'static str, merge_key: &'static str) -> Rule {
    Rule { list, strategy, merge_key, atomic_map: false }
}

const ATOMIC: Rule = rule(Some(List::Atomic), "", "");
const SET: Rule = rule(Some(List::Set), "", "");
const ATOMIC_MAP: Rule = Rule { list: None, strategy: "", merge_key: "", atomic_map: true };
const BY_NAME: Rule = merged_map(&["name"], "name");
const BY_TYPE: Rule = merged_map(&["type"], "type");
const RETAINED_BY_NAME: Rule = rule(Some(List::Map(&["name"])), "merge,retainKeys", "name");

const fn merged_map(keys: &'static [&'static str], merge_key: &'static str) -> Rule {
    rule(Some(List::Map(keys)), "merge", merge_key)
}

const CORE: &str = "io.k8s.api.core.v1.";
const APPS: &str = "io.k8s.api.apps.v1.";
const BATCH: &str = "io.k8s.api.batch.v1.";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const RBAC: &str = "io.k8s.api.rbac.v1.";
const DISCOVERY: &str = "io.k8s.api.discovery.v1.";
const NETWORKING: &str = "io.k8s.api.networking.v1.";
const NODE: &str = "io.k8s.api.node.v1.";
const STORAGE: &str = "io.k8s.api.storage.v1.";

/// What a key field of a list counts as where an element leaves it out: the defaults of the types' schemas.
pub const KEY_DEFAULTS: &[(&str, &str)] = &[("protocol", "TCP")];

const PORTS: Rule = merged_map(&["containerPort", "protocol"], "containerPort");
const MOUNTS: Rule = merged_map(&["mountPath"], "mountPath");
const DEVICES: Rule = merged_map(&["devicePath"], "devicePath");

const CORE_ROWS: &[Row] = &[
    ("Capabilities", "add", ATOMIC),
    ("Capabilities", "drop", ATOMIC),
    ("CephFSPersistentVolumeSource", "monitors", ATOMIC),
    ("CephFSVolumeSource", "monitors", ATOMIC),
    ("ConfigMapProjection", "items", ATOMIC),
    ("ConfigMapVolumeSource", "items", ATOMIC),
    ("Container", "args", ATOMIC),
    ("Container", "command", ATOMIC),
    ("Container", "env", BY_NAME),
    ("Container", "envFrom", ATOMIC),
    ("Container", "ports", PORTS),
    ("Container", "resizePolicy", ATOMIC),
    ("Container", "restartPolicyRules", ATOMIC),
    ("Container", "volumeDevices", DEVICES),
    ("Container", "volumeMounts", MOUNTS),
    ("ContainerImage", "names", ATOMIC),
    ("ContainerStatus", "allocatedResourcesStatus", BY_NAME),
    ("ContainerStatus", "volumeMounts", MOUNTS),
    ("DownwardAPIProjection", "items", ATOMIC),
    ("DownwardAPIVolumeSource", "items", ATOMIC),
    ("EndpointSubset", "addresses", ATOMIC),
    ("EndpointSubset", "notReadyAddresses", ATOMIC),
    ("EndpointSubset", "ports", ATOMIC),
    ("Endpoints", "subsets", ATOMIC),
    ("EphemeralContainer", "args", ATOMIC),
    ("EphemeralContainer", "command", ATOMIC),
    ("EphemeralContainer", "env", BY_NAME),
    ("EphemeralContainer", "envFrom", ATOMIC),
    ("EphemeralContainer", "ports", PORTS),
    ("EphemeralContainer", "resizePolicy", ATOMIC),
    ("EphemeralContainer", "restartPolicyRules", ATOMIC),
    ("EphemeralContainer", "volumeDevices", DEVICES),
    ("EphemeralContainer", "volumeMounts", MOUNTS),
    ("ExecAction", "command", ATOMIC),
    ("FCVolumeSource", "targetWWNs", ATOMIC),
    ("FCVolumeSource", "wwids", ATOMIC),
    ("HTTPGetAction", "httpHeaders", ATOMIC),
    ("ISCSIPersistentVolumeSource", "portals", ATOMIC),
    ("ISCSIVolumeSource", "portals", ATOMIC),
    ("LinuxContainerUser", "supplementalGroups", ATOMIC),
    ("LoadBalancerIngress", "ports", ATOMIC),
    ("LoadBalancerStatus", "ingress", ATOMIC),
    ("NamespaceSpec", "finalizers", ATOMIC),
    ("NamespaceStatus", "conditions", BY_TYPE),
    ("NodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("NodeSelector", "nodeSelectorTerms", ATOMIC),
    ("NodeSelectorRequirement", "values", ATOMIC),
    ("NodeSelectorTerm", "matchExpressions", ATOMIC),
    ("NodeSelectorTerm", "matchFields", ATOMIC),
    ("NodeSpec", "podCIDRs", rule(Some(List::Set), "merge", "")),
    ("NodeSpec", "taints", ATOMIC),
    ("NodeStatus", "addresses", BY_TYPE),
    ("NodeStatus", "conditions", BY_TYPE),
    ("NodeStatus", "images", ATOMIC),
    ("NodeStatus", "runtimeHandlers", ATOMIC),
    ("NodeStatus", "volumesAttached", ATOMIC),
    ("NodeStatus", "volumesInUse", ATOMIC),
    ("PersistentVolumeClaimSpec", "accessModes", ATOMIC),
    ("PersistentVolumeClaimStatus", "accessModes", ATOMIC),
    ("PersistentVolumeClaimStatus", "conditions", BY_TYPE),
    ("PersistentVolumeSpec", "accessModes", ATOMIC),
    ("PersistentVolumeSpec", "mountOptions", ATOMIC),
    ("PodAffinity", "preferredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("PodAffinity", "requiredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("PodAffinityTerm", "matchLabelKeys", ATOMIC),
    ("PodAffinityTerm", "mismatchLabelKeys", ATOMIC),
    ("PodAffinityTerm", "namespaces", ATOMIC),
    ("PodAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("PodAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("PodDNSConfig", "nameservers", ATOMIC),
    ("PodDNSConfig", "options", ATOMIC),
    ("PodDNSConfig", "searches", ATOMIC),
    ("PodSecurityContext", "supplementalGroups", ATOMIC),
    ("PodSecurityContext", "sysctls", ATOMIC),
    ("PodSpec", "containers", BY_NAME),
    ("PodSpec", "ephemeralContainers", BY_NAME),
    ("PodSpec", "hostAliases", merged_map(&["ip"], "ip")),
    ("PodSpec", "imagePullSecrets", BY_NAME),
    ("PodSpec", "initContainers", BY_NAME),
    ("PodSpec", "nodeSelector", ATOMIC_MAP),
    ("PodSpec", "readinessGates", ATOMIC),
    ("PodSpec", "resourceClaims", RETAINED_BY_NAME),
    ("PodSpec", "schedulingGates", BY_NAME),
    ("PodSpec", "tolerations", ATOMIC),
    ("PodSpec", "topologySpreadConstraints", merged_map(&["topologyKey", "whenUnsatisfiable"], "topologyKey")),
    ("PodSpec", "volumes", RETAINED_BY_NAME),
    ("PodStatus", "conditions", BY_TYPE),
    ("PodStatus", "containerStatuses", ATOMIC),
    ("PodStatus", "ephemeralContainerStatuses", ATOMIC),
    ("PodStatus", "hostIPs", rule(Some(List::Atomic), "merge", "ip")),
    ("PodStatus", "initContainerStatuses", ATOMIC),
    ("PodStatus", "podIPs", merged_map(&["ip"], "ip")),
    ("PodStatus", "resourceClaimStatuses", RETAINED_BY_NAME),
    ("ProjectedVolumeSource", "sources", ATOMIC),
    ("RBDPersistentVolumeSource", "monitors", ATOMIC),
    ("RBDVolumeSource", "monitors", ATOMIC),
    ("ReplicationControllerSpec", "selector", ATOMIC_MAP),
    ("ReplicationControllerStatus", "conditions", BY_TYPE),
    ("ResourceRequirements", "claims", rule(Some(List::Map(&["name"])), "", "")),
    ("ResourceStatus", "resources", rule(Some(List::Map(&["resourceID"])), "", "")),
    ("SecretProjection", "items", ATOMIC),
    ("SecretVolumeSource", "items", ATOMIC),
    ("ServiceAccount", "imagePullSecrets", ATOMIC),
    ("ServiceAccount", "secrets", BY_NAME),
    ("ServiceSpec", "clusterIPs", ATOMIC),
    ("ServiceSpec", "externalIPs", ATOMIC),
    ("ServiceSpec", "ipFamilies", ATOMIC),
    ("ServiceSpec", "loadBalancerSourceRanges", ATOMIC),
    ("ServiceSpec", "ports", merged_map(&["port", "protocol"], "port")),
    ("ServiceSpec", "selector", ATOMIC_MAP),
    ("ServiceStatus", "conditions", BY_TYPE),
    ("TopologySelectorLabelRequirement", "values", ATOMIC),
    ("TopologySelectorTerm", "matchLabelExpressions", ATOMIC),
    ("TopologySpreadConstraint", "matchLabelKeys", ATOMIC),
];

const APPS_ROWS: &[Row] = &[
    ("DaemonSetStatus", "conditions", BY_TYPE),
    ("DeploymentSpec", "strategy", rule(None, "retainKeys", "")),
    ("DeploymentStatus", "conditions", BY_TYPE),
    ("ReplicaSetStatus", "conditions", BY_TYPE),
    ("StatefulSetSpec", "volumeClaimTemplates", ATOMIC),
    ("StatefulSetStatus", "conditions", BY_TYPE),
];

const BATCH_ROWS: &[Row] = &[
    ("CronJobStatus", "active", ATOMIC),
    ("JobStatus", "conditions", rule(Some(List::Atomic), "merge", "type")),
    ("PodFailurePolicy", "rules", ATOMIC),
    ("PodFailurePolicyOnExitCodesRequirement", "values", SET),
    ("PodFailurePolicyRule", "onPodConditions", ATOMIC),
    ("SuccessPolicy", "rules", ATOMIC),
    ("UncountedTerminatedPods", "failed", SET),
    ("UncountedTerminatedPods", "succeeded", SET),
];

const META_ROWS: &[Row] = &[
    ("LabelSelector", "matchExpressions", ATOMIC),
    ("LabelSelectorRequirement", "values", ATOMIC),
    ("ObjectMeta", "finalizers", rule(Some(List::Set), "merge", "")),
    ("ObjectMeta", "managedFields", ATOMIC),
    ("ObjectMeta", "ownerReferences", merged_map(&["uid"], "uid")),
];

const RBAC_ROWS: &[Row] = &[
    ("AggregationRule", "clusterRoleSelectors", ATOMIC),
    ("ClusterRole", "rules", ATOMIC),
    ("ClusterRoleBinding", "subjects", ATOMIC),
    ("PolicyRule", "apiGroups", ATOMIC),
    ("PolicyRule", "nonResourceURLs", ATOMIC),
    ("PolicyRule", "resourceNames", ATOMIC),
    ("PolicyRule", "resources", ATOMIC),
    ("PolicyRule", "verbs", ATOMIC),
    ("Role", "rules", ATOMIC),
    ("RoleBinding", "subjects", ATOMIC),
];

const DISCOVERY_ROWS: &[Row] = &[
    ("Endpoint", "addresses", SET),
    ("EndpointHints", "forNodes", ATOMIC),
    ("EndpointHints", "forZones", ATOMIC),
    ("EndpointSlice", "endpoints", ATOMIC),
    ("EndpointSlice", "ports", ATOMIC),
];

const NETWORKING_ROWS: &[Row] = &[
    ("HTTPIngressRuleValue", "paths", ATOMIC),
    ("IngressLoadBalancerIngress", "ports", ATOMIC),
    ("IngressLoadBalancerStatus", "ingress", ATOMIC),
    ("IngressSpec", "rules", ATOMIC),
    ("IngressSpec", "tls", ATOMIC),
    ("IngressTLS", "hosts", ATOMIC),
];

const NODE_ROWS: &[Row] = &[("Scheduling", "nodeSelector", ATOMIC_MAP), ("Scheduling", "tolerations", ATOMIC)];

const STORAGE_ROWS: &[Row] = &[
    ("CSIDriverSpec", "tokenRequests", ATOMIC),
    ("CSIDriverSpec", "volumeLifecycleModes", SET),
    ("CSINodeDriver", "topologyKeys", ATOMIC),
    ("CSINodeSpec", "drivers", BY_NAME),
    ("StorageClass", "allowedTopologies", ATOMIC),
    ("StorageClass", "mountOptions", ATOMIC),
];

const PACKAGES: &[(&str, &[Row])] = &[
    (CORE, CORE_ROWS),
    (APPS, APPS_ROWS),
    (BATCH, BATCH_ROWS),
    (META, META_ROWS),
    (RBAC, RBAC_ROWS),
    (DISCOVERY, DISCOVERY_ROWS),
    (NETWORKING, NETWORKING_ROWS),
    (NODE, NODE_ROWS),
    (STORAGE, STORAGE_ROWS),
];

/// Types whose objects are replaced as a whole: references and selectors.
const ATOMIC_TYPES: &[(&str, &[&str])] = &[
    (
        CORE,
        &[
            "ConfigMapKeySelector",
            "EndpointAddress",
            "EndpointPort",
            "FileKeySelector",
            "LocalObjectReference",
            "NodeSelector",
            "NodeSelectorTerm",
            "ObjectFieldSelector",
            "ObjectReference",
            "ResourceFieldSelector",
            "SecretKeySelector",
            "SecretReference",
            "TopologySelectorTerm",
            "TypedLocalObjectReference",
        ],
    ),
    (META, &["LabelSelector", "OwnerReference"]),
    (RBAC, &["RoleRef", "Subject"]),
    (DISCOVERY, &["EndpointPort"]),
    (NETWORKING, &["ServiceBackendPort"]),
];

/// The rule of a type's field, if it has one. `type_name` is whole: `io.k8s.api.core.v1.PodSpec`.
pub fn rule_of(type_name: &str, field: &str) -> Option<&'static Rule> {
    let (package, name) = split(type_name)?;
    let (_, rows) = PACKAGES.iter().find(|(it, _)| *it == package)?;
    rows.iter().find(|(in_type, it, _)| *in_type == name && *it == field).map(|(_, _, rule)| rule)
}

/// Whether the objects of a type are replaced as a whole.
pub fn is_atomic(type_name: &str) -> bool {
    let Some((package, name)) = split(type_name) else { return false };
    ATOMIC_TYPES.iter().any(|(it, names)| *it == package && names.contains(&name))
}

fn split(type_name: &str) -> Option<(&str, &str)> {
    Some(type_name.split_at(type_name.rfind('.')? + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use serde_json::Value;
    use std::collections::BTreeMap;

    fn types() -> BTreeMap<String, Value> {
        let mut out = BTreeMap::new();
        for kind in KINDS {
            let schema = (kind.schema)().to_value();
            for (name, of) in schema["$defs"].as_object().unwrap() {
                out.insert(name.clone(), of.clone());
            }
            out.insert(schema["title"].as_str().unwrap_or_default().to_owned(), schema);
        }
        out
    }

    fn check(types: &BTreeMap<String, Value>, type_name: &str, field: &str, rule: &Rule) {
        let of = types.get(type_name).unwrap_or_else(|| panic!("no type {type_name}"));
        let property = &of["properties"][field];
        assert!(property.is_object(), "{type_name} has no field {field}");
        assert_eq!(property["type"] == "array", rule.list.is_some(), "{type_name}.{field} is a list or not");
        let Some(List::Map(keys)) = rule.list else { return };
        let element = property["items"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        for key in keys.iter().chain([&rule.merge_key]).filter(|it| !it.is_empty()) {
            assert!(types[element]["properties"][key].is_object(), "{element} has no field {key}");
        }
    }

    #[test]
    fn every_row_names_a_field_of_the_types_we_serve() {
        let types = types();
        for (package, rows) in PACKAGES {
            for (name, field, rule) in *rows {
                check(&types, &format!("{package}{name}"), field, rule);
            }
        }
        for (package, names) in ATOMIC_TYPES {
            for name in *names {
                let name = format!("{package}{name}");
                assert!(types.contains_key(&name), "no type {name}");
                assert!(is_atomic(&name));
            }
        }
    }
}
