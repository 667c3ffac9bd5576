//! One machine of the cluster: its pods, images, volumes, probes, network, logs.
//!
//! Changes of pods flow in from the API; [`agent`] gives each pod a worker ([`sync`]), which lets the pure [`machine`] decide and does
//! what it says through a [`runtime`] and a [`network`]. [`node`] says that the machine lives, [`server`] gives out logs and what is used ([`usage`]), [`local`] takes
//! images from commands of this machine. [`join`] makes a machine a node, [`credentials`] keeps what it shows. [`fleet`] plays thousands of
//! nodes that run nothing. Nothing here sees the store or the API server's insides.

mod aside;
mod chosen;
pub mod config;
pub mod credentials;
pub mod join;
mod run;

mod clean;

pub mod agent;
mod alone;
pub mod fleet;
pub mod local;
pub mod node;
pub mod server;
pub mod statics;
mod stock;

pub mod machine;

pub mod admission;
pub mod environment;
pub mod references;
pub mod resolver;
pub mod resources;
pub mod shares;

pub mod host;
mod hosts;
pub mod images;
pub mod pods;
pub mod power_off;
pub mod pressure;
pub mod probes;
pub mod sync;
pub mod telling;
pub mod usage;
pub mod volumes;

pub mod dns;
pub mod network;
pub mod rules;
pub mod runtime;
pub mod services;

pub mod policy;

pub use clean::{CleanError, clean};
pub use config::Config;
pub use run::{AgentError, run, run_apart, run_with_lease_client};
