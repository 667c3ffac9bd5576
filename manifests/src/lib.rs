//! YAML: the reader of documents, and the objects every cluster begins with.
//!
//! Pure: bytes in, JSON values out. The server, the command line and the tests read manifests through [`document`] only, so that a
//! file means the same wherever it is read.

pub mod builtin;
pub mod document;
