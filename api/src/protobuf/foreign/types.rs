//! Which type of k8s-pb is which kind. A new kind is a name in this list.

use prost::Message;

/// Reads a message; gives what Rust prints of it, and what it writes.
pub type Read = fn(&[u8]) -> Result<(String, Vec<u8>), prost::DecodeError>;

fn read<T: Message + Default + std::fmt::Debug>(bytes: &[u8]) -> Result<(String, Vec<u8>), prost::DecodeError> {
    let message = T::decode(bytes)?;
    Ok((format!("{message:?}"), message.encode_to_vec()))
}

macro_rules! types {
    ($($version:literal => $($module:ident)::+ { $($kind:ident),* $(,)? })*) => {{
        let mut all: Vec<(&str, &str, Read)> = Vec::new();
        $({
            use k8s_pb::$($module)::+ as them;
            $(all.push(($version, stringify!($kind), read::<them::$kind>));)*
        })*
        all
    }};
}

/// The reader of a kind.
pub fn reader(api_version: &str, kind: &str) -> Option<Read> {
    all().into_iter().find(|it| (it.0, it.1) == (api_version, kind)).map(|it| it.2)
}

fn all() -> Vec<(&'static str, &'static str, Read)> {
    types! {
        "v1" => api::core::v1 {
            Binding, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
            PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
        }
        "admissionregistration.k8s.io/v1" => api::admissionregistration::v1 {
            MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
            ValidatingWebhookConfiguration,
        }
        "admissionregistration.k8s.io/v1beta1" => api::admissionregistration::v1beta1 {
            MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
        }
        "apiextensions.k8s.io/v1" => apiextensions_apiserver::pkg::apis::apiextensions::v1 { CustomResourceDefinition }
        "apps/v1" => api::apps::v1 { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet }
        "authentication.k8s.io/v1" => api::authentication::v1 { SelfSubjectReview, TokenRequest, TokenReview }
        "authorization.k8s.io/v1" => api::authorization::v1 {
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
        }
        "autoscaling/v1" => api::autoscaling::v1 { HorizontalPodAutoscaler, Scale }
        "autoscaling/v2" => api::autoscaling::v2 { HorizontalPodAutoscaler }
        "batch/v1" => api::batch::v1 { CronJob, Job }
        "certificates.k8s.io/v1" => api::certificates::v1 { CertificateSigningRequest }
        "coordination.k8s.io/v1" => api::coordination::v1 { Lease }
        "discovery.k8s.io/v1" => api::discovery::v1 { EndpointSlice }
        "events.k8s.io/v1" => api::events::v1 { Event }
        "flowcontrol.apiserver.k8s.io/v1" => api::flowcontrol::v1 { FlowSchema, PriorityLevelConfiguration }
        "networking.k8s.io/v1" => api::networking::v1 { IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR }
        "node.k8s.io/v1" => api::node::v1 { RuntimeClass }
        "policy/v1" => api::policy::v1 { Eviction, PodDisruptionBudget }
        "rbac.authorization.k8s.io/v1" => api::rbac::v1 { ClusterRole, ClusterRoleBinding, Role, RoleBinding }
        "resource.k8s.io/v1" => api::resource::v1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }
        "scheduling.k8s.io/v1" => api::scheduling::v1 { PriorityClass }
        "storage.k8s.io/v1" => api::storage::v1 {
            CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
        }
    }
}
