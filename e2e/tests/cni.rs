//! `--network cni`: pods of containerd with the network that Debian's CNI plugins make, in a network namespace in which nothing else is.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use nix::sched::{CloneFlags, unshare};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::containerd::{CNI_FLAGS, CNI_RANGE, WithCni};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::scene::{POD_LIMIT, Scene, address, whole_id};
use orlop_e2e::{tool, wait};

/// The node's address: of an interface that leads nowhere.
const NODE: &str = "10.230.255.1";

#[test]
fn pods_of_containerd_have_the_network_of_its_plugins() -> Result<()> {
    let [_, tools] = image::archives()?;
    // What is started from here on is in the thread's namespace.
    let playing = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        for words in [
            "link set lo up",
            "link add node0 type veth peer name node1",
            "addr add 10.230.255.1/32 dev node0",
            "link set node0 up",
        ] {
            tool::run(Command::new(tool::machine("ip", "iproute2")?).args(words.split(' ')))?;
        }
        let containerd = WithCni::start()?;
        let mut flags = vec!["--address", NODE];
        flags.extend(CNI_FLAGS);
        let options = Options { runtime: "cri", images: vec![tools], agent_flags: flags.leak(), ..Options::default() };
        Cluster::with(options, |cluster| play(cluster, &containerd))
    });
    playing.join().map_err(|_| anyhow::anyhow!("the test panicked"))?
}

fn play(cluster: &mut Cluster, containerd: &WithCni) -> Result<()> {
    let api = Api::new(&cluster.kubeconfig())?;
    let scene = Scene::new(cluster, &api, "plugged")?;
    scene.apply(&format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{ name: web }}
spec: {{ selector: {{ app: web }}, ports: [{{ port: 80, targetPort: 8080 }}] }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: web, labels: {{ app: web }} }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, "mkdir /www; hostname >/www/index.html; exec httpd -f -p 8080 -h /www"]
      ports: [{{ containerPort: 8080, hostPort: 18080 }}]
      readinessProbe: {{ httpGet: {{ port: 8080 }}, periodSeconds: 1 }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: client }}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{ name: main, image: {TOOLS}, command: [sleep, "600"] }}]
"#
    ))?;
    // A probe's request reaches it, or it would not be ready.
    let (web, client) = (scene.ready("web")?, scene.ready("client")?);
    let range: IpNet = CNI_RANGE.parse()?;
    for pod in [&web, &client] {
        let at: IpAddr = address(pod)?.parse()?;
        ensure!(range.contains(&at), "its address is {at}");
        ensure!(containerd.given()?.contains(&at.to_string()), "the plugins know nothing of {at}");
    }
    let links = scene.run(&["exec", "client", "--", "ls", "/sys/class/net"])?;
    ensure!(links.split_whitespace().collect::<Vec<_>>() == ["eth0", "lo"], "it has {links}");

    let ask = |host: &str, port: u16| {
        let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port} | tail -n 1");
        wait::until(&format!("{host} answers"), POD_LIMIT, || {
            let said = scene.run(&["exec", "client", "--", "sh", "-c", &script])?;
            ensure!(said == "web\n", "it says {said:?}");
            Ok(())
        })
    };
    let service = api.get(&scene.path("services/web"))?;
    let service = service["spec"]["clusterIP"].as_str().context("the Service has no address")?.to_owned();
    ask(address(&web)?, 8080)?;
    ask(&service, 80)?;
    ask("web.plugged.svc.cluster.local", 80)?;
    // The port of the host is the plugin `portmap`'s.
    let answer = cluster.get(&format!("{NODE}:18080"), "/")?;
    ensure!(answer.body == "web\n", "the host's port answers {}", answer.body);

    // An agent that comes back finds the pods where they are.
    let before = (whole_id(&web, "main")?.to_owned(), address(&web)?.to_owned());
    drop(scene);
    cluster.kill_and_restart("agent-1")?;
    cluster.wait_nodes()?;
    let kubectl = cluster.kubectl()?;
    let scene = Scene { cluster, api: &api, kubectl, namespace: "plugged".into() };
    let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {service} 80 | tail -n 1");
    // It is a node before it lets anybody into its containers.
    wait::until("the Service answers as before", POD_LIMIT, || {
        let said = scene.run(&["exec", "client", "--", "sh", "-c", &script])?;
        ensure!(said == "web\n", "it says {said:?}");
        Ok(())
    })?;
    let web = scene.ready("web")?;
    ensure!((whole_id(&web, "main")?.to_owned(), address(&web)?.to_owned()) == before, "{}", web["status"]);

    // Addresses are given back.
    scene.run(&["delete", "pods", "--all"])?;
    wait::until("no address is taken", POD_LIMIT, || {
        let left = containerd.given()?;
        ensure!(left.is_empty(), "there are {left:?}");
        Ok(())
    })
}
