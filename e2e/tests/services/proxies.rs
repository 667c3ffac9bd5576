//! Requests that the API server hands on to pods and Services ("Proxy version v1 A set of valid responses are returned for both pod and service
//! Proxy", "... ProxyWithPath", "Proxy version v1 should proxy through a service and a pod").

use anyhow::{Result, ensure};
use http::Method;
use orlop_e2e::image::WEB;
use orlop_e2e::scene::{POD_LIMIT, Scene};
use serde_json::{Value, json};

use crate::crew::service;
use crate::plain::Http;

/// Says what it was asked, and where, whatever that is.
const CONF: &str = r#"
worker_processes 1;
error_log /dev/stderr warn;
pid /tmp/nginx.pid;
events { worker_connections 64; }
http {
  log_format asked '$request_method $request_uri';
  access_log /dev/stdout asked;
  default_type text/plain;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen 8080;
    listen 9090;
    listen 8443 ssl;
    ssl_certificate /conf/tls.crt;
    ssl_certificate_key /conf/tls.key;
    return 200 "$request_method $request_uri $scheme $server_port\n";
  }
}
"#;

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let pair = rcgen::generate_simple_self_signed(["web".to_owned()])?;
    let files = json!({ "nginx.conf": CONF, "tls.crt": pair.cert.pem(), "tls.key": pair.signing_key.serialize_pem() });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "conf" }, "stringData": files });
    let ports = "{ name: http, port: 80, targetPort: 8080 }, { name: other, port: 81, targetPort: 9090 }, \
                 { name: tls, port: 443, targetPort: 8443 }";
    let web = service("web", &format!("{{ selector: {{ app: web }}, ports: [{ports}] }}"));
    scene.apply(&format!("{}\n---\n{secret}\n{web}", manifest()))?;
    scene.ready("web")?;
    let http = Http::of(scene);
    let ask = |method: &Method, path: &str| http.send(method.clone(), &scene.path(path), &[], &Value::Null);
    let has_address = |it: &Value| it["subsets"][0]["addresses"][0]["ip"].is_string();
    scene.api.until(&scene.path("endpoints/web"), "has the pod", POD_LIMIT, has_address)?;

    // Pods by the number of a port, Services by its name or number; what is not said is the first port of a container, and HTTP.
    for (named, scheme, port) in [
        ("pods/web", "http", 8080),
        ("pods/web:9090", "http", 9090),
        ("pods/http:web:9090", "http", 9090),
        ("pods/https:web:8443", "https", 8443),
        ("services/web:http", "http", 8080),
        ("services/web:80", "http", 8080),
        ("services/web:other", "http", 9090),
        ("services/http:web:81", "http", 9090),
        ("services/https:web:tls", "https", 8443),
        ("services/https:web:443", "https", 8443),
    ] {
        for method in &METHODS {
            let path = format!("{named}/proxy/some/path%20with?method={method}");
            let answer = ask(method, &path)?;
            let expected = match *method {
                Method::HEAD => String::new(),
                _ => format!("{method} /some/path%20with?method={method} {scheme} {port}\n"),
            };
            ensure!(answer.code == 200 && answer.text == expected, "{method} {path}: {answer:?}");
        }
    }
    // Without a path there is one, that of the root; who only looks is sent there first, so that relative links lead somewhere.
    for named in ["pods/web", "services/web:http"] {
        for method in &METHODS {
            let answer = ask(method, &format!("{named}/proxy?method={method}"))?;
            if [Method::GET, Method::HEAD].contains(method) {
                ensure!(answer.code == 301, "{method} {named}: {answer:?}");
            } else {
                let expected = format!("{method} /?method={method} http 8080\n");
                ensure!(answer.code == 200 && answer.text == expected, "{method} {named}: {answer:?}");
            }
            ask(method, &format!("{named}/proxy/?method={method}"))?.is(200)?;
        }
    }
    // What a HEAD was is to be seen in the pod alone.
    let logs = scene.logs("web", &[])?;
    ensure!(logs.contains("HEAD /some/path%20with?method=HEAD\n"), "{logs}");
    // By kubectl: the other client asks again where a server says that it is not ready.
    let path = scene.path("services/web:none/proxy/");
    let refused = scene.kubectl.fails(&["get", "--raw", &path], "")?;
    ensure!(refused.contains("no endpoints available for service"), "a port that it does not have: {refused}");
    Ok(())
}

fn manifest() -> String {
    format!(
        r#"---
apiVersion: v1
kind: Pod
metadata: {{ name: web, labels: {{ app: web }} }}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{ name: conf, secret: {{ secretName: conf }} }}]
  containers:
    - name: nginx
      image: {WEB}
      command: [/usr/sbin/nginx, -c, /conf/nginx.conf, -g, "daemon off;"]
      ports: [{{ containerPort: 8080 }}, {{ containerPort: 9090 }}, {{ containerPort: 8443 }}]
      readinessProbe: {{ tcpSocket: {{ port: 8443 }}, periodSeconds: 1 }}
      volumeMounts: [{{ name: conf, mountPath: /conf }}]"#
    )
}
