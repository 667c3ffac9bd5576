//! How far a pull is, told as it goes.

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::runtime::PullProgress;

/// Counts layers and bytes of one pull.
#[derive(Debug)]
pub struct Progress {
    so_far: Mutex<PullProgress>,
    receiver: mpsc::Sender<PullProgress>,
}

impl Progress {
    /// Tells `receiver`.
    pub fn new(receiver: mpsc::Sender<PullProgress>) -> Self {
        Progress { so_far: Mutex::default(), receiver }
    }

    /// The image has so many layers.
    pub fn layers(&self, layers: usize) {
        self.note(|it| it.layers = u32::try_from(layers).unwrap_or(u32::MAX));
    }

    /// A layer is unpacked, or was here.
    pub fn layer_done(&self) {
        self.note(|it| it.layers_done += 1);
    }

    /// So many bytes more have come.
    pub fn bytes(&self, more: u64) {
        self.note(|it| it.bytes += more);
    }

    fn note(&self, change: impl FnOnce(&mut PullProgress)) {
        let mut so_far = self.so_far.lock();
        change(&mut so_far);
        // A receiver that is behind or gone misses a step; it gets the next.
        let _ = self.receiver.try_send(so_far.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up_and_a_slow_receiver_holds_nothing_up() {
        let (sender, mut receiver) = mpsc::channel(1);
        let progress = Progress::new(sender);
        progress.layers(2);
        progress.bytes(5);
        assert_eq!(receiver.try_recv().unwrap(), PullProgress { layers_done: 0, layers: 2, bytes: 0 });
        progress.layer_done();
        assert_eq!(receiver.try_recv().unwrap(), PullProgress { layers_done: 1, layers: 2, bytes: 5 });
        drop(receiver);
        progress.bytes(1);
    }
}
