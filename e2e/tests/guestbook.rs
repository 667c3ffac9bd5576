//! The example of the first page, as a user runs it, on clusters of different form on one machine.
//!
//! One is `orlop up` as `make up` starts it, without an engine: its images come from archives, the manifests from kubectl. Beside it run separate
//! binaries on real etcd and the Docker Engine, which are given the manifests by `orlop apply` and pull their images from a real registry. Then
//! comes `orlop up` on the Engine. Afterwards nothing of any is left, and what is not Orlop's is.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::etcd::Etcd;
use orlop_e2e::image::{self, REDIS, TOOLS, WEB};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::load::{get, request};
use orlop_e2e::registry::{Registry, docker};
use orlop_e2e::scene::{POD_LIMIT, address};
use orlop_e2e::{tool, traces, wait};
use serde_json::Value;

const NAMESPACE: &str = "guestbook";
const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn the_example_runs_on_clusters_of_one_machine() -> Result<()> {
    image::ready()?;
    // Looks like a kubelet's container by its name, but has no label of ours.
    let stranger = Stranger::new()?;
    std::thread::scope(|scope| {
        let up = scope.spawn(|| on_orlop_up("auto"));
        let apart = scope.spawn(on_separate_binaries);
        let join = |it: std::thread::ScopedJoinHandle<'_, Result<()>>, what: &'static str| {
            it.join().map_err(|_| anyhow::anyhow!("{what}: it panicked"))?.context(what)
        };
        let (up, apart) = (join(up, "orlop up"), join(apart, "separate binaries"));
        up?;
        apart
    })?;
    // Not beside the first: the manifests, which are applied as they are, name ports of the host.
    on_orlop_up("docker").context("orlop up on the Engine")?;
    ensure!(stranger.runs()?, "a container that is not Orlop's was touched");
    Ok(())
}

fn on_orlop_up(runtime: &'static str) -> Result<()> {
    let [images, more] = image::archives()?;
    let options = Options { form: Form::Up, runtime, images: vec![images], ..Options::default() };
    Cluster::with(options, |cluster| {
        println!("orlop up --runtime {runtime}: ready in {:?}", cluster.ready_in);
        let kubectl = cluster.kubectl()?;
        // The folder, as the first page says it.
        kubectl.run(&["apply", "-f", &examples().display().to_string()])?;
        let api = Api::new(&cluster.kubeconfig())?;
        signed_by_all(&kubectl, &api)?;
        by_node_port(&api)?;
        let by = if runtime == "docker" { "docker://" } else { "native://" };
        for pod in pods(&api)? {
            let id = &pod["status"]["containerStatuses"][0]["containerID"];
            ensure!(id.as_str().is_some_and(|it| it.starts_with(by)), "{} runs as {id}", pod["metadata"]["name"]);
        }
        loaded_by_command(cluster, &kubectl, &more.join("tools.tar"))?;

        // The whole process dies; the next one finds the pods as they are, and everything that was stored.
        let before = pods(&api)?;
        cluster.kill_and_restart("up")?;
        cluster.wait_ready()?;
        cluster.wait_nodes()?;
        kubectl.run(&["-n", NAMESPACE, "scale", "deployment/web", "--replicas=3"])?;
        kubectl.rolled_out(NAMESPACE, "web")?;
        let after = pods(&api)?;
        for pod in &before {
            let same = |it: &&Value| it["metadata"]["uid"] == pod["metadata"]["uid"];
            let now = after.iter().find(same).with_context(|| format!("{} is gone", pod["metadata"]["name"]))?;
            let run = |it: &Value| {
                let it = &it["status"]["containerStatuses"][0];
                (it["containerID"].clone(), it["restartCount"].clone())
            };
            ensure!(run(pod) == run(now), "{} was restarted", pod["metadata"]["name"]);
        }
        signed_by_all(&kubectl, &api)?;

        // What the user has for the end.
        let nodes = cluster.node_names();
        let orlop = tool::ours("orlop")?;
        let data = cluster.kubeconfig().parent().context("a kubeconfig has a folder")?.to_owned();
        tool::run(Command::new(&orlop).args(["down", "--data-dir"]).arg(&data))?;
        ensure!(!cluster.part("up")?.runs(), "orlop up still runs after orlop down");
        let left: Vec<_> = traces::of(&nodes, &data)?.into_iter().filter(|it| !it.starts_with("file: ")).collect();
        ensure!(left.is_empty(), "orlop down left behind: {left:#?}");
        Ok(())
    })
}

fn on_separate_binaries() -> Result<()> {
    let etcd = Etcd::start()?;
    let mut registry = Registry::start()?;
    let (web, redis) = (registry.push(WEB)?, registry.push(REDIS)?);
    let options = Options { runtime: "docker", store: etcd.store(), ..Options::default() };
    Cluster::with(options, |cluster| {
        println!("separate binaries on etcd: ready in {:?}", cluster.ready_in);
        let orlop = cluster.orlop()?;
        // The same, but for names of images and the port of the nodes, which the other cluster has.
        let manifest = std::fs::read_to_string(examples().join("guestbook.yaml"))?;
        let manifest = manifest.replace(WEB, &web).replace(REDIS, &redis).replace("      nodePort: 30080\n", "");
        ensure!(
            manifest.contains(&web) && !manifest.contains("nodePort"),
            "the example has another form now:\n{manifest}"
        );
        let said = orlop.apply(&manifest)?;
        ensure!(said.contains("deployment.apps/web created"), "orlop apply said {said}");
        let said = orlop.apply(&manifest)?;
        ensure!(said.contains("deployment.apps/web unchanged"), "orlop apply said {said}");
        let api = Api::new(&cluster.kubeconfig())?;
        signed_by_all(&orlop, &api)?;
        for pod in pods(&api)? {
            let id = pod["status"]["containerStatuses"][0]["imageID"].as_str().unwrap_or_default().to_owned();
            ensure!(id.contains("@sha256:"), "{} runs {id}, which was not pulled", pod["metadata"]["name"]);
        }
        let listed = orlop.run(&["-n", NAMESPACE, "get", "pods", "-o", "wide"])?;
        ensure!(listed.contains("Running") && listed.contains(&cluster.node_name("1")), "{listed}");
        // The registry's names stay in use as long as pods have them.
        orlop.run(&["delete", "namespace", NAMESPACE])?;
        api.gone(&format!("/api/v1/namespaces/{NAMESPACE}"), Duration::from_secs(60))
    })
}

/// Each web pod takes a line over its own address, and each shows the lines of all.
fn signed_by_all(kubectl: &Kubectl, api: &Api) -> Result<()> {
    kubectl.rolled_out(NAMESPACE, "redis")?;
    kubectl.rolled_out(NAMESPACE, "web")?;
    let pods: Vec<_> = pods(api)?.into_iter().filter(|it| it["metadata"]["labels"]["app"] == "web").collect();
    ensure!(pods.len() >= 2, "there are only {} web pods", pods.len());
    let mut lines = Vec::new();
    for pod in &pods {
        let (at, name) = (format!("{}:8080", address(pod)?), pod["metadata"]["name"].as_str().unwrap_or_default());
        let line = format!("{name} was here {:?}", std::time::SystemTime::now());
        let answer = request(&at, "POST", "/", &line, LIMIT)?;
        ensure!(answer.code == 201, "{name} answers {} {}", answer.code, answer.body);
        lines.push(line);
    }
    for pod in &pods {
        let (at, name) = (format!("{}:8080", address(pod)?), pod["metadata"]["name"].as_str().unwrap_or_default());
        let answer = get(&at, "/", LIMIT)?;
        let greeting = format!("Guests of this cluster (served by {name})");
        ensure!(answer.body.starts_with(&greeting), "{name} greets with {}", answer.body);
        for line in &lines {
            ensure!(answer.body.contains(line.as_str()), "{line:?} is not among what {name} shows:\n{}", answer.body);
        }
    }
    Ok(())
}

/// The web tier answers on its port of the node, from the host and from everywhere that reaches the node.
fn by_node_port(api: &Api) -> Result<()> {
    let nodes = api.items("/api/v1/nodes")?;
    let addresses = nodes.iter().filter_map(|it| it["status"]["addresses"].as_array()).flatten();
    let internal = addresses.filter(|it| it["type"] == "InternalIP").find_map(|it| it["address"].as_str());
    for address in [internal.context("the node has no address")?, "127.0.0.1"] {
        let at = format!("{address}:30080");
        wait::until("the web tier answers on the node's port", LIMIT, || {
            let answer = get(&at, "/", LIMIT)?;
            ensure!(answer.body.starts_with("Guests of this cluster"), "{at} answers {}", answer.body);
            Ok(())
        })?;
    }
    Ok(())
}

/// An archive that `orlop image load` hands to the node: pods run what was in it.
fn loaded_by_command(cluster: &Cluster, kubectl: &Kubectl, archive: &Path) -> Result<()> {
    let packed = cluster.folder().join("tools.tar.gz");
    tool::run(Command::new("sh").args(["-c", "gzip -c \"$0\" > \"$1\""]).arg(archive).arg(&packed))?;
    let orlop = tool::ours("orlop")?;
    let image = |arguments: &[&str]| {
        let mut command = Command::new(&orlop);
        tool::run(command.arg("image").args(arguments).arg("--data-dir").arg(cluster.data_dir()))
    };
    let said = image(&["load", &packed.display().to_string()])?;
    let expected = format!("image \"{TOOLS}\" loaded into node \"{}\"\n", cluster.node_name("1"));
    // The Engine knows an image by all names it has, and other tests give it theirs.
    ensure!(said.contains(&expected), "orlop image load said {said}");
    let listed = image(&["ls"])?;
    for name in [WEB, REDIS, TOOLS] {
        ensure!(listed.contains(name), "{name} is not in\n{listed}");
    }
    let refused = image(&["load", &cluster.kubeconfig().display().to_string()]);
    let refused = refused.err().context("a kubeconfig was loaded as an image")?.to_string();
    ensure!(refused.contains("not loaded"), "{refused}");
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: tool }}\nspec:\n  restartPolicy: Never\n  containers:\n    \
         - {{ name: main, image: {TOOLS}, imagePullPolicy: Never, command: [\"true\"] }}\n"
    ))?;
    kubectl.until(&["pod", "tool"], POD_LIMIT, |it| it["status"]["phase"] == "Succeeded")?;
    Ok(())
}

fn pods(api: &Api) -> Result<Vec<Value>> {
    api.items(&format!("/api/v1/namespaces/{NAMESPACE}/pods"))
}

fn examples() -> std::path::PathBuf {
    tool::repository().join("manifests/examples")
}

/// A container that someone else started.
struct Stranger {
    id: String,
}

impl Stranger {
    fn new() -> Result<Stranger> {
        let name = format!("k8s_nginx_stranger_default_{}_0", std::process::id());
        let id = docker(&["run", "--detach", "--name", &name, "--network", "none", TOOLS, "sleep", "1000"])?;
        Ok(Stranger { id: id.trim().to_owned() })
    }

    fn runs(&self) -> Result<bool> {
        wait::until("docker answers", LIMIT, || docker(&["inspect", "--format", "{{.State.Running}}", &self.id]))
            .map(|it| it.trim() == "true")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", &self.id]) {
            eprintln!("{error:#}");
        }
    }
}
