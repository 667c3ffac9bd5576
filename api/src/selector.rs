//! Label and field selectors: their text, their meaning.

pub mod field;
pub mod label;
