//! Every built-in kind, in the order in which discovery lists them. A new kind is a file below and a line in [`KINDS`].

mod config_map;

use k8s_openapi::api::core::v1::ConfigMap;

use crate::kind::Kind;

/// The built-in kinds.
pub static KINDS: &[Kind] = &[Kind::of::<ConfigMap>()];
