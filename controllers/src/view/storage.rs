//! What is kept of the classes of volumes' attributes, and how a pod names the claims that it uses.

use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::core::ObjectMeta;
pub use orlop_client::storage::{ClaimView, StorageClassView, VolumeView};
use serde::{Deserialize, Deserializer};

use super::{Json, PodView, controller_of, name_of, uid_of};

/// A class of volumes' attributes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AttributesClassView {
    pub metadata: ObjectMeta,
}

orlop_client::view!(AttributesClassView: VolumeAttributesClass);

/// The classes of attributes that a claim has, asks for, or is on its way to.
pub fn attributes_classes_of_claim(it: &ClaimView) -> Vec<String> {
    let asked = it.spec.volume_attributes_class_name.iter();
    let all = asked.chain(&it.status.current_volume_attributes_class_name);
    let all = all.chain([&it.status.modify_volume_status.target_volume_attributes_class_name]);
    all.filter(|it| !it.is_empty()).cloned().collect()
}

/// The class of a volume's attributes.
pub fn attributes_classes_of_volume(it: &VolumeView) -> Vec<String> {
    it.spec.volume_attributes_class_name.iter().filter(|it| !it.is_empty()).cloned().collect()
}

/// A volume of a pod that is a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimUse {
    /// The claim of this name.
    Named(Box<str>),
    /// The claim that is made for the pod's volume of this name, out of this template.
    Made { volume: Box<str>, template: Json },
}

/// The claims among a pod's volumes; the others are dropped.
pub(super) fn claim_uses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ClaimUse>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Volume {
        name: Box<str>,
        persistent_volume_claim: Option<Claim>,
        ephemeral: Option<Ephemeral>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Ephemeral {
        volume_claim_template: Json,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Claim {
        claim_name: Box<str>,
    }
    let volumes = Option::<Vec<Volume>>::deserialize(deserializer)?.unwrap_or_default();
    let uses = volumes.into_iter().filter_map(|it| match (it.persistent_volume_claim, it.ephemeral) {
        (Some(claim), _) => Some(ClaimUse::Named(claim.claim_name)),
        (None, Some(made)) => Some(ClaimUse::Made { volume: it.name, template: made.volume_claim_template }),
        (None, None) => None,
    });
    let mut uses: Vec<ClaimUse> = uses.collect();
    uses.shrink_to_fit();
    Ok(uses)
}

impl PodView {
    /// The names of the claims that its volumes are, whether they are there or not.
    pub fn claims(&self) -> Vec<String> {
        let name = |it: &ClaimUse| match it {
            ClaimUse::Named(name) => name.to_string(),
            ClaimUse::Made { volume, .. } => made_for(self, volume),
        };
        self.spec.volumes.iter().map(name).collect()
    }

    /// Whether it may have the claim mounted: it is on a node. A claim that was made for it does not count any more when it is shut down:
    /// it may be what its end waits for. Source: `podUsesPVC`.
    pub fn uses(&self, claim: &ObjectMeta) -> bool {
        let shut_down =
            self.metadata.deletion_timestamp.is_some() && self.metadata.deletion_grace_period_seconds == Some(0);
        let used = |it: &ClaimUse| match it {
            ClaimUse::Named(name) => **name == *name_of(claim),
            ClaimUse::Made { volume, .. } => {
                !shut_down
                    && made_for(self, volume) == name_of(claim)
                    && controller_of(claim).is_some_and(|it| it.uid == uid_of(&self.metadata))
            }
        };
        !self.spec.node_name.is_empty() && self.spec.volumes.iter().any(used)
    }
}

/// The name of the claim that is made for a volume of a pod.
pub fn made_for(pod: &PodView, volume: &str) -> String {
    format!("{}-{volume}", name_of(&pod.metadata))
}
