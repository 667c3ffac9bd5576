//! Makes one JSON list of the built-in objects.

use std::path::{Path, PathBuf};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The files, in the order in which their objects are written.
const FILES: &[&str] =
    &["namespaces.yaml", "roles.yaml", "user_roles.yaml", "controller_roles.yaml", "flow_control.yaml", "orlop.yaml"];

fn main() -> Outcome<()> {
    let (mut objects, folder) = (Vec::new(), Path::new("builtin"));
    for name in FILES {
        let path = folder.join(name);
        println!("cargo:rerun-if-changed={}", path.display());
        let text = std::fs::read_to_string(&path)?;
        let of_file: Vec<serde_json::Value> =
            serde_saphyr::from_multiple(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        objects.extend(of_file);
    }
    let to = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names no folder")?).join("builtin.json");
    std::fs::write(to, serde_json::to_string(&objects)?)?;
    Ok(())
}
