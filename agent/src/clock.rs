//! The wall clock: the one place of the agent that reads it.
//!
//! Pure code takes `now` as an argument, and waiting is done with tokio's clock, which a test can pause. What goes into statuses and
//! into questions to a runtime ("events since") comes from here.

use jiff::Timestamp;

/// The time of day.
pub fn now() -> Timestamp {
    Timestamp::now()
}
