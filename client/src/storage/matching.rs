//! Which volume a claim gets.
//!
//! In: volumes, a claim, and for the scheduler what a node can reach. Out: the volume that is kept for the claim, or else the smallest one that
//! does. Source: `FindMatchingVolume` of `k8s.io/component-helpers/storage/volume`, and `pkg/controller/volume/persistentvolume/index.go`.

use std::collections::BTreeSet;
use std::sync::Arc;

use orlop_api::selector::label::Selector;

use super::{ClaimView, VolumeView};
use crate::Store;

/// The index of volumes that [`candidates`] asks.
const OFFERED: &str = "offered";

/// Has a store of volumes answer [`candidates`].
pub fn index(store: &Store<VolumeView>) {
    store.add_index(OFFERED, |it| {
        let kept = it.claim().map(|claim| format!("claim/{claim}"));
        vec![kept.unwrap_or_else(|| format!("class/{}", it.class()))]
    });
}

/// The volumes that a claim may get: those of its class that nobody has, and those that are kept for it.
pub fn candidates(store: &Store<VolumeView>, claim: &ClaimView) -> Vec<Arc<VolumeView>> {
    let mut all = store.by_index(OFFERED, &format!("class/{}", claim.class()));
    all.extend(store.by_index(OFFERED, &format!("claim/{}", claim.key())));
    all
}

/// Who asks.
pub enum For<'a> {
    /// The binder, of a claim that is bound at once.
    Now,
    /// The binder, of a claim that waits for its first pod: only a volume that is kept for it will do.
    Kept,
    /// The scheduler: whether a node can reach a volume, and the volumes that are promised to other claims.
    Node { reaches: &'a dyn Fn(&VolumeView) -> bool, taken: &'a BTreeSet<String> },
}

/// The volume for a claim, if there is one.
pub fn find(volumes: &[Arc<VolumeView>], claim: &ClaimView, asked: &For<'_>) -> Option<Arc<VolumeView>> {
    let selector = match &claim.spec.selector {
        // One that cannot be read matches nothing; the server lets none in.
        Some(it) => Some(Selector::from_label_selector(it).ok()?),
        None => None,
    };
    let wanted = claim.requested();
    let mut best: Option<&Arc<VolumeView>> = None;
    for volume in volumes {
        let kept = volume.is_for(claim);
        if (volume.spec.claim_ref.is_some() && !kept)
            || volume.capacity() < wanted
            || complaint_of_kind(volume, claim).is_some()
            || volume.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        let reached = match asked {
            For::Node { reaches, taken } => !taken.contains(volume.name()) && reaches(volume),
            For::Now | For::Kept => true,
        };
        if kept {
            // Kept where it cannot be reached: no other volume is looked for.
            return reached.then(|| Arc::clone(volume));
        }
        let does = !matches!(asked, For::Kept)
            && reached
            && volume.status.phase == "Available"
            && volume.class() == claim.class()
            && has_modes(volume, claim)
            && selector.as_ref().is_none_or(|it| it.matches_with(|key| label(volume, key)));
        if does && best.is_none_or(|it| rank(volume, asked) < rank(it, asked)) {
            best = Some(volume);
        }
    }
    best.cloned()
}

/// The binder takes the volume with the fewest modes that nobody asked for, and of those the smallest; the scheduler the smallest.
fn rank<'a>(volume: &'a VolumeView, asked: &For<'_>) -> (usize, orlop_api::quantity::Quantity, &'a str) {
    let modes = if matches!(asked, For::Node { .. }) { 0 } else { volume.spec.access_modes.len() };
    (modes, volume.capacity(), volume.name())
}

fn label<'a>(volume: &'a VolumeView, key: &str) -> Option<&'a str> {
    volume.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn has_modes(volume: &VolumeView, claim: &ClaimView) -> bool {
    claim.spec.access_modes.iter().all(|it| volume.spec.access_modes.contains(it))
}

fn complaint_of_kind(volume: &VolumeView, claim: &ClaimView) -> Option<&'static str> {
    let attributes = |it: &Option<String>| it.clone().unwrap_or_default();
    if volume.volume_mode() != claim.volume_mode() {
        return Some("incompatible volumeMode");
    }
    let same =
        attributes(&volume.spec.volume_attributes_class_name) == attributes(&claim.spec.volume_attributes_class_name);
    (!same).then_some("volumeAttributesClassName does not match")
}

/// Why a claim cannot have the volume that it names (`checkVolumeSatisfyClaim`).
pub fn complaint(volume: &VolumeView, claim: &ClaimView) -> Option<&'static str> {
    if volume.metadata.deletion_timestamp.is_some() {
        return Some("the volume is marked for deletion");
    }
    if volume.capacity() < claim.requested() {
        return Some("requested PV is too small");
    }
    if volume.class() != claim.class() {
        return Some("storageClassName does not match");
    }
    complaint_of_kind(volume, claim).or_else(|| (!has_modes(volume, claim)).then_some("incompatible accessMode"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(name: &str, size: &str, changes: Value) -> Arc<VolumeView> {
        let mut it = json!({ "metadata": { "name": name, "labels": { "disk": name } }, "spec": { "capacity": { "storage": size },
            "accessModes": ["ReadWriteOnce"], "storageClassName": "gold" }, "status": { "phase": "Available" } });
        for (field, value) in changes.as_object().unwrap() {
            it["spec"][field] = value.clone();
        }
        if let Some(phase) = changes.get("phase") {
            it["status"]["phase"] = phase.clone();
        }
        Arc::new(serde_json::from_value(it).unwrap())
    }

    fn claim(changes: Value) -> ClaimView {
        let mut it = json!({ "metadata": { "namespace": "a", "name": "data", "uid": "c" }, "spec": { "accessModes": ["ReadWriteOnce"],
            "storageClassName": "gold", "resources": { "requests": { "storage": "2Gi" } } } });
        for (field, value) in changes.as_object().unwrap() {
            it["spec"][field] = value.clone();
        }
        serde_json::from_value(it).unwrap()
    }

    fn check(volumes: &[Arc<VolumeView>], claim: &ClaimView, asked: &For<'_>, expected: Option<&str>) {
        let found = find(volumes, claim, asked);
        assert_eq!(found.as_ref().map(|it| it.name()), expected);
    }

    #[test]
    fn the_smallest_that_does_is_found() {
        let all = [
            volume("small", "1Gi", json!({})),
            volume("large", "9Gi", json!({})),
            volume("right", "3Gi", json!({})),
            volume("other-class", "2Gi", json!({ "storageClassName": "tin" })),
            volume("block", "2Gi", json!({ "volumeMode": "Block" })),
            volume("given", "2Gi", json!({ "claimRef": { "namespace": "a", "name": "other" } })),
            volume("used", "2Gi", json!({ "phase": "Released" })),
            volume("read-only", "2Gi", json!({ "accessModes": ["ReadOnlyMany"] })),
            volume("more-modes", "2Gi", json!({ "accessModes": ["ReadWriteOnce", "ReadOnlyMany"] })),
        ];
        check(&all, &claim(json!({})), &For::Now, Some("right"));
        check(&all, &claim(json!({})), &For::Kept, None);
        check(&all, &claim(json!({ "accessModes": ["ReadWriteOnce", "ReadOnlyMany"] })), &For::Now, Some("more-modes"));
        check(&all, &claim(json!({ "selector": { "matchLabels": { "disk": "large" } } })), &For::Now, Some("large"));
        check(&all, &claim(json!({ "resources": { "requests": { "storage": "10Gi" } } })), &For::Now, None);
        let (taken, here) = (BTreeSet::from(["more-modes".to_owned()]), |it: &VolumeView| it.name() != "right");
        check(&all, &claim(json!({})), &For::Node { reaches: &here, taken: &taken }, Some("large"));
    }

    #[test]
    fn what_is_kept_for_a_claim_is_its_own() {
        let kept = |uid: &str| json!({ "claimRef": { "namespace": "a", "name": "data", "uid": uid }, "storageClassName": "x" });
        let all = [volume("small", "2Gi", json!({})), volume("kept", "5Gi", kept(""))];
        check(&all, &claim(json!({})), &For::Kept, Some("kept"));
        check(&all, &claim(json!({})), &For::Now, Some("kept"));
        let (taken, nowhere) = (BTreeSet::new(), |it: &VolumeView| it.name() != "kept");
        check(&all, &claim(json!({})), &For::Node { reaches: &nowhere, taken: &taken }, None);
        check(&[volume("kept", "5Gi", kept("another"))], &claim(json!({})), &For::Now, None);
        check(&[volume("kept", "1Gi", kept("c"))], &claim(json!({})), &For::Now, None);
    }

    #[test]
    fn complaints_are_kubernetes_own() {
        let of = |volume_changes: Value, claim_changes: Value| {
            complaint(&volume("v", "2Gi", volume_changes), &claim(claim_changes))
        };
        assert_eq!(of(json!({}), json!({})), None);
        assert_eq!(of(json!({ "capacity": { "storage": "1" } }), json!({})), Some("requested PV is too small"));
        assert_eq!(of(json!({ "storageClassName": "" }), json!({})), Some("storageClassName does not match"));
        assert_eq!(of(json!({}), json!({ "volumeMode": "Block" })), Some("incompatible volumeMode"));
        assert_eq!(of(json!({}), json!({ "accessModes": ["ReadWriteMany"] })), Some("incompatible accessMode"));
    }
}
