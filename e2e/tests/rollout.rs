//! A rolling update of real servers under load, with clients that ask whom the EndpointSlices name: not one request is lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::endpoints::Endpoints;
use orlop_e2e::image::{self, WEB};
use orlop_e2e::load::Load;
use orlop_e2e::scene::Scene;

const REPLICAS: usize = 3;

#[test]
fn a_rolling_update_loses_no_request() -> Result<()> {
    image::ready()?;
    Cluster::with(Options { runtime: "docker", ..Options::default() }, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        let scene = Scene::new(cluster, &api, "rollout")?;
        scene.apply(&manifest("first"))?;
        scene.run(&["rollout", "status", "deployment/web", "--timeout=100s"])?;
        let endpoints = Endpoints::watch(&api, "rollout", "web")?;
        orlop_e2e::wait::until("all are ready to be asked", Duration::from_secs(20), || {
            ensure!(endpoints.ready().len() == REPLICAS, "only {:?}", endpoints.ready());
            Ok(())
        })?;
        let before = pods(&scene)?;
        let load = Load::start("/alive", Duration::from_millis(2), move || endpoints.ready());

        // Forward, back again, and a restart by hand: three updates, each of which replaces every pod.
        scene.apply(&manifest("second"))?;
        scene.run(&["rollout", "status", "deployment/web", "--timeout=100s"])?;
        let middle = pods(&scene)?;
        if scene.kubectl.is_old()? {
            // It drops what it does not know, the hook's sleep, from the revision that it restores.
            scene.apply(&manifest("first"))?;
        } else {
            scene.run(&["rollout", "undo", "deployment/web"])?;
        }
        scene.run(&["rollout", "status", "deployment/web", "--timeout=100s"])?;
        scene.run(&["rollout", "restart", "deployment/web"])?;
        scene.run(&["rollout", "status", "deployment/web", "--timeout=100s"])?;
        scene.api.until(&scene.path("pods"), "are only the new ones", Duration::from_secs(60), |it| {
            it["items"].as_array().is_some_and(|it| it.len() == REPLICAS)
        })?;
        let after = pods(&scene)?;
        let count = load.stop();

        for (old, new) in [(&before, &middle), (&middle, &after), (&before, &after)] {
            ensure!(old.iter().all(|it| !new.contains(it)), "a pod was not replaced: {old:?}, then {new:?}");
        }
        println!("{} requests answered during three rolling updates, {} lost", count.answered, count.lost);
        ensure!(count.lost == 0, "{} of {} requests were lost: {:#?}", count.lost, count.answered, count.losses);
        ensure!(count.answered > 500, "only {} requests: no load", count.answered);
        let history = scene.run(&["rollout", "history", "deployment/web"])?;
        ensure!(history.contains("REVISION"), "{history}");
        Ok(())
    })
}

/// The names of the pods that are not going.
fn pods(scene: &Scene<'_>) -> Result<Vec<String>> {
    let items = scene.api.items(&scene.path("pods"))?;
    let staying = items.iter().filter(|it| it["metadata"]["deletionTimestamp"].is_null());
    staying.map(|it| it["metadata"]["name"].as_str().map(str::to_owned).context("a pod has a name")).collect()
}

fn manifest(greeting: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{ name: web }}
spec:
  selector: {{ app: web }}
  ports: [{{ port: 80, targetPort: http }}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: {REPLICAS}
  selector: {{ matchLabels: {{ app: web }} }}
  strategy: {{ rollingUpdate: {{ maxUnavailable: 0, maxSurge: 1 }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      containers:
        - name: nginx
          image: {WEB}
          env: [{{ name: GREETING, value: {greeting} }}]
          ports: [{{ name: http, containerPort: 8080 }}]
          readinessProbe: {{ httpGet: {{ path: /alive, port: http }}, periodSeconds: 1 }}
          lifecycle:
            # Clients learn that the pod goes while it still answers; then nginx ends the requests it has.
            preStop: {{ sleep: {{ seconds: 2 }} }}
"#
    )
}
