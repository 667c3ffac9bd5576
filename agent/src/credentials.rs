//! What a node shows the API server, and serves with: files in its data directory, requests for certificates, and their renewal.
//!
//! ```text
//! <data-dir>/pki/ca.crt        the cluster's CA
//! <data-dir>/pki/client.pem    certificate and key by which the node asks
//! <data-dir>/pki/serving.pem   certificate and key with which its port serves
//! <data-dir>/kubeconfig        the way to the API server, with these files
//! ```
//!
//! Keys are made here and never leave the machine. Who gave the first certificate is [`crate::join`]'s affair; from then on the node asks for the
//! next one itself.

pub mod folder;
pub mod pair;
pub mod request;
pub mod rotation;

pub use folder::Folder;
pub use pair::Pair;
pub use rotation::Rotation;
