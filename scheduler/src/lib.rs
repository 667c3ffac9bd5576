//! Which node for which pod.
//!
//! Changes flow in from the API as [`view`]s, become numbers ([`pod`], [`resources`]) in the [`snapshot`], and wake pods in the
//! [`queue`]. [`decide`] takes one pod and the snapshot and gives a node or the reasons why there is none; the runner binds through
//! the API and says so in Events. Everything but the runner is pure. The scheduler keeps no state that the API does not: after
//! a restart it reads everything again.

pub mod view;

pub mod pod;
pub mod resources;
pub mod snapshot;
pub mod storage;

mod affinity;
mod taint;

pub mod filters;
pub mod scores;

pub mod decide;
pub mod queue;

mod bind;
pub mod config;
mod prebind;
mod schedule;

pub use config::Config;
pub use schedule::run;
