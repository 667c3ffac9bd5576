//! A pod that shows what its volumes hold: who it is, and each file's mode, group and text, printed in one go.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

/// A volume of such a pod, mounted under its name.
#[derive(Clone, Debug)]
pub struct Shown {
    pub name: String,
    pub source: Value,
    pub files: Vec<File>,
}

/// What a file should be.
#[derive(Clone, Debug)]
pub struct File {
    pub path: &'static str,
    /// Its mode and group, as `644 0`.
    pub rights: &'static str,
    pub text: String,
}

impl Shown {
    fn place(&self, file: &File) -> String {
        format!("/{}/{}", self.name, file.path)
    }
}

/// The pod, of this security context.
pub fn pod(name: &str, context: &Value, volumes: &[Shown]) -> Value {
    let places = volumes.iter().flat_map(|it| it.files.iter().map(|file| it.place(file)));
    let script = format!(
        "id -u; for it in {}; do echo \"$it $(stat -L -c '%a %g' $it) $(cat $it 2>&1)\"; done",
        places.collect::<Vec<_>>().join(" ")
    );
    let of_volume = |it: &Shown| {
        let mut volume = it.source.clone();
        volume["name"] = it.name.as_str().into();
        volume
    };
    let mount = |it: &Shown| json!({ "name": it.name, "mountPath": format!("/{}", it.name) });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "restartPolicy": "Never",
            "securityContext": context,
            "volumes": volumes.iter().map(of_volume).collect::<Vec<_>>(),
            "containers": [{
                "name": "main",
                "image": TOOLS,
                "command": ["sh", "-c", script],
                "volumeMounts": volumes.iter().map(mount).collect::<Vec<_>>(),
            }],
        },
    })
}

/// Waits for the pod's end, and compares what it printed.
///
/// # Errors
/// When it is another user, or a file is another.
pub fn check(scene: &Scene<'_>, name: &str, user: u32, volumes: &[Shown]) -> Result<()> {
    scene.succeeded(name)?;
    let printed = scene.logs(name, &[])?;
    let line = |it: &Shown, file: &File| format!("{} {} {}\n", it.place(file), file.rights, file.text);
    let lines = volumes.iter().flat_map(|it| it.files.iter().map(move |file| line(it, file)));
    let expected = format!("{user}\n{}", lines.collect::<String>());
    ensure!(printed == expected, "{name} shows\n{printed}instead of\n{expected}");
    Ok(())
}
