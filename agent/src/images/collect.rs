//! Which images go when the disk is full: those that were pulled, that nobody uses, and that were not used for the longest. Pure.
//!
//! Source: `pkg/kubelet/images/image_gc_manager.go`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::machine::back_off::since;
use crate::runtime::{ContainerState, Id, Image};

/// When images go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From this part of the disk on that is used, in percent; 100 is never.
    pub high_percent: u8,
    /// Down to this one.
    pub low_percent: u8,
    /// An image that was pulled or used less long ago stays.
    pub least_age: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { high_percent: 85, low_percent: 80, least_age: Duration::from_secs(120) }
    }
}

impl Policy {
    /// Images stay, however full the disk is: for the nodes of a local cluster, as kind has it.
    pub const NEVER: Policy = Policy { high_percent: 100, low_percent: 80, least_age: Duration::from_secs(120) };

    /// How many bytes have to go of a disk; none where it is not full.
    pub fn to_free(&self, available_bytes: u64, capacity_bytes: u64) -> Option<u64> {
        let used_percent = 100 - (u128::from(available_bytes) * 100).checked_div(u128::from(capacity_bytes))?.min(100);
        if self.high_percent >= 100 || used_percent < u128::from(self.high_percent) {
            return None;
        }
        let wanted = u128::from(capacity_bytes) * u128::from(100 - self.low_percent.min(100)) / 100;
        let missing = wanted.saturating_sub(u128::from(available_bytes));
        u64::try_from(missing).ok().filter(|it| *it > 0)
    }

    /// The images to remove, so that `bytes` come free, and how many that are. `pulled` says when each was last used.
    pub fn choose<'a>(
        &self,
        images: &'a [Image],
        pulled: &BTreeMap<Id, Timestamp>,
        containers: &[ContainerState],
        bytes: u64,
        now: Timestamp,
    ) -> (Vec<&'a Image>, u64) {
        let mut idle: Vec<(Timestamp, &Image)> = images
            .iter()
            .filter(|it| !containers.iter().any(|of| is_of(it, &of.image)))
            .filter_map(|it| Some((*pulled.get(&it.id)?, it)))
            .filter(|(used, _)| since(*used, now) >= self.least_age)
            .collect();
        idle.sort_by_key(|it| it.0);
        let (mut chosen, mut freed) = (Vec::new(), 0_u64);
        for (_, it) in idle {
            if freed >= bytes {
                break;
            }
            freed = freed.saturating_add(it.size_bytes);
            chosen.push(it);
        }
        (chosen, freed)
    }
}

/// Whether a container's image is this one: by its id, or by what a runtime calls it instead.
pub fn is_of(image: &Image, used: &str) -> bool {
    image.id == used || image.digests.iter().chain(&image.tags).any(|it| it == used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Phase, PodRef};

    #[test]
    fn a_full_disk_is_brought_down_to_the_low_mark() {
        let check =
            |available, expected| assert_eq!(Policy::default().to_free(available, 1000), expected, "{available}");
        // Whole percents count, as the kubelet has it.
        check(160, None);
        check(151, Some(49));
        check(150, Some(50));
        check(0, Some(200));
        assert_eq!(Policy::default().to_free(0, 0), None);
        assert_eq!(Policy::NEVER.to_free(0, 1000), None);
    }

    #[test]
    fn what_was_pulled_and_is_idle_goes_the_longest_idle_first() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let image = |id: &str| Image {
            id: id.into(),
            tags: Vec::new(),
            digests: vec![format!("r/{id}@d")],
            size_bytes: 10,
            user: None,
        };
        let images = ["old", "older", "used", "loaded", "fresh", "used-by-digest"].map(image);
        let pulled = [("old", 20), ("older", 10), ("used", 1), ("fresh", 190), ("used-by-digest", 1)];
        let pulled = pulled.iter().map(|(id, used)| ((*id).to_owned(), at(*used))).collect();
        let container = |image: &str| ContainerState {
            id: "c".into(),
            pod: PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() },
            name: "c".into(),
            attempt: 0,
            image: image.into(),
            phase: Phase::Created,
            pid: None,
        };
        let containers = [container("used"), container("r/used-by-digest@d")];
        let check = |bytes, expected: &[&str], freed| {
            let (chosen, of) = Policy::default().choose(&images, &pulled, &containers, bytes, at(200));
            assert_eq!((chosen.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), of), (expected.to_vec(), freed));
        };
        check(10, &["older"], 10);
        check(11, &["older", "old"], 20);
        check(u64::MAX, &["older", "old"], 20);
    }
}
