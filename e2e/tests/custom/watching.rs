//! Watches of custom objects: each change of what is selected, by name or by a field of the definition, in order, and nothing else.

use std::process::Stdio;
use std::sync::mpsc;

use anyhow::{Context, Result};
use orlop_e2e::definition::{
    SERVED_LIMIT, anything, define, definition, expect, object, objects, refused, undefine, version,
};
use orlop_e2e::hooks::Hooks;
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
        let made = it.server.send("POST", &here, &made)?;
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
        expect(&it.server.send("DELETE", &format!("{here}/{name}"), &Value::Null)?, 200)?;
        seen.sees("DELETED", name, size)?;
    }
    undefine(it.server, &of)
}

/// Fields that a definition names select objects, in lists, in watches and for deletion; of each version its own.
pub fn selects_by_fields(it: &Play<'_>) -> Result<()> {
    let schema = |fields: &[&str]| {
        let properties: serde_json::Map<String, Value> =
            fields.iter().map(|it| ((*it).to_owned(), json!({"type": "string"}))).collect();
        json!({"type": "object", "properties": properties})
    };
    let mut versions =
        json!([version("v1", true, &schema(&["hostPort"])), version("v2", false, &schema(&["host", "port"]))]);
    versions[0]["selectableFields"] = json!([{"jsonPath": ".hostPort"}]);
    versions[1]["selectableFields"] = json!([{"jsonPath": ".host"}, {"jsonPath": ".port"}]);
    let hooks = Hooks::start(super::conversion::answer)?;
    let mut of = definition("ends", "End", &it.group, versions);
    of["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": hooks.client("/crdconvert"), "conversionReviewVersions": ["v1"]}});
    define(it.server, &of)?;
    let (one, two) = (objects(&of, "v1", &it.case.namespace), objects(&of, "v2", &it.case.namespace));
    let watch = Watch::open(it, &format!("{one}?watch=true&fieldSelector=hostPort=host1:80"))?;
    let seen_two = Watch::open(it, &format!("{two}?watch=true&fieldSelector=host=host1,port=80"))?;
    for (name, end) in [("a", "host1:80"), ("b", "host1:8080"), ("c", "host2:80")] {
        let mut made = object(&of, "v1", name);
        made["hostPort"] = end.into();
        expect(&it.server.send("POST", &one, &made)?, 201)?;
    }
    let names = |path: &str| -> Result<Value> {
        let list = it.server.get(path)?;
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items.map(|it| it["metadata"]["name"].clone()).collect())
    };
    same(&names(&format!("{one}?fieldSelector=hostPort=host1:80"))?, &json!(["a"]))?;
    same(&names(&format!("{two}?fieldSelector=host=host1"))?, &json!(["a", "b"]))?;
    same(&names(&format!("{two}?fieldSelector=host=host1,port!=80"))?, &json!(["b"]))?;
    it.case.prints(
        &format!("get ends.v2.{} --field-selector=port=80 -o name", it.group),
        &format!("end.{0}/a\nend.{0}/c", it.group),
    )?;
    let unknown = it.server.send("GET", &format!("{one}?fieldSelector=host=host1"), &Value::Null)?;
    refused(&unknown, 400, "field label not supported: host")?;
    for seen in [&watch, &seen_two] {
        seen.comes("ADDED", "a")?;
    }
    // What leaves the selection is gone for who watches it, and what enters it is new.
    let patch = |name: &str, end: &str| {
        it.patch(&format!("{one}/{name}"), "merge-patch+json", &json!({"hostPort": end}).to_string())
    };
    expect(&patch("a", "host3:80")?, 200)?;
    expect(&patch("c", "host1:80")?, 200)?;
    for seen in [&watch, &seen_two] {
        seen.comes("DELETED", "a")?;
        seen.comes("ADDED", "c")?;
    }
    expect(&it.server.send("DELETE", &format!("{two}?fieldSelector=host=host1"), &Value::Null)?, 200)?;
    same(&names(&one)?, &json!(["a"]))?;
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

    fn comes(&self, event: &str, name: &str) -> Result<()> {
        let line = self.lines.recv_timeout(SERVED_LIMIT).with_context(|| format!("{event} of {name} did not come"))?;
        let seen: Value = serde_json::from_str(&line)?;
        same(&json!([seen["type"], seen["object"]["metadata"]["name"]]), &json!([event, name]))
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
