//! Short work that waits for the disk or the kernel, beside the threads that serve everybody.
//!
//! A burst of pods asks for hundreds of such pieces at once. Each gets a thread of tokio's pool, whose stack and allocator's cache stay for a while: fifty of them
//! took 15 MiB of the agent's memory, and did nothing sooner. Here only a few are under way at once, and the others wait their turn. What takes seconds
//! (layers that are unpacked) has no place here: it would hold up the rest.

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// How many pieces are under way at once.
const PLACES: usize = 8;

static FREE: Semaphore = Semaphore::const_new(PLACES);

/// Does a piece of work. Work that has begun goes on if nobody waits for it any more.
///
/// # Errors
/// The work panicked, or the runtime ends.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    // It is never closed; if it were, work would go on without a limit.
    let place = FREE.acquire().await.ok();
    spawn_blocking(move || {
        let _place = place;
        work()
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_few_at_once_and_all_in_the_end() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let pieces = (0..10 * PLACES).map(|n| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                now.fetch_sub(1, Ordering::SeqCst);
                n
            })
        });
        let done: Vec<usize> = futures::future::try_join_all(pieces).await.unwrap();
        assert_eq!(done, (0..10 * PLACES).collect::<Vec<_>>());
        let most = most.load(Ordering::SeqCst);
        assert!((2..=PLACES).contains(&most), "{most} at once");
    }
}
