//! orlop-agent
