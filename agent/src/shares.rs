//! What each pod of the node has been given of its CPU and memory: the one place where it is decided whether there is enough for more.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::machine::resize::{Room, Share};

/// The shares of a node's pods, by uid.
#[derive(Debug)]
pub struct Shares {
    capacity: Share,
    of: Mutex<BTreeMap<String, Share>>,
}

impl Shares {
    /// Nobody has anything of this yet.
    pub fn new(capacity: Share) -> Self {
        Shares { capacity, of: Mutex::default() }
    }

    /// What these pods have together.
    pub fn of<'a>(&self, uids: impl Iterator<Item = &'a str>) -> Share {
        let of = self.of.lock();
        sum(uids.filter_map(|it| of.get(it)))
    }

    /// What there is for a pod.
    pub fn room(&self, uid: &str) -> Room {
        Room { capacity: self.capacity, used_by_others: others(&self.of.lock(), uid) }
    }

    /// Notes what a pod has, which nobody asked for before.
    pub fn note(&self, uid: &str, share: Share) {
        self.of.lock().insert(uid.to_owned(), share);
    }

    /// Gives a pod another share, if there is so much.
    pub fn take(&self, uid: &str, share: Share) -> bool {
        let mut of = self.of.lock();
        let used = others(&of, uid);
        let fits = share.cpu_milli.saturating_add(used.cpu_milli) <= self.capacity.cpu_milli
            && share.memory_bytes.saturating_add(used.memory_bytes) <= self.capacity.memory_bytes;
        if fits {
            of.insert(uid.to_owned(), share);
        }
        fits
    }

    /// A pod has nothing any more.
    pub fn give_back(&self, uid: &str) {
        self.of.lock().remove(uid);
    }
}

fn others(of: &BTreeMap<String, Share>, uid: &str) -> Share {
    sum(of.iter().filter(|it| it.0 != uid).map(|it| it.1))
}

fn sum<'a>(shares: impl Iterator<Item = &'a Share>) -> Share {
    shares.fold(Share::default(), |sum, it| Share {
        cpu_milli: sum.cpu_milli.saturating_add(it.cpu_milli),
        memory_bytes: sum.memory_bytes.saturating_add(it.memory_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_given_than_there_is() {
        let share = |cpu_milli| Share { cpu_milli, memory_bytes: 1 };
        let shares = Shares::new(Share { cpu_milli: 1000, memory_bytes: 10 });
        shares.note("a", share(400));
        shares.note("b", share(400));
        assert_eq!(shares.room("a").used_by_others, share(400));
        assert_eq!(shares.of(["a", "gone"].into_iter()), share(400));
        assert!(!shares.take("a", share(601)));
        assert!(shares.take("a", share(600)));
        assert!(!shares.take("b", share(500)));
        shares.give_back("a");
        assert!(shares.take("b", share(1000)));
    }
}
