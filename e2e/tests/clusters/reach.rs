//! The way from pods of each node to pods of each other: by address with whole packets and the client's own address, by the name of a Service, by
//! the nodes' ports from outside; and ways that somebody takes away, which come back.

use std::process::Command;

use anyhow::{Result, ensure};
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::{image, tool, wait};

use crate::web::{self, CURL, LIMIT, NODE_PORT, address, everybody, from, plain, within};

/// How much is sent in one go: more than any packet holds.
const SENT_BYTES: usize = 100_000;

pub fn play(overlay: &str, mtu: u32) -> Result<()> {
    let images = image::archives()?[1..].to_vec();
    let port = tool::free_port()?;
    let flags = vec![format!("--overlay={overlay}"), format!("--port={port}:{NODE_PORT}")];
    let options =
        Options { form: Form::Nodes, runtime: "native", nodes: 3, images, cluster_flags: flags, ..Options::default() };
    Cluster::with(options, |cluster| {
        let (local, kubectl) = (cluster.local(), cluster.kubectl()?);
        let names = cluster.node_names();
        let pods = web::make(&kubectl, &names)?;
        let sent = tempfile::NamedTempFile::new()?;
        std::fs::write(sent.path(), vec![b'x'; SENT_BYTES])?;
        let body = format!("@{}", sent.path().display());
        for client in &pods {
            let own = address(client)?;
            let link = from(&local, client, &["ip", "-o", "link", "show", "eth0"])?;
            ensure!(link.contains(&format!(" mtu {mtu} ")), "{link}");
            for server in &pods {
                let name = server["metadata"]["name"].as_str().unwrap_or_default();
                let at = address(server)?;
                let ask = |path: &str, more: &[&str]| {
                    from(&local, client, &[&CURL, more, &[&format!("http://{at}:8080/{path}")]].concat())
                };
                let text = ask("cgi-bin/who", &[])?;
                let said = text.trim().split_once(' ').map(|(pod, client)| (pod.to_owned(), plain(client)));
                ensure!(said == Some((name.to_owned(), own.to_owned())), "{own} asks {name} at {at}: {text}");
                ensure!(ask("big", &[])?.len() == 300_000, "{own} gets all of {at}");
                let counted = ask("cgi-bin/count", &["--data-binary", &body])?;
                ensure!(counted.trim() == SENT_BYTES.to_string(), "{at} gets all of {own}: {counted}");
            }
            // By the name of the Service, as the container itself looks it up.
            let lookup = within(&local, client, &["nslookup", "web.default.svc.cluster.local"])?;
            let service = kubectl.json(&["service", "web"])?;
            let cluster_ip = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
            ensure!(lookup.contains(&cluster_ip), "{lookup}");
            let script = "printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | nc -w 5 web 80 | tail -n 1";
            let clients = everybody(pods.len(), || within(&local, client, &["sh", "-c", script]))?;
            // A pod that meets itself does so by the address of its node's bridge.
            ensure!(clients.contains(own) && clients.len() <= 2, "{own} is seen as {clients:?}");
        }
        // From the host: by every node's address, and by the host's own port.
        for node in 1..=names.len() {
            web::until_everybody(pods.len(), &format!("{}:{NODE_PORT}", local.address(node)?))?;
        }
        web::until_everybody(pods.len(), &format!("127.0.0.1:{port}"))?;

        // Who takes a way away sees it come back.
        let (first, second) = (&pods[0], address(&pods[1])?);
        let ask = || from(&local, first, &[&CURL[..], &[&format!("http://{second}:8080/cgi-bin/who")]].concat());
        let range = kubectl.json(&["node", &names[1]])?["spec"]["podCIDR"].as_str().unwrap_or_default().to_owned();
        local.on(&names[0], &["ip", "route", "delete", &range])?;
        ensure!(ask().is_err(), "without a route there is no way");
        wait::until("the route is back", LIMIT, ask)?;
        if overlay == "vxlan" {
            let tunnel = local.on(&names[0], &["ip", "-o", "link", "show", "type", "vxlan"])?;
            let name = tunnel.split(": ").nth(1).unwrap_or_default().to_owned();
            local.on(&names[0], &["ip", "link", "delete", &name])?;
            ensure!(ask().is_err(), "without a tunnel there is no way");
            wait::until("the tunnel is back", LIMIT, ask)?;
        }
        // A node that is lost leaves the others' ways alone; host's ports lead to those that answer.
        local.kill(&format!("agent-{}", names[2]))?;
        ask()?;
        let listed = local.run(&["list"])?;
        ensure!(listed.contains(&format!("Degraded (agent-{})", names[2])), "{listed}");
        outside(cluster, &pods[1])
    })
}

/// What pods send to machines beyond the host arrives there, as the host's.
fn outside(cluster: &Cluster, pod: &serde_json::Value) -> Result<()> {
    let local = cluster.local();
    // Each cluster of a test has a number of its own.
    let number: u32 = local.name().trim_start_matches('n').parse()?;
    let link = format!("oxt{number}");
    let ip = |words: &str| tool::run(Command::new(tool::machine("ip", "iproute2")?).args(words.split(' ')));
    let space = format!("orlop-outside-{number}");
    // Another test may have a machine of its own at the same time.
    let net = format!("198.18.{}", 100 + number % 100);
    let gone = || ip(&format!("netns delete {space}"));
    ip(&format!("netns add {space}"))?;
    let outcome = (|| {
        ip(&format!("link add {link} type veth peer name eth0 netns {space}"))?;
        ip(&format!("address add {net}.1/30 dev {link}"))?;
        ip(&format!("link set {link} up"))?;
        ip(&format!("-n {space} address add {net}.2/30 dev eth0"))?;
        ip(&format!("-n {space} link set eth0 up"))?;
        // A machine that knows no way back to pods and nodes. It says from which address it was asked.
        let program = format!(
            "import socket\ns = socket.create_server(('{net}.2', 8099))\nwhile True:\n c, a = s.accept()\n c.recv(4096)\n \
             c.sendall(('HTTP/1.0 200 OK\\r\\n\\r\\n' + a[0]).encode())\n c.close()"
        );
        let mut server = Command::new(tool::machine("ip", "iproute2")?);
        server.args(["netns", "exec", &space, "python3", "-c", &program]);
        let mut server = server.spawn()?;
        let ask = || from(&local, pod, &[&CURL[..], &[&format!("http://{net}.2:8099/")]].concat());
        let answer = wait::until("the outside answers", LIMIT, ask);
        // It may have ended by itself.
        let _ = server.kill();
        server.wait()?;
        let answer = answer?;
        ensure!(answer == format!("{net}.1"), "asked by {answer}");
        Ok(())
    })();
    gone()?;
    outcome
}
