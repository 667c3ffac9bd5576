//! The four ways in which clients change a part of an object.
//!
//! In: the object as it stands, as a JSON value, and the patch. Out: the object as it shall be, which then goes the way of every
//! write through [`crate::kind::Kind::admit`]. Patches know no store and no versions.

use crate::status::{self, Reason, Status};

pub mod json;
pub mod merge;
mod order;
mod places;
pub mod strategic;

/// The kinds of patches, by media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    /// All of them, as OpenAPI and the error for others list them.
    pub const ALL: [PatchType; 4] = [PatchType::Json, PatchType::Merge, PatchType::Strategic, PatchType::Apply];

    /// All types, with or without the strategic merge.
    pub fn all(strategic: bool) -> impl Iterator<Item = PatchType> {
        Self::ALL.into_iter().filter(move |it| strategic || *it != PatchType::Strategic)
    }

    /// Its media type. Apply patches may be JSON too, which is YAML.
    pub const fn media_type(self) -> &'static str {
        match self {
            PatchType::Json => "application/json-patch+json",
            PatchType::Merge => "application/merge-patch+json",
            PatchType::Strategic => "application/strategic-merge-patch+json",
            PatchType::Apply => "application/apply-patch+yaml",
        }
    }

    /// Reads a `Content-Type`, parameters allowed.
    ///
    /// # Errors
    /// `UnsupportedMediaType` for others.
    pub fn parse(content_type: &str) -> status::Result<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|it| it.media_type() == media_type).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|it| it.media_type()).collect();
            Status::new(
                Reason::UnsupportedMediaType,
                format!(
                    "the body of the request was in an unknown format - accepted media types include: {}",
                    known.join(", ")
                ),
            )
        })
    }
}
