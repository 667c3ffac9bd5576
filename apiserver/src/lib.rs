//! orlop-apiserver
