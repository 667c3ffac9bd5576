//! Images of a registry that asks who one is: pulled with the credentials that the pod or its ServiceAccount names, and with no others.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::registry::{PASSWORD, Registry, USER};
use orlop_e2e::scene::{Scene, container, expect_words};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let mut registry = Registry::start_with_login()?;
    let image = registry.push(TOOLS)?;
    let secret = |name: &str, password: &str| {
        let server = format!("--docker-server={}", registry.address());
        let (user, password) = (format!("--docker-username={USER}"), format!("--docker-password={password}"));
        scene.run(&["create", "secret", "docker-registry", name, &server, &user, &password])
    };
    secret("good", PASSWORD)?;
    secret("wrong", "open barley")?;
    let pod = |name: &str, more: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  terminationGracePeriodSeconds: 1\n{more}  \
             containers:\n    - {{ name: main, image: {image:?}, imagePullPolicy: Always, command: [sleep, \"600\"] }}\n"
        )
    };
    let with = |secret: &str| format!("  imagePullSecrets: [{{ name: {secret} }}]\n");
    scene.apply(&[pod("nobody", ""), pod("liar", &with("wrong")), pod("known", &with("good"))].concat())?;
    scene.ready("known")?;
    scene.event("known", "Pulled", &format!("Successfully pulled image \"{image}\""))?;
    // What one pod may pull another may not, though it is on this machine now.
    for name in ["nobody", "liar"] {
        let failed = scene.event(name, "Failed", &format!("Failed to pull image \"{image}\""))?;
        ensure!(
            ["no basic auth credentials", "unauthorized", "401 Unauthorized", "authentication required"]
                .iter()
                .any(|it| failed.contains(it)),
            "{name}: {failed}"
        );
        scene.until(name, "waits", |it| {
            let reason = &container(it, "main")["state"]["waiting"]["reason"];
            reason == "ImagePullBackOff" || reason == "ErrImagePull"
        })?;
        expect_words(&scene.run(&["describe", "pod", name])?, &["Failed to pull image", "ErrImagePull"])?;
    }
    // A ServiceAccount's secrets are those of its pods.
    scene.run(&["patch", "serviceaccount", "default", "-p", r#"{"imagePullSecrets": [{"name": "good"}]}"#])?;
    scene.apply(&pod("account", ""))?;
    let account = scene.ready("account")?;
    ensure!(account["spec"]["imagePullSecrets"][0]["name"] == "good", "{}", account["spec"]);
    // What runs holds the image, whose name the registry takes away in the end.
    scene.run(&["delete", "pod", "--all", "--grace-period=0", "--force"]).map(drop)
}
