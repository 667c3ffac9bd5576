//! What the objects of the cluster are: kinds, names, selectors, patches, tables, statuses.
//!
//! Pure: no tokio, no I/O, no clock, no randomness. What needs the time or a fresh uid takes it as an argument.
//! Modules stand in the order in which a request meets them: the answer to a mistake, the parts of an object, the
//! object's kind, the list of kinds, and the forms in which objects are shown.

pub mod status;

pub mod csr;
pub mod duration;
mod empty;
pub mod field;
pub mod name;
pub mod quantity;
pub mod ranges;
pub mod selector;

pub mod head;
pub mod meta;
pub mod node_leaving;

pub mod computed;
pub mod custom;
pub mod draft;
pub mod json;
pub mod kind;
pub mod kinds;
pub mod quota;
pub mod review;
pub mod revocation;

pub mod list_types;
pub mod managed;
pub mod patch;
pub mod protobuf;
pub mod shape;

pub mod cel;
pub mod structural;

pub mod discovery;
pub mod openapi;
pub mod table;
