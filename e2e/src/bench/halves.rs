//! The machine's processors in two halves, so that one program has cores that no other takes from it.

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors that this program may use, in two halves.
pub struct Halves {
    first: CpuSet,
    second: CpuSet,
    each: (usize, usize),
}

impl Halves {
    /// Of this machine, or of what this program was given of it; the first half is the smaller where their number is odd.
    ///
    /// # Errors
    /// With one processor there are no halves.
    pub fn new() -> Result<Halves> {
        let all = own()?;
        let processors: Vec<usize> = (0..CpuSet::count()).filter(|it| all.is_set(*it).unwrap_or(false)).collect();
        ensure!(processors.len() > 1, "one processor cannot be divided");
        let (first, second) = processors.split_at(processors.len() / 2);
        Ok(Halves { first: set(first)?, second: set(second)?, each: (first.len(), second.len()) })
    }

    /// How many processors each half has.
    pub fn each(&self) -> (usize, usize) {
        self.each
    }

    /// Runs `act` in the first half: what it starts, processes and threads, stays there.
    ///
    /// # Errors
    /// Those of `act`, and when the kernel refuses.
    pub fn first<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        within(&self.first, act)
    }

    /// Runs `act` in the second half.
    ///
    /// # Errors
    /// As [`Halves::first`].
    pub fn second<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        within(&self.second, act)
    }
}

fn own() -> Result<CpuSet> {
    sched_getaffinity(Pid::from_raw(0)).context("which processors this thread may use")
}

fn set(processors: &[usize]) -> Result<CpuSet> {
    let mut all = CpuSet::new();
    for it in processors {
        all.set(*it)?;
    }
    Ok(all)
}

fn within<T>(processors: &CpuSet, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = own()?;
    let to = |it: &CpuSet| sched_setaffinity(Pid::from_raw(0), it).context("a thread's processors");
    to(processors)?;
    let outcome = act();
    to(&before)?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_in_a_half_starts_its_threads_there() -> Result<()> {
        let Ok(halves) = Halves::new() else {
            ensure!(std::thread::available_parallelism()?.get() == 1);
            return Ok(());
        };
        let before = own()?;
        let seen = halves.second(|| {
            let first = halves.first(|| std::thread::spawn(own).join().expect("it does not panic"))?;
            Ok((first, own()?))
        })?;
        assert_eq!(seen, (halves.first, halves.second));
        assert_eq!(own()?, before);
        Ok(())
    }
}
