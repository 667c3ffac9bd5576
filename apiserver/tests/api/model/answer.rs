//! The server's answers in the model's terms, and whether they are what was expected.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::operation::Kind;
use super::{Expected, Object, tidy};
use crate::support::Answer;

/// The part of an object that the model knows.
pub fn view(kind: Kind, object: &Value) -> Value {
    let meta = &object["metadata"];
    let mut out = json!({ "metadata": {} });
    for field in ["name", "namespace", "uid", "generateName", "labels", "finalizers", "generation"] {
        out["metadata"][field] = meta[field].clone();
    }
    if meta["deletionTimestamp"].is_string() {
        out["metadata"]["deletionTimestamp"] = true.into();
    }
    match kind {
        Kind::ConfigMap => out["data"] = object["data"].clone(),
        Kind::ReplicaSet => {
            out["spec"]["replicas"] = object["spec"]["replicas"].clone();
            out["status"]["replicas"] = object["status"]["replicas"].clone();
        }
        Kind::Namespace => {
            out["spec"]["finalizers"] = object["spec"]["finalizers"].clone();
            out["status"]["phase"] = object["status"]["phase"].clone();
        }
    }
    tidy(&mut out);
    out
}

/// An object's version.
pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

/// Which of the server's revisions the model's are.
#[derive(Clone, Default)]
pub struct Revisions {
    known: HashMap<u64, u64>,
    /// The highest that the server has shown.
    highest: u64,
}

impl Revisions {
    /// Compares the version at which the server shows a state with the one that is known; a new one has to be higher than all.
    pub fn meet(&mut self, revision: u64, version: &str) -> Result<(), String> {
        let number: u64 = version.parse().map_err(|_| format!("the version {version:?} is no number"))?;
        if let Some(known) = self.known.get(&revision) {
            return if *known == number { Ok(()) } else { Err(format!("version {number} is not {known}")) };
        }
        let below = self.known.iter().filter(|(at, _)| **at < revision).map(|(_, it)| *it).max().unwrap_or_default();
        let above = self.known.iter().filter(|(at, _)| **at > revision).map(|(_, it)| *it).min().unwrap_or(u64::MAX);
        if number <= below || number >= above {
            return Err(format!("version {number} is not between {below} and {above}"));
        }
        self.known.insert(revision, number);
        self.highest = self.highest.max(number);
        Ok(())
    }

    /// The version of a list: not below anything shown before.
    pub fn reached(&mut self, version: &str) -> Result<(), String> {
        let number: u64 = version.parse().map_err(|_| format!("the version {version:?} is no number"))?;
        if number < self.highest {
            return Err(format!("the list's version {number} is below {}", self.highest));
        }
        self.highest = number;
        Ok(())
    }
}

/// Compares an object with the one expected. A state that was only tried, or that went with the last finalizer, has no version.
pub fn same(
    kind: Kind,
    object: &Value,
    expected: &Object,
    versioned: bool,
    revisions: &mut Revisions,
) -> Result<(), String> {
    let got = view(kind, object);
    if got != expected.doc {
        return Err(format!("the object is\n    {got}, not\n    {}", expected.doc));
    }
    if versioned { revisions.meet(expected.revision, &version(object)) } else { Ok(()) }
}

/// Compares an answer with the one expected.
pub fn check(
    kind: Kind,
    answer: &Answer,
    expected: &Expected,
    dry: bool,
    revisions: &mut Revisions,
) -> Result<(), String> {
    let reason = answer.json["reason"].as_str().unwrap_or_default();
    let reason = if answer.code.is_success() { "" } else { reason };
    if (answer.code.as_u16(), reason) != (expected.code, expected.reason) {
        let (code, told) = (answer.code, &answer.json["message"]);
        return Err(format!("answered {code} {reason} {told}, not {} {}", expected.code, expected.reason));
    }
    match &expected.object {
        Some(it) => same(kind, &answer.json, it, !dry && it.revision != super::GONE, revisions),
        // Of operations of one moment this tells which was first: a deletion shows the object as long as something holds it.
        None if answer.json["metadata"]["uid"].is_string() => Err("answered with an object, where none is left".into()),
        None => Ok(()),
    }
}
