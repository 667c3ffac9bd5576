//! Watches of custom objects: each change of what is selected, in order, and nothing else.

use std::process::Stdio;
use std::sync::mpsc;

use anyhow::{Context, Result};
use orlop_e2e::definition::{SERVED_LIMIT, anything, define, definition, expect, object, objects, undefine, version};
use serde_json::{Value, json};

use super::{Play, same};

/// Two objects, each with a watch of its own, that come, change and go.
pub fn watches(it: &Play<'_>) -> Result<()> {
    let of = definition("noxus", "Noxu", &it.group, json!([version("v1beta1", true, &anything())]));
    define(it.server, &of)?;
    let here = objects(&of, "v1beta1", &it.case.namespace);
    let watch = |name: &str| Watch::open(it, &format!("{here}?watch=true&fieldSelector=metadata.name={name}"));
    let (first, second) = (watch("name1")?, watch("name2")?);
    let send = |name: &str, size: u64| -> Result<Value> {
        let mut made = object(&of, "v1beta1", name);
        made["size"] = size.into();
        let made = it.send("POST", &here, &made)?;
        expect(&made, 201)?;
        Ok(made.json)
    };
    send("name1", 1)?;
    first.sees("ADDED", "name1", 1)?;
    send("name2", 2)?;
    second.sees("ADDED", "name2", 2)?;
    for (name, size, seen) in [("name1", 3, &first), ("name2", 4, &second)] {
        let patch = json!({"size": size}).to_string();
        expect(&it.patch(&format!("{here}/{name}"), "merge-patch+json", &patch)?, 200)?;
        seen.sees("MODIFIED", name, size)?;
    }
    for (name, size, seen) in [("name1", 3, &first), ("name2", 4, &second)] {
        expect(&it.send("DELETE", &format!("{here}/{name}"), &Value::Null)?, 200)?;
        seen.sees("DELETED", name, size)?;
    }
    undefine(it.server, &of)
}

/// A watch in a process of its own, whose lines come one by one.
struct Watch {
    curl: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.curl.kill();
        let _ = self.curl.wait();
    }
}

impl Watch {
    fn open(it: &Play<'_>, path: &str) -> Result<Watch> {
        let mut curl = it.server.curl("GET", path)?.stdout(Stdio::piped()).spawn()?;
        let output = curl.stdout.take().context("curl has an output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            use std::io::BufRead;
            for line in std::io::BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Watch { curl, lines })
    }

    fn sees(&self, event: &str, name: &str, size: u64) -> Result<()> {
        let line = self.lines.recv_timeout(SERVED_LIMIT).with_context(|| format!("{event} of {name} did not come"))?;
        let seen: Value = serde_json::from_str(&line)?;
        same(
            &json!([seen["type"], seen["object"]["metadata"]["name"], seen["object"]["size"]]),
            &json!([event, name, size]),
        )
    }
}
