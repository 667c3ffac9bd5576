//! Work that several pulls want at one time is done once, and what they need is not taken away from under them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::digest::Digest;

/// What a piece of work makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    Blob,
    Layer,
}

type Turns = HashMap<(Piece, Digest), Arc<tokio::sync::Mutex<()>>>;

/// Pieces of work that are under way. Whoever gets a turn looks first whether somebody else's turn has done the work.
#[derive(Debug, Default)]
pub struct Flights {
    turns: Mutex<Turns>,
}

impl Flights {
    /// Waits for the turn to make a piece. It ends when the guard is dropped; a pull's own timeout bounds the wait.
    pub async fn turn(&self, piece: Piece, digest: &Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock();
            // Nobody holds or awaits what only this map knows.
            turns.retain(|_, it| Arc::strong_count(it) > 1);
            Arc::clone(turns.entry((piece, digest.clone())).or_default())
        };
        turn.lock_owned().await
    }
}

/// Digests of blobs and layers that somebody is working with, with the number of those.
#[derive(Debug, Default)]
pub struct Pins {
    held: Mutex<HashMap<Digest, usize>>,
}

impl Pins {
    /// Holds digests until the [`Hold`] is dropped.
    pub fn hold(self: &Arc<Self>, digests: Vec<Digest>) -> Hold {
        let mut held = self.held.lock();
        for it in &digests {
            *held.entry(it.clone()).or_default() += 1;
        }
        Hold { pins: Arc::clone(self), digests }
    }

    /// Does something to what a digest names, unless it is held; nobody can take hold meanwhile. None if it is held.
    pub fn unless_held<T>(&self, digest: &Digest, act: impl FnOnce() -> T) -> Option<T> {
        let held = self.held.lock();
        (!held.contains_key(digest)).then(act)
    }
}

/// Digests that are held.
#[derive(Debug)]
pub struct Hold {
    pins: Arc<Pins>,
    digests: Vec<Digest>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.pins.held.lock();
        for it in &self.digests {
            if let Some(count) = held.get_mut(it) {
                *count -= 1;
                if *count == 0 {
                    held.remove(it);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_twice_is_held_until_both_let_go() {
        let pins = Arc::new(Pins::default());
        let digest = Digest::of(b"x");
        let first = pins.hold(vec![digest.clone(), digest.clone()]);
        let second = pins.hold(vec![digest.clone()]);
        assert_eq!(pins.unless_held(&digest, || 1), None);
        drop(first);
        assert_eq!(pins.unless_held(&digest, || 1), None);
        drop(second);
        assert_eq!(pins.unless_held(&digest, || 1), Some(1));
    }

    #[tokio::test]
    async fn turns_are_taken_one_after_the_other() {
        let flights = Flights::default();
        let digest = Digest::of(b"x");
        let first = flights.turn(Piece::Blob, &digest).await;
        let other = flights.turn(Piece::Layer, &digest).await;
        assert!(futures::FutureExt::now_or_never(flights.turn(Piece::Blob, &digest)).is_none());
        drop(first);
        assert!(futures::FutureExt::now_or_never(flights.turn(Piece::Blob, &digest)).is_some());
        drop(other);
    }
}
