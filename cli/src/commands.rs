//! One file a command: its flags, and what it does.

pub mod annotate;
pub mod api_resources;
pub mod apply;
pub mod completion;

pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
pub mod label;
pub mod logs;
pub mod rollout;
pub mod scale;
pub mod version;
