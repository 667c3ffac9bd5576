//! The API server from outside, but in process: one binary, a module per noun.

#![allow(clippy::unwrap_used)] // A test says what it expects by panicking.

mod support;

mod admission;
mod apply;
mod certificates;
mod custom;
mod drawn;
mod encodings;
mod eviction;
mod families;
mod fields;
mod kinds;
mod labels;
mod lists;
mod model;
mod policies;
mod proxies;
mod quota;
mod recovery;
mod revocation;
mod rules;
mod secrets;
mod services;
mod tokens;
mod verbs;
mod watches;
mod webhooks;
