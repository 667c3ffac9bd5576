//! Images: pulled from a real registry as the policy says, and what is told when they cannot be, or do not start.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::registry::Registry;
use orlop_e2e::scene::{Scene, container, expect_words};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let mut registry = Registry::start()?;
    let (tools, missing) = (registry.push(TOOLS)?, registry.missing());
    let pod = |name: &str, image: &str, more: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  restartPolicy: Never\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n    - {{ name: main, image: {image:?}, {more} }}\n"
        )
    };
    let sleep = "command: [sleep, \"600\"]";

    // Never: it is not here, and is not fetched.
    scene.apply(&pod("never", &tools, &format!("imagePullPolicy: Never, {sleep}")))?;
    let waiting = |pod: &str, reason: &'static str| {
        scene.until(pod, reason, |it| container(it, "main")["state"]["waiting"]["reason"] == reason)
    };
    waiting("never", "ErrImageNeverPull")?;
    let never = format!("Container image \"{tools}\" is not present with pull policy of Never");
    scene.event("never", "ErrImageNeverPull", &never)?;

    scene.apply(
        &[
            pod("missing", &missing, sleep),
            pod("away", "127.0.0.1:1/absent:1", sleep),
            pod("misnamed", "Not/A:Name:at all", sleep),
            pod("no-command", TOOLS, "command: [/no/such/program]"),
            pod("no-command-again", TOOLS, "command: [/no/such/program]")
                .replace("restartPolicy: Never", "restartPolicy: Always"),
            pod("first", &tools, &format!("imagePullPolicy: IfNotPresent, {sleep}")),
        ]
        .concat(),
    )?;

    // Not here: pulled, and told.
    scene.ready("first")?;
    scene.event("first", "Pulling", &format!("Pulling image \"{tools}\""))?;
    let pulled = scene.event("first", "Pulled", &format!("Successfully pulled image \"{tools}\" in "))?;
    expect_words(&pulled, &[" including waiting). Image size: ", " bytes."])?;
    let pod_status = scene.pod("first")?;
    let id = container(&pod_status, "main")["imageID"].as_str().unwrap_or_default();
    ensure!(id.contains("@sha256:"), "what was pulled is known by its digest, not {id}");

    // Here: not pulled, or pulled all the same.
    scene.apply(
        &[
            pod("second", &tools, &format!("imagePullPolicy: IfNotPresent, {sleep}")),
            pod("third", &tools, &format!("imagePullPolicy: Always, {sleep}")),
        ]
        .concat(),
    )?;
    scene.ready("second")?;
    scene.event("second", "Pulled", &format!("Container image \"{tools}\" already present on machine"))?;
    ensure!(!scene.events("second")?.iter().any(|it| it.starts_with("Pulling")), "{:#?}", scene.events("second")?);
    scene.ready("third")?;
    scene.event("third", "Pulled", "Successfully pulled image")?;

    // Nowhere: told in the status, the events, `get` and `describe`, and tried again after a while.
    waiting("missing", "ImagePullBackOff")?;
    scene.event("missing", "Failed", &format!("Failed to pull image \"{missing}\""))?;
    scene.event("missing", "Failed", "Error: ErrImagePull")?;
    scene.event("missing", "BackOff", &format!("Back-off pulling image \"{missing}\""))?;
    scene.event("missing", "Failed", "Error: ImagePullBackOff")?;
    let listed = scene.run(&["get", "pod", "missing"])?;
    ensure!(listed.contains("ImagePullBackOff") || listed.contains("ErrImagePull"), "{listed}");
    expect_words(&scene.run(&["describe", "pod", "missing"])?, &["Failed to pull image", "Back-off pulling image"])?;
    waiting("away", "ImagePullBackOff")?;
    scene.event("away", "Failed", "connection refused")?;
    waiting("misnamed", "InvalidImageName")?;
    scene.event("misnamed", "InspectFailed", "couldn't parse image name")?;

    // There, and unable to start. The words are the runtime's: runc's under docker and cri, youki's under native.
    let runc = scene.cluster.runtime() != "native";
    let why = if runc { "no such file or directory" } else { "not found in $PATH" };
    let ended = scene.until("no-command", "fails", |it| it["status"]["phase"] == "Failed")?;
    let ended = &container(&ended, "main")["state"]["terminated"];
    ensure!(ended["reason"] == "StartError" && ended["exitCode"] == 128, "it ended with {ended}");
    expect_words(ended["message"].as_str().unwrap_or_default(), &["/no/such/program", why])?;
    scene.event("no-command", "Failed", why)?;
    let pod = scene.until("no-command-again", "is tried again", |it| {
        ["RunContainerError", "CrashLoopBackOff"]
            .iter()
            .any(|reason| container(it, "main")["state"]["waiting"]["reason"] == *reason)
    })?;
    ensure!(container(&pod, "main")["lastState"]["terminated"]["reason"] == "StartError", "{}", pod["status"]);

    // A pod that could not begin can still go.
    for name in ["missing", "away", "misnamed", "never", "no-command-again"] {
        scene.run(&["delete", "pod", name, "--wait=false"])?;
    }
    for name in ["missing", "away", "misnamed", "never", "no-command-again"] {
        scene.api.gone(&scene.path(&format!("pods/{name}")), orlop_e2e::scene::POD_LIMIT)?;
    }
    // What runs holds the registry's image, whose name the registry takes away in the end.
    scene.run(&["delete", "pod", "first", "second", "third", "--grace-period=0", "--force"]).map(drop)
}
