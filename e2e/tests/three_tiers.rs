//! manifests/examples/three-tiers as docs/three-tiers.md tells to run it: PostgreSQL on a disk that two of three nodes have, a web application, a proxy.
//!
//! Under load the node of the database loses its power, comes back, and then the node that has the database loses its cable. Each time the
//! database runs on the other node, never on two at once; whatever a client was told to be stored is there, and no client waits longer than the
//! failover takes.

#[path = "three_tiers/clients.rs"]
mod clients;
#[path = "three_tiers/disk.rs"]
mod disk;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Form, Options, condition};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::nodes::Nodes;
use orlop_e2e::{image, load, tool, wait};
use serde_json::Value;

use clients::Clients;
use disk::Disk;

const NAMESPACE: &str = "three-tiers";
/// The proxy's port of the nodes.
const NODE_PORT: u16 = 30081;
/// How long everything may take to run or to be mended, with both cores busy.
const LIMIT: Duration = Duration::from_secs(120);
/// What Orlop promises for the loss of a node, on a machine that is not busy; it is printed beside what was measured.
const PROMISED: Duration = Duration::from_secs(20);
/// What a machine may take on which other tests run.
const FAILOVER_MOST: Duration = Duration::from_secs(60);
/// Clients notice a while after the database is ready: their last try has to fail first, and the next goes through every tier.
const NOTICED: Duration = Duration::from_secs(15);
/// Load before and after each fault.
const CALM: Duration = Duration::from_secs(3);

#[test]
fn a_database_survives_its_node() -> Result<()> {
    let port = tool::free_port()?;
    let options = Options {
        form: Form::Nodes,
        runtime: "native",
        nodes: 3,
        images: image::three_tiers()?.to_vec(),
        cluster_flags: vec![format!("--port={port}:{NODE_PORT}"), "--fence-after=6".into()],
        ..Options::default()
    };
    // Beside the cluster, which could not remove it with the database's files in it.
    let folder = tempfile::Builder::new().prefix("orlop-three-tiers-").tempdir()?;
    Cluster::with(options, |cluster| {
        let at = format!("127.0.0.1:{port}");
        let test = Test::new(cluster, folder.path(), &at)?;
        test.begin()?;
        let disk = Disk::watch(&folder.path().join("pgdata"))?;
        let clients = Clients::start(&at);
        let outcome = test.play(&clients);
        // What the disk saw may be the cause of what failed.
        let seen = disk.end()?;
        println!("{seen}");
        outcome?;
        let stored = clients.stop()?;
        let listed = load::get(&at, "/items", LIMIT)?;
        ensure!(listed.code == 200, "{listed:?}");
        let lost: Vec<&String> = stored.iter().filter(|it| !listed.body.lines().any(|line| line == **it)).collect();
        ensure!(lost.is_empty(), "{} of {} stored items are lost: {lost:?}", lost.len(), stored.len());
        println!("{} items stored, none lost", stored.len());
        ensure!(seen.takeovers == 2, "the database moved {} times", seen.takeovers);
        Ok(())
    })
}

struct Test<'a> {
    cluster: &'a Cluster,
    local: Nodes,
    api: Api,
    kubectl: Kubectl,
    folder: &'a Path,
    at: &'a str,
}

impl<'a> Test<'a> {
    fn new(cluster: &'a Cluster, folder: &'a Path, at: &'a str) -> Result<Test<'a>> {
        let (local, api) = (cluster.local(), Api::new(&cluster.kubeconfig())?);
        Ok(Test { cluster, local, api, kubectl: cluster.kubectl()?, folder, at })
    }

    /// Does what the page says, and waits until the last tier answers out of the first.
    fn begin(&self) -> Result<()> {
        let names = self.local.names()?;
        self.kubectl.run(&["label", "node", &names[1], &names[2], "disk=shared"])?;
        let manifest = tool::repository().join("manifests/examples/three-tiers/three-tiers.yaml");
        let text = std::fs::read_to_string(manifest)?;
        let own = text.replace("/var/lib/orlop-three-tiers", &self.folder.display().to_string());
        ensure!(own != text, "the manifest has the disk elsewhere now");
        self.kubectl.apply(&own)?;
        for it in ["database", "items", "proxy"] {
            self.kubectl.rolled_out(NAMESPACE, it).with_context(|| self.seen())?;
        }
        wait::until("all tiers answer", LIMIT, || {
            let answer = load::get(self.at, "/items", Duration::from_secs(10))?;
            ensure!(answer.code == 200 && answer.body.is_empty(), "{answer:?}");
            Ok(())
        })
    }

    fn play(&self, clients: &Clients) -> Result<()> {
        std::thread::sleep(CALM);
        let lost = self.failover("a loss of power", clients, |node| self.local.power_off(node))?;
        let before = self.database()?;
        self.local.power_on(&lost)?;
        self.mended()?;
        let after = self.database()?;
        let run = |it: &Value| (it["metadata"]["uid"].clone(), it["status"]["containerStatuses"].clone());
        ensure!(run(&before) == run(&after), "the node's return moved the database: {before}\n{after}");

        let lost = self.failover("a cut cable", clients, |node| self.local.cable(node, false))?;
        // What ran there was killed by the node itself, as nobody else could reach it.
        let log = std::fs::read_to_string(self.local.folder().join(format!("logs/agent-{lost}.log")))?;
        ensure!(log.contains("its pods are killed (--fence-after)"), "{log}");
        let before = self.database()?;
        self.local.cable(&lost, true)?;
        self.mended()?;
        let after = self.database()?;
        ensure!(run(&before) == run(&after), "the node's return moved the database: {before}\n{after}");
        std::thread::sleep(CALM);
        Ok(())
    }

    /// Harms the node of the database, and waits until the database is ready on the other. Gives the node that was harmed.
    fn failover(&self, what: &str, clients: &Clients, harm: impl Fn(&str) -> Result<()>) -> Result<String> {
        let pod = self.database()?;
        let node = pod["spec"]["nodeName"].as_str().context("it runs somewhere")?.to_owned();
        ensure!(self.local.names()?[1..].contains(&node), "the database is on {node}, which has no disk");
        let stored = clients.stored();
        let began = Instant::now();
        harm(&node)?;
        let moved = wait::until("the database is ready elsewhere", LIMIT, || {
            let now = self.database()?;
            ensure!(condition(&now, "Ready") == Some("True"), "{}", now["status"]);
            ensure!(now["spec"]["nodeName"] != *node, "it is on {node} still");
            Ok(now)
        });
        let moved = moved.with_context(|| self.seen())?;
        let failover = began.elapsed();
        ensure!(self.local.names()?[1..].iter().any(|it| moved["spec"]["nodeName"] == **it), "{}", moved["spec"]);
        wait::until("clients store again", LIMIT, || {
            ensure!(clients.last().is_some_and(|it| it > began + failover), "nothing since");
            Ok(())
        })
        .with_context(|| format!("{}\n{}", clients.losses(), self.seen()))?;
        std::thread::sleep(CALM);
        let gap = clients.longest_gap_since(began - CALM);
        println!(
            "{what}: the database was ready on the other node after {:.1} s ({:.0} s are promised); clients stored nothing for {:.1} s; \
             {} items before, {} after",
            failover.as_secs_f32(),
            PROMISED.as_secs_f32(),
            gap.as_secs_f32(),
            stored,
            clients.stored() - stored,
        );
        ensure!(failover < FAILOVER_MOST, "{what}: it took {failover:?}");
        ensure!(gap < failover + NOTICED, "{what}: clients waited {gap:?} for a failover of {failover:?}");
        Ok(node)
    }

    /// Waits until all nodes are ready, and every tier has the pods that it should have, no more.
    fn mended(&self) -> Result<()> {
        wait::until("nodes and tiers are as they were", LIMIT, || {
            for node in self.api.items("/api/v1/nodes")? {
                ensure!(condition(&node, "Ready") == Some("True"), "{}", node["status"]["conditions"]);
                ensure!(node["spec"]["taints"].as_array().is_none_or(Vec::is_empty), "{}", node["spec"]["taints"]);
            }
            for (app, count) in [("database", 1), ("items", 2), ("proxy", 2)] {
                let pods = self.pods(app)?;
                let ready = pods.iter().filter(|it| condition(it, "Ready") == Some("True")).count();
                ensure!(pods.len() == count && ready == count, "{ready} of {} pods of {app} are ready", pods.len());
            }
            let strays = self.local.strays(&self.api.items("/api/v1/pods")?)?;
            ensure!(strays.is_empty(), "nobody's, and there: {strays:?}");
            Ok(())
        })
        .with_context(|| self.seen())
    }

    /// The pod of the database.
    fn database(&self) -> Result<Value> {
        let mut pods = self.pods("database")?;
        ensure!(pods.len() == 1, "there are {} pods of the database", pods.len());
        pods.pop().context("there is one")
    }

    fn pods(&self, app: &str) -> Result<Vec<Value>> {
        self.api.items(&format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3D{app}"))
    }

    /// What a user would look at, for errors.
    fn seen(&self) -> String {
        let ask = |words: &[&str]| {
            self.kubectl.run(&[&["-n", NAMESPACE], words].concat()).unwrap_or_else(|error| format!("{error:#}"))
        };
        let logs = ask(&["logs", "deployment/database", "--tail=20"]);
        let (nodes, pods) = (ask(&["get", "nodes"]), ask(&["get", "pods", "-o", "wide"]));
        format!("{nodes}\n{pods}\n{}\n{logs}\n{}", ask(&["get", "events"]), self.cluster.logs())
    }
}
