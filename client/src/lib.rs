//! How Orlop's own parts speak to the API: connections, informer stores with indexes, work queues, the leader lease,
//! events, and writes with preconditions. It also owns the workspace's one wall clock and its one source of randomness.
//!
//! In: a kubeconfig, or a client that the API server binds in process. Out: [`kube::Client`] and what stands on it. It
//! knows the API only, never the store behind it.

pub mod agent;
pub mod clock;
pub mod connect;
pub mod events;
pub mod informer;
pub mod key;
pub mod lease;
pub mod process;
pub mod queue;
pub mod random;
pub mod resident;
pub mod storage;
pub mod swap;
pub mod turns;
pub mod view;
pub mod write;

pub use informer::{Informer, Store};
pub use key::Key;
pub use queue::Queue;
pub use view::View;
