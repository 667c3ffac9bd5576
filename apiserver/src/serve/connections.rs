//! How many connections are open, in all and per address, so that one peer cannot take them all.
//!
//! This machine's own addresses count only in all: its processes are the cluster's own parts, and whoever runs here can do worse.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// The places there are.
#[derive(Clone, Debug)]
pub struct Connections {
    counts: Arc<Mutex<Counts>>,
    all_max: usize,
    per_peer_max: usize,
}

/// One connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    counts: Arc<Mutex<Counts>>,
    peer: IpAddr,
}

impl Connections {
    /// So many places in all, and for each peer.
    pub fn new(all_max: usize, per_peer_max: usize) -> Self {
        Connections { counts: Arc::default(), all_max, per_peer_max }
    }

    /// A place for a connection of this peer, if there is one.
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let mut counts = self.counts.lock();
        let of_peer = counts.by_peer.get(&peer).copied().unwrap_or(0);
        if counts.all >= self.all_max || (of_peer >= self.per_peer_max && !peer.is_loopback()) {
            return None;
        }
        counts.all += 1;
        counts.by_peer.insert(peer, of_peer + 1);
        drop(counts);
        Some(Place { counts: self.counts.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.all -= 1;
        if let Some(count) = counts.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_all_places() {
        let places = Connections::new(4, 2);
        let (far, other, local): (IpAddr, IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
        let first = places.take(far).unwrap();
        let _second = places.take(far).unwrap();
        assert!(places.take(far).is_none());
        let _third = places.take(other).unwrap();
        let _fourth = places.take(local).unwrap();
        assert!(places.take(local).is_none());
        drop(first);
        let _again = places.take(far).unwrap();
        assert!(places.take(other).is_none());
        assert_eq!(places.counts.lock().by_peer.len(), 3);
    }
}
