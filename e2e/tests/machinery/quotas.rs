//! ResourceQuotas ("ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated", "... capture the life of a
//! service, secret, pod, configMap, replication controller, replica set", of claims besides; "... manage the lifecycle of a ResourceQuota",
//! "... be able to update and delete ResourceQuota", "... apply changes to a resourcequota status").

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use serde_json::{Value, json};

use super::plain::{Http, MERGE, STRATEGIC, count, names};

pub const QUOTAS: &str = "resourcequotas";

/// Waits until a quota shows this use.
pub fn used(it: &Scene<'_>, quota: &str, expected: Value) -> Result<()> {
    let path = it.path(&format!("{QUOTAS}/{quota}"));
    it.api.until(&path, &format!("shows {expected}"), POD_LIMIT, |it| {
        expected.as_object().into_iter().flatten().all(|(name, amount)| it["status"]["used"][name] == *amount)
    })?;
    Ok(())
}

/// A quota of many kinds: each of them comes, is counted, and goes.
pub fn lives(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    // The root CA's map is there before the quota counts it.
    it.api.until(&it.path("configmaps"), "has the root CA", POD_LIMIT, |it| count(it) == 1)?;
    let hard = json!({ "services": "10", "services.nodeports": "1", "services.loadbalancers": "1", "replicationcontrollers": "10",
        "resourcequotas": "1", "configmaps": "2", "secrets": "1", "persistentvolumeclaims": "1", "requests.storage": "2Gi",
        "gold.storageclass.storage.k8s.io/requests.storage": "10Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "10", "count/replicasets.apps": "1" });
    http.post(&it.path(QUOTAS), &json!({ "metadata": { "name": "q" }, "spec": { "hard": hard } }))?.is(201)?;
    let none = json!({ "services": "0", "services.nodeports": "0", "services.loadbalancers": "0", "replicationcontrollers": "0",
        "resourcequotas": "1", "configmaps": "1", "secrets": "0", "persistentvolumeclaims": "0", "requests.storage": "0",
        "gold.storageclass.storage.k8s.io/requests.storage": "0", "count/replicasets.apps": "0" });
    used(it, "q", none.clone())?;
    let second = json!({ "metadata": { "name": "second" }, "spec": { "hard": { "pods": "1" } } });
    http.post(&it.path(QUOTAS), &second)?.refuses(
        403,
        "exceeded quota: q, requested: resourcequotas=1, used: resourcequotas=1, limited: resourcequotas=1",
    )?;

    // Services.
    let service = |name: &str, kind: &str, more: Value| {
        let mut spec = json!({ "type": kind, "ports": [{ "port": 80 }] });
        more.as_object().into_iter().flatten().for_each(|(key, value)| spec[key] = value.clone());
        json!({ "metadata": { "name": name }, "spec": spec })
    };
    let services = it.path("services");
    http.post(&services, &service("cluster", "ClusterIP", json!({})))?.is(201)?;
    http.post(&services, &service("node", "NodePort", json!({})))?.is(201)?;
    let balanced = service("balanced", "LoadBalancer", json!({ "allocateLoadBalancerNodePorts": true }));
    http.post(&services, &balanced)?.refuses(403, "services.nodeports=1")?;
    used(it, "q", json!({ "services": "2", "services.nodeports": "1", "services.loadbalancers": "0" }))?;
    for name in ["cluster", "node"] {
        http.delete(&format!("{services}/{name}"), &Value::Null)?.is(200)?;
    }
    used(it, "q", json!({ "services": "0", "services.nodeports": "0" }))?;

    // Kinds of which only the number counts.
    let selector = json!({ "app": "x" });
    let template = json!({ "metadata": { "labels": { "app": "x" } },
        "spec": { "containers": [{ "name": "c", "image": "registry.local/web:1" }] } });
    let claim = |size: &str| {
        json!({ "metadata": { "name": "one" }, "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "gold",
            "resources": { "requests": { "storage": size } } } })
    };
    for (plural, body, counted) in [
        ("secrets", json!({ "metadata": { "name": "one" } }), json!({ "secrets": "1" })),
        ("configmaps", json!({ "metadata": { "name": "one" } }), json!({ "configmaps": "2" })),
        (
            "replicationcontrollers",
            json!({ "metadata": { "name": "one" }, "spec": { "replicas": 0, "selector": selector, "template": template } }),
            json!({ "replicationcontrollers": "1" }),
        ),
        (
            "replicasets",
            json!({ "metadata": { "name": "one" }, "spec": { "replicas": 0, "selector": { "matchLabels": selector },
                "template": template } }),
            json!({ "count/replicasets.apps": "1" }),
        ),
        (
            "persistentvolumeclaims",
            claim("1Gi"),
            json!({ "persistentvolumeclaims": "1", "requests.storage": "1Gi",
                "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
                "gold.storageclass.storage.k8s.io/requests.storage": "1Gi" }),
        ),
    ] {
        let path = it.path(plural);
        http.post(&path, &body)?.is(201)?;
        used(it, "q", counted)?;
        if plural != "replicationcontrollers" {
            let mut another = body.clone();
            another["metadata"]["name"] = "another".into();
            http.post(&path, &another)?.refuses(403, "exceeded quota: q")?;
        }
        http.delete(&format!("{path}/one"), &json!({ "propagationPolicy": "Background" }))?.is(200)?;
        used(it, "q", none.clone())?;
    }
    http.post(&it.path("persistentvolumeclaims"), &claim("3Gi"))?
        .refuses(403, "requested: requests.storage=3Gi, used: requests.storage=0, limited: requests.storage=2Gi")
}

/// A pod is charged for what it asks for, cannot ask for more afterwards, and gives it back.
pub fn pods(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let hard = json!({ "pods": "5", "cpu": "1", "memory": "500Mi", "requests.ephemeral-storage": "50Gi", "requests.example.com/dongle": "3" });
    http.post(&it.path(QUOTAS), &json!({ "metadata": { "name": "q" }, "spec": { "hard": hard } }))?.is(201)?;
    used(it, "q", json!({ "pods": "0", "cpu": "0", "memory": "0" }))?;
    let pod = |name: &str, cpu: &str, dongles: &str| {
        let amounts =
            json!({ "cpu": cpu, "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": dongles });
        let resources = json!({ "requests": amounts, "limits": { "example.com/dongle": dongles } });
        json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "registry.local/web:1",
            "resources": resources }] } })
    };
    let path = it.path("pods");
    http.post(&path, &pod("one", "500m", "2"))?.is(201)?;
    let counted = json!({ "pods": "1", "cpu": "500m", "memory": "252Mi", "requests.ephemeral-storage": "30Gi",
        "requests.example.com/dongle": "2" });
    used(it, "q", counted.clone())?;
    http.post(&path, &pod("much", "600m", "0"))?.refuses(403, "exceeded quota: q, requested: cpu=600m")?;
    http.post(&path, &pod("rare", "100m", "2"))?.refuses(403, "requests.example.com/dongle=2")?;
    let without = json!({ "metadata": { "name": "without" }, "spec": { "containers": [{ "name": "c", "image": "registry.local/web:1" }] } });
    http.post(&path, &without)?.refuses(403, "failed quota: q: must specify cpu for: c; memory for: c")?;
    let more = json!({ "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": "100m" } } }] } });
    http.patch(&format!("{path}/one"), STRATEGIC, &more)?
        .refuses(422, "pod updates may not change fields other than")?;
    used(it, "q", counted)?;
    http.delete(&format!("{path}/one"), &json!({ "gracePeriodSeconds": 0 }))?.is(200)?;
    used(
        it,
        "q",
        json!({ "pods": "0", "cpu": "0", "memory": "0", "requests.ephemeral-storage": "0", "requests.example.com/dongle": "0" }),
    )
}

/// Every verb on quotas themselves, and their status by its own door.
pub fn itself(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let path = it.path(QUOTAS);
    let labels = json!({ "quota": &it.namespace });
    let body =
        json!({ "metadata": { "name": "q", "labels": labels }, "spec": { "hard": { "cpu": "1", "memory": "500Mi" } } });
    let made = http.post(&path, &body)?.is(201)?;
    ensure!(made["spec"]["hard"] == json!({ "cpu": "1", "memory": "500Mi" }), "{made}");
    it.api.until(&format!("{path}/q"), "is counted", POD_LIMIT, |it| it["status"]["hard"]["cpu"] == "1")?;
    let mut changed = http.get(&format!("{path}/q"))?.is(200)?;
    changed["spec"]["hard"] = json!({ "cpu": "2", "memory": "1Gi" });
    // The status may have been counted anew meanwhile.
    changed["metadata"]["resourceVersion"].take();
    let changed = http.put(&format!("{path}/q"), &changed)?.is(200)?;
    ensure!(changed["spec"]["hard"] == json!({ "cpu": "2", "memory": "1Gi" }), "{changed}");
    it.api.until(&format!("{path}/q"), "is counted anew", POD_LIMIT, |it| it["status"]["hard"]["memory"] == "1Gi")?;
    let scopes = json!({ "spec": { "scopes": ["BestEffort"] } });
    http.patch(&format!("{path}/q"), MERGE, &scopes)?.refuses(422, "field is immutable")?;

    let selected = format!("labelSelector=quota={}", it.namespace);
    let everywhere = http.get(&format!("/api/v1/{QUOTAS}?{selected}"))?.is(200)?;
    ensure!(names(&everywhere) == ["q"], "{everywhere}");
    let patch = json!({ "metadata": { "labels": { "patched": "yes" } }, "spec": { "hard": { "memory": "750Mi" } } });
    let patched = http.patch(&format!("{path}/q"), STRATEGIC, &patch)?.is(200)?;
    ensure!(
        patched["spec"]["hard"]["memory"] == "750Mi" && patched["metadata"]["labels"]["patched"] == "yes",
        "{patched}"
    );

    // Whoever writes the status is believed until it is counted anew; the spec cannot be changed so.
    it.api.until(&format!("{path}/q"), "is counted", POD_LIMIT, |it| it["status"]["hard"]["memory"] == "750Mi")?;
    let status = json!({ "spec": { "hard": { "cpu": "9" } }, "status": { "hard": { "cpu": "5" } } });
    let told = http.patch(&format!("{path}/q/status"), MERGE, &status)?.is(200)?;
    ensure!(told["status"]["hard"]["cpu"] == "5" && told["spec"]["hard"]["cpu"] == "2", "{told}");
    it.api.until(&format!("{path}/q/status"), "is counted anew", POD_LIMIT, |it| it["status"]["hard"]["cpu"] == "2")?;
    let mut whole = http.get(&format!("{path}/q/status"))?.is(200)?;
    whole["status"] = json!({ "hard": { "cpu": "6" }, "used": { "cpu": "3" } });
    let told = http.put(&format!("{path}/q/status"), &whole)?.is(200)?;
    ensure!(told["status"]["used"]["cpu"] == "3", "{told}");
    it.api.until(&format!("{path}/q"), "is counted anew", POD_LIMIT, |it| it["status"]["used"]["cpu"] == "0")?;

    http.send(::http::Method::DELETE, &format!("{path}?{selected}"), &[], &Value::Null)?.is(200)?;
    http.get(&format!("{path}/q"))?.refuses(404, "resourcequotas \"q\" not found")?;
    http.post(&path, &body)?.is(201)?;
    http.delete(&format!("{path}/q"), &Value::Null)?.is(200)?;
    ensure!(count(&http.get(&path)?.is(200)?) == 0, "it is deleted");
    Ok(())
}

/// Of many writers at once exactly as many get in as there is room for, and what goes makes room again.
pub fn crowd(it: &Scene<'_>) -> Result<()> {
    const WRITERS: usize = 8;
    const EACH: usize = 4;
    const ROOM: usize = 10;
    let http = Http::of(it);
    let quota = json!({ "metadata": { "name": "q" }, "spec": { "hard": { "count/secrets": ROOM.to_string() } } });
    http.post(&it.path(QUOTAS), &quota)?.is(201)?;
    used(it, "q", json!({ "count/secrets": "0" }))?;
    let path = it.path("secrets");
    let write = |writer: usize| -> Result<usize> {
        let mut made = 0;
        for number in 0..EACH {
            let answer = http.post(&path, &json!({ "metadata": { "name": format!("s-{writer}-{number}") } }))?;
            if answer.code == 201 {
                made += 1;
            } else {
                answer.refuses(403, "exceeded quota: q, requested: count/secrets=1, used: count/secrets=10")?;
            }
        }
        Ok(made)
    };
    let made: Vec<Result<usize>> = std::thread::scope(|threads| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| threads.spawn(move || write(writer))).collect();
        writers.into_iter().map(|it| it.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a writer panicked")))).collect()
    });
    let made: usize = made.into_iter().sum::<Result<usize>>()?;
    ensure!(made == ROOM, "{made} secrets were made where there is room for {ROOM}");
    used(it, "q", json!({ "count/secrets": ROOM.to_string() }))?;
    let there = names(&http.get(&path)?.json);
    ensure!(there.len() == ROOM, "{there:?}");
    http.delete(&format!("{path}/{}", there[0]), &Value::Null)?.is(200)?;
    used(it, "q", json!({ "count/secrets": "9" }))?;
    http.post(&path, &json!({ "metadata": { "name": "again" } }))?.is(201)?;
    Ok(())
}
