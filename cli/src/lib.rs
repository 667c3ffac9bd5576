//! orlop-cli
