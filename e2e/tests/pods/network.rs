//! The pods' network on a host as Docker leaves it: pods reach each other, themselves, the host and the outside, by address.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use orlop_e2e::image::{TOOLS, WEB};
use orlop_e2e::registry::docker;
use orlop_e2e::scene::{Scene, address};
use orlop_e2e::{load, tool};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    docker_host()?;
    scene.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: one, labels: {{ app: web }} }}
spec:
  containers:
    - name: nginx
      image: {WEB}
      readinessProbe: {{ httpGet: {{ path: /alive, port: 8080 }}, periodSeconds: 1 }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: two, labels: {{ app: web }} }}
spec:
  containers:
    - name: nginx
      image: {WEB}
      readinessProbe: {{ httpGet: {{ path: /alive, port: 8080 }}, periodSeconds: 1 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: web }}
spec:
  selector: {{ app: web }}
  ports: [{{ port: 80, targetPort: 8080 }}]
---
apiVersion: v1
kind: Pod
metadata: {{ name: on-host }}
spec:
  hostNetwork: true
  containers: [{{ name: main, image: {TOOLS}, command: [sleep, "600"] }}]
"#
    ))?;
    let (one, two) = (scene.ready("one")?, scene.ready("two")?);
    let (one_ip, two_ip) = (address(&one)?, address(&two)?);
    ensure!(one_ip != two_ip, "both pods have {one_ip}");
    // The host's own curl, in the pod's network: what is asked for is the way, not the container's tools.
    let pid = scene.pid("one", "nginx")?.to_string();
    let (enter, curl) = (tool::machine("nsenter", "util-linux")?, tool::machine("curl", "curl")?);
    let ask = |url: &str| {
        let mut command = Command::new(&enter);
        command.args(["--target", &pid, "--net"]).arg(&curl).args(["--silent", "--show-error", "--max-time", "5", url]);
        tool::run(&mut command)
    };
    for (from, at) in [("another pod", two_ip), ("its own address", one_ip), ("its loopback", "127.0.0.1")] {
        let text = ask(&format!("http://{at}:8080/alive"))?;
        ensure!(text == "ok\n", "{from} says {text:?}");
    }
    let answer = load::get(&format!("{one_ip}:8080"), "/alive", Duration::from_secs(3))?;
    ensure!(answer.body == "ok\n", "the host is told {}", answer.body);

    // The host itself, by the address that the pod is told.
    let host_ip = one["status"]["hostIP"].as_str().unwrap_or_default();
    let listener = std::net::TcpListener::bind((host_ip, 0))?;
    let port = listener.local_addr()?.port();
    let answering = std::thread::spawn(move || answer_once(&listener));
    let text = ask(&format!("http://{host_ip}:{port}/"))?;
    let _ = answering.join();
    ensure!(text == "host", "the host says {text:?}");

    // A machine beyond the host, which knows no way back to pods: answers find it only through the host's own address.
    let outside = Outside::new()?;
    orlop_e2e::wait::until("the outside answers", Duration::from_secs(20), || {
        let text = ask(&format!("http://{}/hello", Outside::ADDRESS))?;
        ensure!(text == "outside\n", "the outside says {text:?}");
        Ok(())
    })?;
    drop(outside);

    let on_host = scene.ready("on-host")?;
    ensure!(address(&on_host)? == host_ip, "on the host's network: {}", on_host["status"]);
    let links = scene.inside("on-host", "main", &["ip", "link"])?;
    ensure!(links.contains("docker0") || links.contains("eth0"), "the host's links are {links}");

    // A slice with both, and an Endpoints object beside it.
    let endpoints = orlop_e2e::endpoints::Endpoints::watch(scene.api, &scene.namespace, "web")?;
    let mut expected = vec![format!("{one_ip}:8080"), format!("{two_ip}:8080")];
    expected.sort();
    orlop_e2e::wait::until("the slice has both pods", Duration::from_secs(20), || {
        let ready = endpoints.ready();
        ensure!(ready == expected, "it has {ready:?}");
        Ok(())
    })?;
    let listed = scene.run(&["get", "endpoints", "web"])?;
    ensure!(listed.contains(one_ip) && listed.contains(two_ip), "{listed}");
    Ok(())
}

fn answer_once(listener: &std::net::TcpListener) -> std::io::Result<()> {
    use std::io::{Read, Write};
    let (mut stream, _) = listener.accept()?;
    let _ = stream.read(&mut [0; 1024])?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhost")
}

/// The network must work where Docker has closed the ways, so that they are closed has to be sure.
fn docker_host() -> Result<()> {
    let rules = tool::run(Command::new(tool::machine("iptables", "iptables")?).args(["-w", "5", "-S", "FORWARD"]))?;
    ensure!(rules.starts_with("-P FORWARD DROP"), "this host's FORWARD policy is not Docker's: {rules}");
    if let Ok(text) = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables") {
        ensure!(text.trim() == "1", "bridge-nf-call-iptables is {text}");
    }
    Ok(())
}

/// A machine beyond the host: a container without Docker's network, with a link of its own.
struct Outside {
    container: String,
}

impl Outside {
    /// Of the range for benchmarks of networks, which nobody routes.
    const ADDRESS: &str = "198.18.91.2";

    fn new() -> Result<Outside> {
        let serve = "mkdir -p /www && echo outside > /www/hello && exec httpd -f -p 80 -h /www";
        let run = ["run", "--detach", "--network", "none", TOOLS, "sh", "-c", serve];
        let it = Outside { container: docker(&run)?.trim().to_owned() };
        let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &it.container])?.trim().to_owned();
        let (link, ip) = (format!("oxe{pid}"), tool::machine("ip", "iproute2")?);
        let ip = |arguments: &str| tool::run(Command::new(&ip).args(arguments.split(' ')));
        ip(&format!("link add {link} type veth peer name eth0 netns {pid}"))?;
        ip(&format!("addr add 198.18.91.1/30 dev {link}"))?;
        ip(&format!("link set {link} up"))?;
        for inside in [format!("addr add {}/30 dev eth0", Self::ADDRESS), "link set eth0 up".to_owned()] {
            let enter = tool::machine("nsenter", "util-linux")?;
            let command = format!("--target {pid} --net ip {inside}");
            tool::run(Command::new(enter).args(command.split(' ')))?;
        }
        Ok(it)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // Its namespace goes with it, and with the namespace the link.
        if let Err(error) = docker(&["rm", "--force", &self.container]) {
            eprintln!("{error:#}");
        }
    }
}
