//! The runtime `native`: containers without a daemon.

pub mod images;
