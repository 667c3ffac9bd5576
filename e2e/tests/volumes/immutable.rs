//! ConfigMaps and Secrets that are marked immutable: their data and the mark stay, the rest may change, and they may be deleted.
//!
//! Stands for "ConfigMap" and "Secrets should be immutable if `immutable` field is set".

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene, expect_words};

use super::ways::{manifest, objects};

const WHY: &str = "Forbidden: field is immutable when `immutable` is set";

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest(&objects("fixed", &[("data-1", "value-1")])))?;
    for (kind, title, data) in [("configmap", "ConfigMap", "value-2"), ("secret", "Secret", "dmFsdWUtMg==")] {
        let at = scene.path(&format!("{kind}s/fixed"));
        let patch = |text: &str| scene.run(&["patch", kind, "fixed", "--type=merge", "-p", text]);
        patch(&format!(r#"{{"data": {{"data-1": "{data}"}}}}"#))?;
        patch(r#"{"immutable": true}"#)?;
        let fixed = scene.api.get(&at)?;
        ensure!(fixed["data"]["data-1"] == data && fixed["immutable"] == true, "{fixed}");

        let mut refused = vec![
            (r#"{"data": {"data-1": "dmFsdWUtMw=="}}"#, "data"),
            (r#"{"data": {"data-2": "dmFsdWUtMg=="}}"#, "data"),
            (r#"{"data": null}"#, "data"),
            (r#"{"immutable": false}"#, "immutable"),
            (r#"{"immutable": null}"#, "immutable"),
        ];
        if kind == "configmap" {
            refused.push((r#"{"binaryData": {"data-3": "dmFsdWUtMw=="}}"#, "binaryData"));
        }
        for (text, field) in refused {
            let said = scene
                .kubectl
                .fails(&["-n", &scene.namespace, "patch", kind, "fixed", "--type=merge", "-p", text], "")?;
            expect_words(&said, &[&format!("The {title} \"fixed\" is invalid: {field}: {WHY}")])?;
        }

        patch(r#"{"metadata": {"labels": {"label-1": "label-1"}}}"#)?;
        let labelled = scene.api.get(&at)?;
        ensure!(labelled["metadata"]["labels"]["label-1"] == "label-1", "{labelled}");
        ensure!(labelled["data"] == fixed["data"] && labelled["immutable"] == true, "{labelled}");
        scene.run(&["delete", kind, "fixed"])?;
        scene.api.gone(&at, POD_LIMIT)?;
    }
    Ok(())
}
