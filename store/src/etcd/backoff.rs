//! How long to wait before etcd is asked again.
//!
//! Doubles from the first failure to a bound, with jitter so that several API servers do not return to a restarted etcd in
//! step. Pure but for the seedless jitter.

use std::time::Duration;

const DELAY_MIN: Duration = Duration::from_millis(20);
/// One second: an etcd that is back is found soon, and one that is away is asked once a second.
const DELAY_MAX: Duration = Duration::from_secs(1);

/// Consecutive failures, as delays.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay after one more failure: between a half and all of the doubled bound.
    pub fn next(&mut self) -> Duration {
        let bound = DELAY_MIN.saturating_mul(1 << self.failures.min(16)).min(DELAY_MAX);
        self.failures += 1;
        bound.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        assert!(delays[0] >= DELAY_MIN / 2 && delays[0] <= DELAY_MIN);
        assert!(delays[39] >= DELAY_MAX / 2 && delays[39] <= DELAY_MAX);
        backoff.reset();
        assert!(backoff.next() <= DELAY_MIN);
    }
}
