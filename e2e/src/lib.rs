//! orlop-e2e
