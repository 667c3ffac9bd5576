//! orlop-manifests
