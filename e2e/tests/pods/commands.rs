//! What a container runs: its image's entrypoint and command, where its own command and arguments do not stand for them ("Containers should use
//! the image defaults if command and args are blank", "... be able to override the image's default arguments", "... command", "... command and
//! arguments").

use anyhow::{Result, ensure};
use orlop_e2e::image::GREETER;
use orlop_e2e::scene::Scene;

/// Fields of a container, and what it says. A command of one's own stands for the image's command, too.
const CASES: [(&str, &str, &str); 4] = [
    ("blank", "", "image's entrypoint image's command"),
    ("arguments", "args: [own, arguments]", "image's entrypoint own arguments"),
    ("command", "command: [/bin/echo, own command]", "own command"),
    ("both", "command: [/bin/echo, own command], args: [own, arguments]", "own command own arguments"),
];

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let containers: String = CASES
        .iter()
        .map(|(name, fields, _)| {
            let fields = if fields.is_empty() { String::new() } else { format!(", {fields}") };
            format!("    - {{ name: {name}, image: {GREETER}{fields} }}\n")
        })
        .collect();
    scene.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: greeter }}\nspec:\n  restartPolicy: Never\n  containers:\n{containers}"
    ))?;
    scene.succeeded("greeter")?;
    for (name, fields, expected) in CASES {
        let said = scene.logs("greeter", &["-c", name])?;
        ensure!(said.trim_end() == expected, "{name} ({fields:?}) says {said:?}");
    }
    Ok(())
}
