//! HTTP in, objects out: the API server.
//!
//! Modules stand in the order in which a request meets them:
//! `serve → request → authenticate → authorize → fairness → admission → kind.admit → commit`, and a change the way back:
//! `store → feed → cache → watch`. [`stage`] draws the types by which no step of the way in can be left out; [`pipeline`]
//! composes them and [`server`] starts everything. Nothing writes the cache but the feed.

pub mod args;
pub mod bootstrap;
mod components;
pub mod config;
pub mod pki;
pub mod server;
mod standing;

pub mod registry;
pub mod stage;

pub mod serve;

pub mod pipeline;
pub mod request;

pub mod authenticate;
pub mod authorize;
pub mod impersonate;

pub mod fairness;
pub mod plain;

pub mod verbs;
pub mod websocket;

pub mod admission;
pub mod aside;
pub mod connect;
pub mod proxy;

pub mod at_rest;
pub mod callout;
pub mod commit;
pub mod convert;
pub mod core;
pub mod quota;
pub mod service_addresses;
pub mod usage;

pub mod feed;

pub mod cache;
pub mod labels;

mod definitions;
mod policy_types;

pub mod reviews;

pub mod present;

pub mod metrics;

pub use config::Config;
pub use server::{Server, StartError, run};
