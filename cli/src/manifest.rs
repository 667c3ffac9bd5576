//! Manifests on their way in: `-f` with files, folders and standard input, several documents each.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use orlop_manifests::document::{Document, read};
use serde_json::Value;
use tokio::io::AsyncReadExt;

/// A manifest that is larger is a mistake: the server takes 3 MiB an object.
const FILE_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// `-f`, any number of times.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Files {
    /// A file or folder of manifests, or - for standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Folders with all that is below them.
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

impl Files {
    /// Reads all documents; `List`s are taken apart.
    ///
    /// # Errors
    /// When a file cannot be read or holds no manifest; file and line are in the error.
    pub async fn read(&self) -> Result<Vec<Document>> {
        let mut out = Vec::new();
        for file in &self.files {
            if file == Path::new("-") {
                let mut text = Vec::new();
                tokio::io::stdin().take(FILE_LIMIT_BYTES).read_to_end(&mut text).await?;
                out.extend(documents("STDIN", &text)?);
                continue;
            }
            for path in self.expand(file)? {
                let size = std::fs::metadata(&path)?.len();
                if size > FILE_LIMIT_BYTES {
                    bail!("{}: {size} bytes are more than the {FILE_LIMIT_BYTES} a manifest may have", path.display());
                }
                let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                out.extend(documents(&path.display().to_string(), &text)?);
            }
        }
        Ok(out)
    }

    /// The manifests in a folder, by name; a file is itself.
    fn expand(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let metadata =
            std::fs::metadata(path).with_context(|| format!("the path \"{}\" does not exist", path.display()))?;
        if !metadata.is_dir() {
            return Ok(vec![path.to_owned()]);
        }
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path)?.map(|it| it.map(|it| it.path())).collect::<Result<_, _>>()?;
        entries.sort();
        let mut out = Vec::new();
        for entry in entries {
            if entry.is_dir() {
                if self.recursive {
                    out.extend(self.expand(&entry)?);
                }
            } else if entry.extension().is_some_and(|it| ["yaml", "yml", "json"].iter().any(|known| it == *known)) {
                out.push(entry);
            }
        }
        Ok(out)
    }
}

fn documents(source: &str, text: &[u8]) -> Result<Vec<Document>> {
    let mut out = Vec::new();
    for mut document in read(source, text)? {
        if document.value["kind"].as_str().is_some_and(|it| it.ends_with("List")) && document.value["items"].is_array()
        {
            let items = document.value["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            out.extend(items.into_iter().map(|value| Document { value, ..document.clone() }));
            continue;
        }
        for field in ["apiVersion", "kind"] {
            if document.value[field].as_str().is_none_or(str::is_empty) {
                bail!("{}:{}: {field} is not set", document.source, document.line);
            }
        }
        out.push(document);
    }
    Ok(out)
}

/// An object's name; empty if it has none.
pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// An object's namespace, if it names one.
pub fn namespace_of(object: &Value) -> Option<&str> {
    object["metadata"]["namespace"].as_str().filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_lists_apart_and_names_what_is_missing() {
        let list = b"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n";
        let names: Vec<_> = documents("x", list).unwrap().iter().map(|it| name_of(&it.value).to_owned()).collect();
        assert_eq!(names, ["a", "b"]);
        let error = documents("x.yaml", b"apiVersion: v1\nmetadata: {}\n").unwrap_err().to_string();
        assert_eq!(error, "x.yaml:1: kind is not set");
    }
}
