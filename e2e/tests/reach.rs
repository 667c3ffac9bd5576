//! Where others reach the API server: the endpoints of the Service `kubernetes`, for a server that listens on an address of a network.
//!
//! The network is a namespace of the test's own with an address on a link that leads nowhere: nothing of it can be reached from outside.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use orlop_e2e::child::Child;
use orlop_e2e::{tool, wait};
use serde_json::Value;

const ADDRESS: &str = "10.213.7.2";
const PORT: u16 = 6443;
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A network namespace, gone with its value.
struct Network(String);

impl Network {
    fn new() -> Result<Network> {
        let network = Network(format!("orlop-e2e-{}", std::process::id()));
        ip(&["netns", "add", &network.0])?;
        let inside = |words: &str| {
            ip(&[&["netns", "exec", &network.0, "ip"], &words.split(' ').collect::<Vec<_>>()[..]].concat())
        };
        inside("link set lo up")?;
        inside("link add net0 type veth peer name net1")?;
        inside(&format!("address add {ADDRESS}/24 dev net0"))?;
        inside("link set net0 up")?;
        inside("link set net1 up")?;
        inside("route add default via 10.213.7.1")?;
        Ok(network)
    }

    fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(tool::machine("ip", "iproute2")?);
        command.args(["netns", "exec", &self.0]).arg(program);
        Ok(command)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.0]) {
            eprintln!("{error:#}");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    tool::run(Command::new(tool::machine("ip", "iproute2")?).args(arguments))
}

/// What kubectl, inside the network, says of something in the namespace `default`.
fn ask(network: &Network, data: &Path, what: &[&str]) -> Result<Value> {
    let mut kubectl = network.command(&tool::machine("kubectl", "kubernetes-client")?)?;
    kubectl.env("KUBECONFIG", data.join("kubeconfig")).env("KUBECACHEDIR", data.join("cache"));
    kubectl.args(["get", "-o", "json", "-n", "default"]).args(what);
    Ok(serde_json::from_str(&tool::run(&mut kubectl)?)?)
}

#[test]
fn the_kubernetes_service_leads_to_the_server() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-reach-").tempdir()?;
    let network = Network::new()?;
    // An address of its own; all addresses; and another that it is told of, as behind a load balancer.
    let cases: [(&str, &[&str], &str); 3] = [
        (ADDRESS, &[], ADDRESS),
        ("0.0.0.0", &[], ADDRESS),
        ("0.0.0.0", &["--advertise-address", "10.213.7.99"], "10.213.7.99"),
    ];
    // One data directory: each server mends what the one before has said.
    let data = folder.path().join("data");
    for (listen, more, expected) in cases {
        let mut command = network.command(&tool::ours("orlop-apiserver")?)?;
        command.args(["--listen", &format!("{listen}:{PORT}"), "--store", "embedded"]).args(more);
        command.arg("--data-dir").arg(&data);
        let mut server = Child::start("apiserver", folder.path(), &mut command)?;
        let slices = wait::until("the server answers", READY_LIMIT, || {
            ensure!(server.runs(), "{}", server.tail());
            ask(&network, &data, &["endpointslices", "-l", "kubernetes.io/service-name=kubernetes"])
        })?;
        let slice = &slices["items"][0];
        ensure!(slices["items"].as_array().is_some_and(|it| it.len() == 1), "one slice: {slices}");
        ensure!(slice["addressType"] == "IPv4" && slice["endpoints"][0]["addresses"][0] == expected, "{slice}");
        ensure!(slice["endpoints"][0]["conditions"]["ready"] == true, "{slice}");
        ensure!(slice["ports"][0]["port"] == PORT && slice["ports"][0]["name"] == "https", "{slice}");
        let endpoints = ask(&network, &data, &["endpoints", "kubernetes"])?;
        let subset = &endpoints["subsets"][0];
        ensure!(subset["addresses"][0]["ip"] == expected && subset["ports"][0]["port"] == PORT, "{endpoints}");
        let service = ask(&network, &data, &["service", "kubernetes"])?;
        ensure!(service["spec"]["ports"][0]["targetPort"] == PORT, "{service}");
        server.stop()?;
    }
    Ok(())
}
