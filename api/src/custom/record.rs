//! What a custom kind's [`crate::kind::Kind`] record is made of.

use super::Custom;
use crate::kind::{Decode, Names, Read, Scope, Selectable, Sub};

/// What differs between custom kinds, and what is the same for all of them but not for built-in ones.
pub(crate) struct Parts {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub names: Names,
    pub scope: Scope,
    pub subs: &'static [Sub],
    pub fields: &'static [Selectable],
    pub stored_as: &'static str,
    pub custom: &'static Custom,
    pub decode: Decode,
    pub read: Read,
}
