//! Work on many things, divided among threads: each has a share of them, and what comes of the shares stays in their order.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread;
use std::thread::ScopedJoinHandle;

/// Divides items into one share for each of so many threads, the calling one among them, and works on each. What a thread is not worth is a share of
/// fewer than `least`.
pub fn spread<T: Sync, R: Send>(
    items: &[T],
    least: usize,
    workers: Option<NonZeroUsize>,
    work: impl Fn(&[T]) -> R + Sync,
) -> Vec<R> {
    let workers = worth(items.len(), least, workers);
    let (own, others) = items.split_at(items.len().div_ceil(workers));
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> =
            others.chunks(own.len().max(1)).map(|share| scope.spawn(move || work(share))).collect();
        let mut all = vec![work(own)];
        all.extend(others.into_iter().map(joined));
        all
    })
}

/// Does two things at the same time, where what they are about is worth two threads.
pub fn both<A, B: Send>(
    items: usize,
    least: usize,
    workers: Option<NonZeroUsize>,
    one: impl FnOnce() -> A,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    if worth(items, least, workers) == 1 {
        return (one(), other());
    }
    thread::scope(|scope| {
        let other = scope.spawn(other);
        (one(), joined(other))
    })
}

/// What a thread found out. A panic of it is our own bug, told where it was found: what is missing from a report must not pass for silence.
pub fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// How many threads so many items are worth.
fn worth(items: usize, least: usize, workers: Option<NonZeroUsize>) -> usize {
    workers.map_or(1, NonZeroUsize::get).min(items / least).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays() {
        let items: Vec<usize> = (0..301).collect();
        for workers in [None, NonZeroUsize::new(1), NonZeroUsize::new(2), NonZeroUsize::new(64)] {
            assert_eq!(spread(&items, 100, workers, <[usize]>::to_vec).concat(), items);
            assert_eq!(spread(&[0; 0], 100, workers, <[usize]>::len), [0]);
        }
    }
}
