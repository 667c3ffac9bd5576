//! A local cluster of three nodes: from nothing to a Service that answers by its name, asked from a pod on each of them.
//!
//! What is counted is what a user waits for: `orlop cluster create` with an archive of a small image, `kubectl apply` of a pod a node and a
//! Service, and questions until the last pod has been answered.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::budget;
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use crate::api::Api;
use crate::image::{self, TOOLS};
use crate::kubectl::Kubectl;
use crate::nodes::Nodes;
use crate::{inside, wait};

const NODES: usize = 3;
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Makes clusters, one after the other.
///
/// # Errors
/// When one does not answer.
pub fn run(scale: &Scale) -> Result<Table> {
    let images = image::archives()?[1..].to_vec();
    let title = format!("A local cluster of {NODES} nodes, from nothing");
    let mut table = Table::new(title, &["what", "median ms", "best ms", "worst ms", "budget"]);
    let (mut ready, mut answered) = (Samples::default(), Samples::default());
    for turn in 0..scale.starts {
        let folder = tempfile::Builder::new().prefix("orlop-bench-cluster-").tempdir()?;
        let cluster = Nodes::new(folder.path(), &format!("bench{turn}"));
        let started = Instant::now();
        let outcome = cluster.create(NODES, &images, &[]).and_then(|_| {
            ready.push(started.elapsed());
            serve(&cluster)
        });
        answered.push(started.elapsed());
        if cluster.record().is_ok() {
            cluster.run(&["delete", cluster.name()])?;
        }
        outcome?;
    }
    for (what, mut samples, limit) in [
        ("`orlop cluster create`: nodes ready, the DNS answers on each", ready, None),
        ("a Service answers by its name in a pod on each node", answered, Some(budget::CLUSTER)),
    ] {
        let times = [samples.median(), samples.percentile(0.0), samples.percentile(100.0)].map(report::milliseconds);
        let judged = limit.map(|it| budget::at_most(samples.median(), it, "3 s")).unwrap_or_default();
        table.row([what.to_owned()].into_iter().chain(times).chain([judged]));
    }
    table.remark(format!(
        "Median of {}. Control plane, {NODES} agents with networks of their own, and the client on one machine; k3d needs 19.9 s, kind 33 s.",
        scale.starts
    ));
    Ok(table)
}

fn serve(cluster: &Nodes) -> Result<()> {
    let kubectl = Kubectl::new(&cluster.kubeconfig())?;
    let mut manifest = "apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { selector: { app: web }, \
        ports: [{ port: 80, targetPort: 8080 }] }\n"
        .to_owned();
    let names = cluster.names()?;
    for node in &names {
        manifest.push_str(&format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {node}, labels: {{ app: web }} }}\nspec:\n  nodeName: {node}\n  containers: \
             [{{ name: main, image: {TOOLS}, command: [sh, -c, \
             'mkdir /www; echo served > /www/index.html; exec httpd -f -p 8080 -h /www'] }}]\n"
        ));
    }
    kubectl.apply(&manifest)?;
    let api = Api::new(&cluster.kubeconfig())?;
    for node in &names {
        wait::until(&format!("a pod on {node} is answered"), LIMIT, || {
            let pod = api.get(&format!("/api/v1/namespaces/default/pods/{node}"))?;
            let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().context("it does not run yet")?;
            let ask = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 web 80";
            let answer = inside::run(id, &cluster.folder().join("nodes").join(node), &["sh", "-c", ask])?;
            ensure!(answer.contains("served"), "{answer:?}");
            Ok(())
        })?;
    }
    Ok(())
}
