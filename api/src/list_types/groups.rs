//! How the fields of the other groups' types are merged, and those of metadata: rows of the table in [`super`].

use super::{
    ATOMIC, ATOMIC_MAP, BY_NAME, BY_TYPE, List, MERGED_SET, REPLACED, RETAINED, Row, SET, map, merged_map, rule,
};

/// The types of the group `admissionregistration.k8s.io`.
pub const ADMISSION: &[Row] = &[
    ("MatchResources", "excludeResourceRules", ATOMIC),
    ("MatchResources", "resourceRules", ATOMIC),
    ("MutatingWebhook", "admissionReviewVersions", ATOMIC),
    ("MutatingWebhook", "matchConditions", BY_NAME),
    ("MutatingWebhook", "rules", ATOMIC),
    ("MutatingWebhookConfiguration", "webhooks", BY_NAME),
    ("NamedRuleWithOperations", "apiGroups", ATOMIC),
    ("NamedRuleWithOperations", "apiVersions", ATOMIC),
    ("NamedRuleWithOperations", "operations", ATOMIC),
    ("NamedRuleWithOperations", "resourceNames", ATOMIC),
    ("NamedRuleWithOperations", "resources", ATOMIC),
    ("RuleWithOperations", "apiGroups", ATOMIC),
    ("RuleWithOperations", "apiVersions", ATOMIC),
    ("RuleWithOperations", "operations", ATOMIC),
    ("RuleWithOperations", "resources", ATOMIC),
    ("TypeChecking", "expressionWarnings", ATOMIC),
    ("ValidatingAdmissionPolicyBindingSpec", "validationActions", SET),
    ("ValidatingAdmissionPolicySpec", "auditAnnotations", ATOMIC),
    ("ValidatingAdmissionPolicySpec", "matchConditions", BY_NAME),
    ("ValidatingAdmissionPolicySpec", "validations", ATOMIC),
    ("ValidatingAdmissionPolicySpec", "variables", BY_NAME),
    ("ValidatingAdmissionPolicyStatus", "conditions", map(&["type"])),
    ("ValidatingWebhook", "admissionReviewVersions", ATOMIC),
    ("ValidatingWebhook", "matchConditions", BY_NAME),
    ("ValidatingWebhook", "rules", ATOMIC),
    ("ValidatingWebhookConfiguration", "webhooks", BY_NAME),
];

/// The types of the group `apps`.
pub const APPS: &[Row] = &[
    ("DaemonSetStatus", "conditions", BY_TYPE),
    ("DeploymentSpec", "strategy", RETAINED),
    ("DeploymentStatus", "conditions", BY_TYPE),
    ("ReplicaSetStatus", "conditions", BY_TYPE),
    ("StatefulSetSpec", "volumeClaimTemplates", ATOMIC),
    ("StatefulSetStatus", "conditions", BY_TYPE),
];

/// The types of the group `authentication.k8s.io`.
pub const AUTHENTICATION: &[Row] = &[
    ("TokenRequestSpec", "audiences", ATOMIC),
    ("TokenReviewSpec", "audiences", ATOMIC),
    ("TokenReviewStatus", "audiences", ATOMIC),
    ("UserInfo", "groups", ATOMIC),
];

/// The types of the group `authorization.k8s.io`.
pub const AUTHORIZATION: &[Row] = &[
    ("FieldSelectorAttributes", "requirements", ATOMIC),
    ("LabelSelectorAttributes", "requirements", ATOMIC),
    ("NonResourceRule", "nonResourceURLs", ATOMIC),
    ("NonResourceRule", "verbs", ATOMIC),
    ("ResourceRule", "apiGroups", ATOMIC),
    ("ResourceRule", "resourceNames", ATOMIC),
    ("ResourceRule", "resources", ATOMIC),
    ("ResourceRule", "verbs", ATOMIC),
    ("SubjectAccessReviewSpec", "groups", ATOMIC),
    ("SubjectRulesReviewStatus", "nonResourceRules", ATOMIC),
    ("SubjectRulesReviewStatus", "resourceRules", ATOMIC),
];

/// The types of the group `autoscaling/v2`.
pub const AUTOSCALING_V2: &[Row] = &[
    ("HPAScalingRules", "policies", ATOMIC),
    ("HorizontalPodAutoscalerSpec", "metrics", ATOMIC),
    ("HorizontalPodAutoscalerStatus", "conditions", BY_TYPE),
    ("HorizontalPodAutoscalerStatus", "currentMetrics", ATOMIC),
];

/// The types of the group `batch`.
pub const BATCH: &[Row] = &[
    ("CronJobStatus", "active", ATOMIC),
    ("JobStatus", "conditions", rule(Some(List::Atomic), "merge", "type")),
    ("PodFailurePolicy", "rules", ATOMIC),
    ("PodFailurePolicyOnExitCodesRequirement", "values", SET),
    ("PodFailurePolicyRule", "onPodConditions", ATOMIC),
    ("SuccessPolicy", "rules", ATOMIC),
    ("UncountedTerminatedPods", "failed", SET),
    ("UncountedTerminatedPods", "succeeded", SET),
];

/// The types of the group `certificates.k8s.io`.
pub const CERTIFICATES: &[Row] = &[
    ("CertificateSigningRequestSpec", "groups", ATOMIC),
    ("CertificateSigningRequestSpec", "usages", ATOMIC),
    ("CertificateSigningRequestStatus", "conditions", map(&["type"])),
];

/// The types of the group `discovery.k8s.io`.
pub const DISCOVERY: &[Row] = &[
    ("Endpoint", "addresses", SET),
    ("EndpointHints", "forNodes", ATOMIC),
    ("EndpointHints", "forZones", ATOMIC),
    ("EndpointSlice", "endpoints", ATOMIC),
    ("EndpointSlice", "ports", ATOMIC),
];

/// The types of the group `flowcontrol.apiserver.k8s.io`.
pub const FLOWCONTROL: &[Row] = &[
    ("FlowSchemaSpec", "rules", ATOMIC),
    ("FlowSchemaStatus", "conditions", BY_TYPE),
    ("NonResourcePolicyRule", "nonResourceURLs", SET),
    ("NonResourcePolicyRule", "verbs", SET),
    ("PolicyRulesWithSubjects", "nonResourceRules", ATOMIC),
    ("PolicyRulesWithSubjects", "resourceRules", ATOMIC),
    ("PolicyRulesWithSubjects", "subjects", ATOMIC),
    ("PriorityLevelConfigurationStatus", "conditions", BY_TYPE),
    ("ResourcePolicyRule", "apiGroups", SET),
    ("ResourcePolicyRule", "namespaces", SET),
    ("ResourcePolicyRule", "resources", SET),
    ("ResourcePolicyRule", "verbs", SET),
];

/// The types of the group `networking.k8s.io`.
pub const NETWORKING: &[Row] = &[
    ("HTTPIngressRuleValue", "paths", ATOMIC),
    ("IPBlock", "except", ATOMIC),
    ("IngressLoadBalancerIngress", "ports", ATOMIC),
    ("IngressLoadBalancerStatus", "ingress", ATOMIC),
    ("IngressSpec", "rules", ATOMIC),
    ("IngressSpec", "tls", ATOMIC),
    ("IngressTLS", "hosts", ATOMIC),
    ("NetworkPolicyEgressRule", "ports", ATOMIC),
    ("NetworkPolicyEgressRule", "to", ATOMIC),
    ("NetworkPolicyIngressRule", "from", ATOMIC),
    ("NetworkPolicyIngressRule", "ports", ATOMIC),
    ("NetworkPolicySpec", "egress", ATOMIC),
    ("NetworkPolicySpec", "ingress", ATOMIC),
    ("NetworkPolicySpec", "policyTypes", ATOMIC),
    ("ServiceCIDRSpec", "cidrs", ATOMIC),
    ("ServiceCIDRStatus", "conditions", BY_TYPE),
];

/// The types of the group `node.k8s.io`.
pub const NODE: &[Row] = &[("Scheduling", "nodeSelector", ATOMIC_MAP), ("Scheduling", "tolerations", ATOMIC)];

/// The types of the group `policy`.
pub const POLICY: &[Row] =
    &[("PodDisruptionBudgetSpec", "selector", REPLACED), ("PodDisruptionBudgetStatus", "conditions", BY_TYPE)];

/// The types of the group `rbac.authorization.k8s.io`.
pub const RBAC: &[Row] = &[
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

/// The types of the group `resource.k8s.io`.
pub const RESOURCE: &[Row] = &[
    ("AllocatedDeviceStatus", "conditions", map(&["type"])),
    ("CapacityRequestPolicy", "validValues", ATOMIC),
    ("Device", "bindingConditions", ATOMIC),
    ("Device", "bindingFailureConditions", ATOMIC),
    ("Device", "consumesCounters", ATOMIC),
    ("Device", "taints", ATOMIC),
    ("DeviceAllocationConfiguration", "requests", ATOMIC),
    ("DeviceAllocationResult", "config", ATOMIC),
    ("DeviceAllocationResult", "results", ATOMIC),
    ("DeviceClaim", "config", ATOMIC),
    ("DeviceClaim", "constraints", ATOMIC),
    ("DeviceClaim", "requests", ATOMIC),
    ("DeviceClaimConfiguration", "requests", ATOMIC),
    ("DeviceClassSpec", "config", ATOMIC),
    ("DeviceClassSpec", "selectors", ATOMIC),
    ("DeviceConstraint", "requests", ATOMIC),
    ("DeviceRequest", "firstAvailable", ATOMIC),
    ("DeviceRequestAllocationResult", "bindingConditions", ATOMIC),
    ("DeviceRequestAllocationResult", "bindingFailureConditions", ATOMIC),
    ("DeviceRequestAllocationResult", "tolerations", ATOMIC),
    ("DeviceSubRequest", "selectors", ATOMIC),
    ("DeviceSubRequest", "tolerations", ATOMIC),
    ("ExactDeviceRequest", "selectors", ATOMIC),
    ("ExactDeviceRequest", "tolerations", ATOMIC),
    ("NetworkDeviceData", "ips", ATOMIC),
    ("ResourceClaimStatus", "devices", map(&["driver", "device", "pool", "shareID"])),
    ("ResourceClaimStatus", "reservedFor", merged_map(&["uid"], "uid")),
    ("ResourceSliceSpec", "devices", ATOMIC),
    ("ResourceSliceSpec", "sharedCounters", ATOMIC),
];

/// The types of the group `storage.k8s.io`.
pub const STORAGE: &[Row] = &[
    ("CSIDriverSpec", "tokenRequests", ATOMIC),
    ("CSIDriverSpec", "volumeLifecycleModes", SET),
    ("CSINodeDriver", "topologyKeys", ATOMIC),
    ("CSINodeSpec", "drivers", BY_NAME),
    ("StorageClass", "allowedTopologies", ATOMIC),
    ("StorageClass", "mountOptions", ATOMIC),
];

/// The types of the group `apiextensions.k8s.io`.
pub const EXTENSIONS: &[Row] = &[
    ("CustomResourceDefinitionNames", "categories", ATOMIC),
    ("CustomResourceDefinitionNames", "shortNames", ATOMIC),
    ("CustomResourceDefinitionSpec", "versions", ATOMIC),
    ("CustomResourceDefinitionStatus", "conditions", map(&["type"])),
    ("CustomResourceDefinitionStatus", "storedVersions", ATOMIC),
    ("CustomResourceDefinitionVersion", "additionalPrinterColumns", ATOMIC),
    ("CustomResourceDefinitionVersion", "selectableFields", ATOMIC),
    ("JSONSchemaProps", "allOf", ATOMIC),
    ("JSONSchemaProps", "anyOf", ATOMIC),
    ("JSONSchemaProps", "enum", ATOMIC),
    ("JSONSchemaProps", "oneOf", ATOMIC),
    ("JSONSchemaProps", "required", ATOMIC),
    ("JSONSchemaProps", "x-kubernetes-list-map-keys", ATOMIC),
    ("JSONSchemaProps", "x-kubernetes-validations", merged_map(&["rule"], "rule")),
    ("WebhookConversion", "conversionReviewVersions", ATOMIC),
];

/// The types of the group `apiregistration.k8s.io`.
pub const AGGREGATOR: &[Row] = &[("APIServiceStatus", "conditions", BY_TYPE)];

/// The types of metadata, which all groups share.
pub const META: &[Row] = &[
    ("APIGroup", "serverAddressByClientCIDRs", ATOMIC),
    ("APIGroup", "versions", ATOMIC),
    ("APIResource", "categories", ATOMIC),
    ("APIResource", "shortNames", ATOMIC),
    ("APIResource", "verbs", ATOMIC),
    ("APIVersions", "serverAddressByClientCIDRs", ATOMIC),
    ("APIVersions", "versions", ATOMIC),
    ("DeleteOptions", "dryRun", ATOMIC),
    ("FieldSelectorRequirement", "values", ATOMIC),
    ("LabelSelector", "matchExpressions", ATOMIC),
    ("LabelSelectorRequirement", "values", ATOMIC),
    ("ObjectMeta", "finalizers", MERGED_SET),
    ("ObjectMeta", "managedFields", ATOMIC),
    ("ObjectMeta", "ownerReferences", merged_map(&["uid"], "uid")),
    ("StatusDetails", "causes", ATOMIC),
];
