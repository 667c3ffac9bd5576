//! One file a command: its flags, and what it does.

pub mod cluster;
pub mod down;
pub mod up;

pub mod annotate;
pub mod api_resources;
pub mod apply;
pub mod completion;
pub mod config;
pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
pub mod image;
pub mod label;
pub mod logs;
pub mod rollout;
pub mod scale;
pub mod version;

pub mod agent;
pub mod apiserver;
pub mod controllers;
pub mod node;
pub mod scheduler;
pub mod token;
