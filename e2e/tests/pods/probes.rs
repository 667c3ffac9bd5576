//! Probes: startup holds the others back, readiness moves endpoints, liveness restarts.

use anyhow::{Result, ensure};
use orlop_e2e::endpoints::Endpoints;
use orlop_e2e::image::{TOOLS, WEB};
use orlop_e2e::scene::{POD_LIMIT, Scene, address, container};
use orlop_e2e::wait;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest())?;
    let endpoints = Endpoints::watch(scene.api, &scene.namespace, "probed")?;
    let inside = |command: &str| scene.inside("probed", "main", &["sh", "-c", command]);
    let wait_endpoints = |what: &str, expected: &[String]| {
        wait::until(&format!("the endpoints are {what}"), POD_LIMIT, || {
            let ready = endpoints.ready();
            ensure!(ready == expected, "they are {ready:?}");
            Ok(())
        })
    };

    // Startup: it is asked and says no; until it says yes, liveness (which would fail) is not asked.
    scene.event("probed", "Unhealthy", "Startup probe failed")?;
    let pod = scene.until("probed", "runs", |it| it["status"]["phase"] == "Running")?;
    let main = container(&pod, "main");
    ensure!(main["started"] == false && main["ready"] == false, "before its startup probe succeeded: {main}");
    wait_endpoints("none", &[])?;
    inside("touch /tmp/alive /tmp/started")?;
    scene.until("probed", "has started", |it| container(it, "main")["started"] == true)?;

    // Readiness: endpoints follow it, both ways.
    scene.event("probed", "Unhealthy", "Readiness probe failed")?;
    inside("touch /tmp/ready")?;
    let pod = scene.ready("probed")?;
    let own = vec![format!("{}:80", address(&pod)?)];
    wait_endpoints("the pod's", &own)?;
    inside("rm /tmp/ready")?;
    scene.until("probed", "is not ready", |it| container(it, "main")["ready"] == false)?;
    wait_endpoints("none again", &[])?;
    inside("touch /tmp/ready")?;
    wait_endpoints("the pod's again", &own)?;
    ensure!(container(&scene.pod("probed")?, "main")["restartCount"] == 0, "readiness restarts nothing");

    // Liveness: the container is killed and runs anew.
    inside("rm /tmp/alive")?;
    scene.until("probed", "is restarted", |it| container(it, "main")["restartCount"] == 1)?;
    scene.event("probed", "Unhealthy", "Liveness probe failed")?;
    scene.event("probed", "Killing", "Container main failed liveness probe, will be restarted")?;
    wait_endpoints("none, since it starts anew", &[])?;

    // Over HTTP and TCP, to a real server.
    scene.ready("served")?;
    let pod = scene.until("unserved", "is restarted for want of an answer", |it| {
        container(it, "nginx")["restartCount"].as_i64() >= Some(1)
    })?;
    ensure!(container(&pod, "nginx")["ready"] == false, "{}", pod["status"]);
    scene.event("unserved", "Unhealthy", "HTTP probe failed with statuscode: 404")?;
    scene.event("unserved", "Unhealthy", "connect: connection refused")?;

    // Over gRPC, to a real server of the standard health service.
    scene.ready("spoken")?;
    scene.event("spoken", "Unhealthy", "Startup probe failed")?;
    scene.event("unspoken", "Unhealthy", "Readiness probe failed")?;
    let pod = scene.pod("unspoken")?;
    ensure!(container(&pod, "etcd")["ready"] == false, "it has no such service: {}", pod["status"]);
    ensure!(container(&scene.pod("spoken")?, "etcd")["restartCount"] == 0, "liveness was content");
    Ok(())
}

/// The host's own etcd in a container: it answers `grpc.health.v1.Health/Check` for itself (a service without a name), and knows no other.
fn etcd(name: &str, delay_seconds: u8, probes: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{ name: usr, hostPath: {{ path: /usr, type: Directory }} }}]
  containers:
    - name: etcd
      image: {TOOLS}
      command:
        - sh
        - -c
        - >-
          sleep {delay_seconds}; exec /usr/lib/$(uname -m)-linux-gnu/ld-linux-*.so.* /usr/bin/etcd --data-dir=/tmp/etcd
          --listen-client-urls=http://0.0.0.0:2379 --advertise-client-urls=http://127.0.0.1:2379
      volumeMounts: [{{ name: usr, mountPath: /usr, readOnly: true }}]
{probes}
"#
    )
}

fn manifest() -> String {
    let spoken = "      startupProbe: { grpc: { port: 2379 }, periodSeconds: 1, failureThreshold: 60 }\n      \
                  livenessProbe: { grpc: { port: 2379 }, periodSeconds: 1 }\n      \
                  readinessProbe: { grpc: { port: 2379 }, periodSeconds: 1 }";
    let unspoken = "      readinessProbe: { grpc: { port: 2379, service: none.such }, periodSeconds: 1 }";
    let real = servers();
    [real, etcd("spoken", 3, spoken), etcd("unspoken", 0, unspoken)].concat()
}

fn servers() -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{ name: probed }}
spec:
  selector: {{ app: probed }}
  ports: [{{ port: 80 }}]
---
apiVersion: v1
kind: Pod
metadata: {{ name: probed, labels: {{ app: probed }} }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: {TOOLS}
      command: [sleep, "600"]
      startupProbe:
        exec: {{ command: [test, -f, /tmp/started] }}
        periodSeconds: 1
        timeoutSeconds: 10
        failureThreshold: 60
      readinessProbe:
        exec: {{ command: [test, -f, /tmp/ready] }}
        periodSeconds: 1
        timeoutSeconds: 10
        failureThreshold: 1
      livenessProbe:
        exec: {{ command: [test, -f, /tmp/alive] }}
        periodSeconds: 1
        timeoutSeconds: 10
        failureThreshold: 2
---
apiVersion: v1
kind: Pod
metadata: {{ name: served }}
spec:
  containers:
    - name: nginx
      image: {WEB}
      ports: [{{ name: http, containerPort: 8080 }}]
      startupProbe:
        tcpSocket: {{ port: http }}
        periodSeconds: 1
      readinessProbe:
        httpGet: {{ path: /alive, port: http }}
        periodSeconds: 1
---
apiVersion: v1
kind: Pod
metadata: {{ name: unserved }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: nginx
      image: {WEB}
      ports: [{{ name: http, containerPort: 8080 }}]
      livenessProbe:
        httpGet: {{ path: /nowhere, port: http }}
        periodSeconds: 1
        failureThreshold: 2
      readinessProbe:
        tcpSocket: {{ port: 8081 }}
        periodSeconds: 1
"#
    )
}
