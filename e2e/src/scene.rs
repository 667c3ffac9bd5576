//! A namespace of its own in a running cluster, in which one scenario plays; and several scenarios beside each other.

use std::any::Any;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::api::Api;
use crate::cluster::{Cluster, condition};
use crate::kubectl::Kubectl;
use crate::{inside, wait};

/// How long a pod may take to come to where a scenario wants it, with other scenarios on both cores.
pub const POD_LIMIT: Duration = Duration::from_secs(60);

/// A scenario: what it is called, and what it does.
pub type Scenario = (&'static str, fn(&Scene<'_>) -> Result<()>);

/// A scenario's place: its namespace, and the means to look at it.
pub struct Scene<'a> {
    pub cluster: &'a Cluster,
    pub api: &'a Api,
    pub kubectl: Kubectl,
    pub namespace: String,
}

impl<'a> Scene<'a> {
    /// Makes the namespace, and waits until pods may be made in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(cluster: &'a Cluster, api: &'a Api, namespace: &str) -> Result<Scene<'a>> {
        let kubectl = cluster.kubectl()?;
        kubectl.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace} }}\n"))?;
        api.until(
            &format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            "has the default account",
            POD_LIMIT,
            |it| !it["items"].as_array().is_none_or(Vec::is_empty),
        )?;
        Ok(Scene { cluster, api, kubectl, namespace: namespace.to_owned() })
    }

    /// Runs kubectl in the namespace.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl.run(&self.here(arguments))
    }

    /// `kubectl apply` in the namespace.
    ///
    /// # Errors
    /// When it fails.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl.run_with(&self.here(&["apply", "-f", "-"]), manifest)
    }

    fn here<'b>(&'b self, arguments: &[&'b str]) -> Vec<&'b str> {
        [&["-n", &self.namespace], arguments].concat()
    }

    /// The path of something in the namespace: `pods/web`.
    pub fn path(&self, what: &str) -> String {
        let group = match what.split(['/', '?']).next() {
            Some("deployments" | "replicasets") => "/apis/apps/v1",
            Some("endpointslices") => "/apis/discovery.k8s.io/v1",
            _ => "/api/v1",
        };
        format!("{group}/namespaces/{}/{what}", self.namespace)
    }

    /// A pod as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pod(&self, name: &str) -> Result<Value> {
        self.api.get(&self.path(&format!("pods/{name}")))
    }

    /// Waits until a pod satisfies `check`. When it does not, its Events are in the error beside its status.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn until(&self, pod: &str, what: &str, check: impl Fn(&Value) -> bool) -> Result<Value> {
        let path = self.path(&format!("pods/{pod}"));
        self.api
            .until(&path, what, POD_LIMIT, check)
            .with_context(|| format!("events of {pod}: {:#?}", self.events(pod).unwrap_or_default()))
    }

    /// Waits until a pod is ready.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn ready(&self, pod: &str) -> Result<Value> {
        self.until(pod, "is ready", |it| crate::cluster::condition(it, "Ready") == Some("True"))
    }

    /// Waits until a pod has ended well.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn succeeded(&self, pod: &str) -> Result<Value> {
        self.until(pod, "succeeds", |it| it["status"]["phase"] == "Succeeded")
    }

    /// A pod's Events, as `reason: message`, in the order in which they first happened.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn events(&self, name: &str) -> Result<Vec<String>> {
        let selector = format!("events?fieldSelector=involvedObject.name={name}");
        let items = self.api.items(&self.path(&selector))?;
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        let mut events: Vec<_> = items
            .iter()
            .map(|it| (text(&it["firstTimestamp"]), format!("{}: {}", text(&it["reason"]), text(&it["message"]))))
            .collect();
        events.sort();
        Ok(events.into_iter().map(|it| it.1).collect())
    }

    /// Waits for an Event of this reason whose message has these words.
    ///
    /// # Errors
    /// When there is none in time; those that there are are in the error.
    pub fn event(&self, name: &str, reason: &str, words: &str) -> Result<String> {
        wait::until(&format!("{name} gets the event {reason} with {words:?}"), POD_LIMIT, || {
            let events = self.events(name)?;
            let found = events.iter().find(|it| it.starts_with(&format!("{reason}: ")) && it.contains(words));
            found.cloned().with_context(|| format!("there are {events:#?}"))
        })
    }

    /// `kubectl logs` of a pod.
    ///
    /// # Errors
    /// When it fails.
    pub fn logs(&self, pod: &str, options: &[&str]) -> Result<String> {
        self.run(&[&["logs", pod], options].concat())
    }

    /// Runs a command inside a running container.
    ///
    /// # Errors
    /// When the container does not run or the command fails.
    pub fn inside(&self, pod: &str, container: &str, command: &[&str]) -> Result<String> {
        let pod = self.pod(pod)?;
        inside::run(whole_id(&pod, container)?, &self.agent_dir(&pod), command)
    }

    /// The process of a running container.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self, pod: &str, container: &str) -> Result<u32> {
        let pod = self.pod(pod)?;
        inside::pid(whole_id(&pod, container)?, &self.agent_dir(&pod))
    }

    /// The data directory of the agent that has a pod.
    pub fn agent_dir(&self, pod: &Value) -> std::path::PathBuf {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        self.cluster.agent_dir(node.rsplit('-').next().unwrap_or_default())
    }
}

/// The status of a container of a pod, init containers and those that were added included.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let mut all = lists.iter().filter_map(|it| pod["status"][it].as_array()).flatten();
    all.find(|it| it["name"] == name).unwrap_or(&Value::Null)
}

/// The id of a container, as its status has it: `docker://…`, `containerd://…`, `native://…`.
///
/// # Errors
/// When it has none.
pub fn whole_id<'a>(pod: &'a Value, name: &str) -> Result<&'a str> {
    let id = container(pod, name)["containerID"].as_str().filter(|it| !it.is_empty());
    id.with_context(|| format!("{name} has no container: {}", pod["status"]))
}

/// Docker's id of a container.
///
/// # Errors
/// When it has none.
pub fn container_id(pod: &Value, name: &str) -> Result<String> {
    let id = whole_id(pod, name)?.strip_prefix("docker://");
    id.map(str::to_owned).with_context(|| format!("{name} is no container of Docker's: {}", pod["status"]))
}

/// A pod's address.
///
/// # Errors
/// When it has none.
pub fn address(pod: &Value) -> Result<&str> {
    pod["status"]["podIP"].as_str().with_context(|| format!("{} has no address", pod["metadata"]["name"]))
}

/// Plays scenarios, `beside` of them at a time, each in a namespace named after it; all are played, whatever becomes of the others.
///
/// # Errors
/// When some fail: each with its reason.
pub fn play(cluster: &Cluster, scenarios: &[Scenario], beside: usize) -> Result<()> {
    let api = Api::new(&cluster.kubeconfig())?;
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::<String>::new()));
    // One scenario alone, or some with commas between them, for whoever works on them.
    let only = std::env::var("ORLOP_SCENARIO").unwrap_or_default();
    std::thread::scope(|scope| {
        for _ in 0..beside {
            scope.spawn(|| {
                while let Some((name, scenario)) = scenarios.get(next.fetch_add(1, Relaxed)) {
                    if !only.is_empty() && !only.split(',').any(|it| it == *name) {
                        continue;
                    }
                    let began = Instant::now();
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let scene = Scene::new(cluster, &api, name)?;
                        scenario(&scene)
                    }));
                    let took = began.elapsed().as_secs_f32();
                    let failure = match outcome {
                        Ok(Ok(())) => {
                            println!("{name}: ok in {took:.1} s");
                            continue;
                        }
                        Ok(Err(error)) => format!("{error:#}"),
                        Err(panic) => said(&*panic),
                    };
                    println!("{name}: FAILED in {took:.1} s: {failure}");
                    let mut failures = failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    failures.push(format!("=== {name} ===\n{failure}"));
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ensure!(
        failures.is_empty(),
        "{} of {} scenarios failed:\n{}",
        failures.len(),
        scenarios.len(),
        failures.join("\n")
    );
    Ok(())
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned())).unwrap_or_else(|| "it panicked".into())
}

/// Fails with both texts when one does not hold the other.
///
/// # Errors
/// When `text` does not contain `words`.
pub fn expect_words(text: &str, words: &[&str]) -> Result<()> {
    for it in words {
        if !text.contains(it) {
            bail!("{it:?} is not in:\n{text}");
        }
    }
    Ok(())
}

/// Whether a pod is ready, and is to stay.
pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == Some("True") && pod["metadata"]["deletionTimestamp"].is_null()
}

/// An object's name.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// Which pod it is, and which container it runs.
pub fn run(pod: &Value) -> (&Value, &Value) {
    (&pod["metadata"]["uid"], &pod["status"]["containerStatuses"][0]["containerID"])
}

/// Pods in words: where each is, and whether it is ready.
pub fn places(pods: &[Value]) -> String {
    let words = |it: &Value| format!("{} on {} ready {:?}", name(it), it["spec"]["nodeName"], condition(it, "Ready"));
    pods.iter().map(words).collect::<Vec<_>>().join(", ")
}
