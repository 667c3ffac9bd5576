//! Tables: the rows and columns in which servers show objects to people (`meta.k8s.io/v1` Table).
//!
//! A kind names its [`Column`]s; a cell is computed from the object's JSON. Cells that depend on the time of the look hold the moment they
//! count from, so that a row is made once per revision and rendered for every reader.

use jiff::Timestamp;
use serde_json::Value;

/// One cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Number(i64),
    Flag(bool),
    /// The time since then, in `kubectl`'s short form; `<unknown>` if there is none.
    Since(Option<Timestamp>),
    /// A text and, in brackets, how long ago: `3 (5m ago)`.
    TextAgo(String, Timestamp),
}

/// A printed column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// As Kubernetes' column definitions write it: `Ready`, `Up-to-date`.
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub kind: &'static str,
    /// 0 shows it always, 1 with `-o wide` only.
    pub priority: i32,
    pub cell: fn(&Value) -> Cell,
}
