//! orlop-controllers
