//! `orlop annotate`: sets and removes annotations.

use anyhow::Result;

use crate::commands::label;
use crate::session::Session;

/// The flags: those of `label`.
pub type Args = label::Args;

/// Runs it.
///
/// # Errors
/// When an annotation stands already and `--overwrite` is not given, or the server refuses.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    label::change(args, session, "annotations", "annotated").await
}
