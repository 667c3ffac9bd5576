//! Each step of claims and volumes towards and away from each other.

use serde_json::{Value, json};

use super::*;

/// What is there; each test changes a part.
fn world(claims: &[Value], volumes: &[Value]) -> World {
    let world = World::default();
    claims.iter().for_each(|it| world.claims.apply(serde_json::from_value(it.clone()).unwrap()));
    volumes.iter().for_each(|it| world.volumes.apply(serde_json::from_value(it.clone()).unwrap()));
    for (name, mode, provisioner, born) in [
        ("fast", "Immediate", "example.com/fast", "2026-01-01T00:00:00Z"),
        ("late", "WaitForFirstConsumer", "orlop.dev/local", "2026-01-02T00:00:00Z"),
        ("by-hand", "Immediate", "kubernetes.io/no-provisioner", "2026-01-01T00:00:00Z"),
    ] {
        let class = json!({ "metadata": { "name": name, "creationTimestamp": born }, "provisioner": provisioner, "volumeBindingMode": mode });
        world.storage_classes.apply(serde_json::from_value(class).unwrap());
    }
    world
}

fn claim(class: Value, changes: &[(&str, Value)]) -> Value {
    let it = json!({ "metadata": { "namespace": "a", "name": "data", "uid": "c", "resourceVersion": "5" },
        "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": { "requests": { "storage": "1Gi" } } },
        "status": { "phase": "Pending" } });
    changed(it, changes)
}

fn volume(phase: &str, changes: &[(&str, Value)]) -> Value {
    let it = json!({ "metadata": { "name": "v", "uid": "v", "resourceVersion": "7" },
        "spec": { "capacity": { "storage": "2Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
            "persistentVolumeReclaimPolicy": "Retain", "local": { "path": "/d" } }, "status": { "phase": phase } });
    changed(it, changes)
}

fn changed(mut it: Value, changes: &[(&str, Value)]) -> Value {
    for (path, value) in changes {
        let (above, field) = path.rsplit_once('/').unwrap();
        it.pointer_mut(above).unwrap()[field] = value.clone();
    }
    it
}

fn of_claim(world: &World) -> String {
    VolumeBinder.decide(&Key::new("a", "data"), world, Timestamp::UNIX_EPOCH, None).to_string()
}

fn of_volume(world: &World) -> String {
    VolumeBinder.decide(&Key::new("", "v"), world, Timestamp::UNIX_EPOCH, None).to_string()
}

fn held(uid: &str) -> Value {
    json!({ "namespace": "a", "name": "data", "uid": uid })
}

fn bound() -> [(&'static str, Value); 3] {
    [
        ("/metadata/annotations", json!({ "pv.kubernetes.io/bind-completed": "yes" })),
        ("/spec/volumeName", "v".into()),
        ("/status/phase", "Bound".into()),
    ]
}

#[test]
fn a_claim_takes_a_volume_in_four_writes() {
    let world = world(&[claim("by-hand".into(), &[])], &[volume("Available", &[])]);
    insta::assert_snapshot!(of_claim(&world), @r#"
    patch persistentvolumes v at 7 {"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":"yes"}},"spec":{"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"data","namespace":"a","resourceVersion":"5","uid":"c"}}}
    patch persistentvolumes/status v {"status":{"lastPhaseTransitionTime":"1970-01-01T00:00:00Z","message":null,"phase":"Bound"}}
    patch persistentvolumeclaims a/data at 5 {"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes","pv.kubernetes.io/bound-by-controller":"yes"}},"spec":{"volumeName":"v"}}
    patch persistentvolumeclaims/status a/data {"status":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"2Gi"},"currentVolumeAttributesClassName":null,"phase":"Bound"}}
    "#);
}

#[test]
fn a_binding_that_was_broken_off_is_completed() {
    // The volume's half stands already, made by the scheduler for a claim that waits.
    let kept = volume("Available", &[("/spec/claimRef", held("c")), ("/spec/storageClassName", "late".into())]);
    let half = world(&[claim("late".into(), &[])], &[kept]);
    let said = of_claim(&half);
    assert!(said.starts_with("patch persistentvolumes/status v") && said.contains("bind-completed"), "{said}");
    // Only the claim's status is missing.
    let mut changes = bound().to_vec();
    changes[2].1 = "Pending".into();
    let half = world(&[claim("by-hand".into(), &changes)], &[volume("Bound", &[("/spec/claimRef", held("c"))])]);
    insta::assert_snapshot!(of_claim(&half), @r#"patch persistentvolumeclaims/status a/data {"status":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"2Gi"},"currentVolumeAttributesClassName":null,"phase":"Bound"}}"#);
    // All stands.
    let mut changes = bound().to_vec();
    changes.push(("/status/accessModes", json!(["ReadWriteOnce"])));
    let whole = world(&[claim("by-hand".into(), &changes)], &[volume("Bound", &[("/spec/claimRef", held("c"))])]);
    assert_eq!((of_claim(&whole), of_volume(&whole)), ("nothing to do\n".to_owned(), "nothing to do\n".to_owned()));
}

#[test]
fn a_claim_says_what_it_waits_for() {
    let alone = |class: Value, changes: &[(&str, Value)]| of_claim(&world(&[claim(class, changes)], &[]));
    insta::assert_snapshot!(alone("".into(), &[]), @"tell Normal FailedBinding: no persistent volumes available for this claim and no storage class is set");
    insta::assert_snapshot!(alone("late".into(), &[]), @"tell Normal WaitForFirstConsumer: waiting for first consumer to be created before binding");
    insta::assert_snapshot!(alone("nowhere".into(), &[]), @r#"tell Warning ProvisioningFailed: storageclass.storage.k8s.io "nowhere" not found"#);
    insta::assert_snapshot!(alone("by-hand".into(), &[]), @"tell Warning ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner");
    insta::assert_snapshot!(alone("fast".into(), &[]), @r#"
    patch persistentvolumeclaims a/data at 5 {"metadata":{"annotations":{"volume.beta.kubernetes.io/storage-provisioner":"example.com/fast","volume.kubernetes.io/storage-provisioner":"example.com/fast"}}}
    tell Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'example.com/fast' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.
    "#);
    // The scheduler has chosen a node.
    let chosen =
        alone("late".into(), &[("/metadata/annotations", json!({ "volume.kubernetes.io/selected-node": "n" }))]);
    assert!(chosen.contains("storage-provisioner\":\"orlop.dev/local"), "{chosen}");
    let world =
        world(&[claim("late".into(), &[])], &[volume("Available", &[("/spec/storageClassName", "late".into())])]);
    let pod = |name: &str| {
        json!({ "metadata": { "namespace": "a", "name": name, "uid": name }, "spec": { "volumes": [
        { "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] } })
    };
    world.pods.apply(serde_json::from_value(pod("p")).unwrap());
    insta::assert_snapshot!(of_claim(&world), @"tell Normal WaitForPodScheduled: waiting for pod p to be scheduled");
    world.pods.apply(serde_json::from_value(pod("q")).unwrap());
    insta::assert_snapshot!(of_claim(&world), @"tell Normal WaitForPodScheduled: waiting for pods p,q to be scheduled");
}

#[test]
fn a_claim_from_before_there_was_a_default_class_gets_it() {
    let world = world(&[claim(Value::Null, &[])], &[]);
    assert!(of_claim(&world).contains("no storage class is set"));
    for (name, born) in [("old", "2026-01-01T00:00:00Z"), ("new", "2026-01-02T00:00:00Z")] {
        let class = json!({ "metadata": { "name": name, "creationTimestamp": born,
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } }, "provisioner": "x/y" });
        world.storage_classes.apply(serde_json::from_value(class).unwrap());
    }
    insta::assert_snapshot!(of_claim(&world), @r#"patch persistentvolumeclaims a/data at 5 {"spec":{"storageClassName":"new"}}"#);
}

#[test]
fn a_claim_may_name_its_volume() {
    let named =
        |volumes: &[Value]| of_claim(&world(&[claim("by-hand".into(), &[("/spec/volumeName", "v".into())])], volumes));
    assert_eq!(named(&[]), "nothing to do\n");
    let said = named(&[volume("Available", &[])]);
    assert!(said.contains("claimRef") && said.contains(r#"{"pv.kubernetes.io/bind-completed":"yes"}"#), "{said}");
    let small = volume("Available", &[("/spec/capacity", json!({ "storage": "1Mi" }))]);
    insta::assert_snapshot!(named(&[small]), @r#"tell Warning VolumeMismatch: Cannot bind to requested volume "v": requested PV is too small"#);
    let other = volume("Bound", &[("/spec/claimRef", json!({ "namespace": "a", "name": "other", "uid": "o" }))]);
    insta::assert_snapshot!(named(&[other]), @r#"tell Warning FailedBinding: volume "v" already bound to a different claim."#);
}

#[test]
fn a_claim_is_lost_with_its_volume() {
    let lost = world(&[claim("by-hand".into(), &bound())], &[]);
    insta::assert_snapshot!(of_claim(&lost), @r#"
    patch persistentvolumeclaims/status a/data {"status":{"phase":"Lost"}}
      if persistentvolumes v uid= is gone
    tell Warning ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!
    "#);
    let other = volume("Bound", &[("/spec/claimRef", held("another"))]);
    let said = of_claim(&world(&[claim("by-hand".into(), &bound())], &[other]));
    assert!(said.contains("ClaimMisbound: Two claims are bound"), "{said}");
    let mut unnamed = bound().to_vec();
    unnamed[1].1 = "".into();
    let said = of_claim(&world(&[claim("by-hand".into(), &unnamed)], &[]));
    assert!(said.contains("has lost reference to PersistentVolume"), "{said}");
}

#[test]
fn a_volume_is_available_bound_or_released() {
    insta::assert_snapshot!(of_volume(&world(&[], &[volume("Pending", &[])])), @r#"patch persistentvolumes/status v {"status":{"lastPhaseTransitionTime":"1970-01-01T00:00:00Z","message":null,"phase":"Available"}}"#);
    let kept = volume("Pending", &[("/spec/claimRef", json!({ "namespace": "a", "name": "data" }))]);
    assert!(of_volume(&world(&[], &[kept])).contains("Available"));
    let ours = |phase: &str| volume(phase, &[("/spec/claimRef", held("c"))]);
    assert!(of_volume(&world(&[claim("by-hand".into(), &bound())], &[ours("Available")])).contains("Bound"));
    assert_eq!(of_volume(&world(&[claim("by-hand".into(), &[])], &[ours("Available")])), "nothing to do\n");
    let released = of_volume(&world(&[], &[ours("Bound")]));
    insta::assert_snapshot!(released, @r#"
    patch persistentvolumes/status v {"status":{"lastPhaseTransitionTime":"1970-01-01T00:00:00Z","message":null,"phase":"Released"}}
      if persistentvolumeclaims a/data uid=c is gone
    "#);
    // A claim of the same name is another one.
    let again = claim("by-hand".into(), &[("/metadata/uid", "again".into())]);
    assert_eq!(of_volume(&world(&[again], &[ours("Bound")])), released);
}

#[test]
fn a_released_volume_follows_its_policy() {
    let of = |policy: &str, annotations: Value| {
        let changes = [("/spec/claimRef", held("c")), ("/spec/persistentVolumeReclaimPolicy", policy.into())];
        let mut it = volume("Released", &changes);
        it["metadata"]["annotations"] = annotations;
        of_volume(&world(&[], &[it]))
    };
    assert_eq!(of("Retain", Value::Null), "nothing to do\n");
    assert_eq!(of("Delete", json!({ "pv.kubernetes.io/provisioned-by": "orlop.dev/local" })), "nothing to do\n");
    let said = of("Delete", Value::Null);
    assert!(said.contains(r#""phase":"Failed""#) && said.contains("tell Warning VolumeFailedDelete"), "{said}");
    let said = of("Recycle", Value::Null);
    assert!(said.contains("VolumeFailedRecycle: No recycler plugin found for the volume!"), "{said}");
}

#[test]
fn a_volume_whose_claim_has_another_is_free_again() {
    let elsewhere = claim("by-hand".into(), &[("/spec/volumeName", "w".into())]);
    let of = |annotations: Value, policy: &str| {
        let changes = [("/spec/claimRef", held("c")), ("/spec/persistentVolumeReclaimPolicy", policy.into())];
        let mut it = volume("Bound", &changes);
        it["metadata"]["annotations"] = annotations;
        of_volume(&world(std::slice::from_ref(&elsewhere), &[it]))
    };
    let said = of(json!({ "pv.kubernetes.io/bound-by-controller": "yes" }), "Retain");
    assert!(said.contains(r#""claimRef":null"#) && said.contains("Available"), "{said}");
    let said = of(Value::Null, "Retain");
    assert!(said.contains(r#""claimRef":{"resourceVersion":null,"uid":null}"#), "{said}");
    let said = of(json!({ "pv.kubernetes.io/provisioned-by": "x" }), "Delete");
    assert!(said.contains("Released"), "{said}");
}
