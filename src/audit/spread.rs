//! The same work on each of many things, spread over threads; the results stay in the order of the things.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread;

use crate::model::Conversation;

use super::walk::TOGETHER;
use super::walk::touch_all;

/// Fewer things than this are not worth a thread: one costs about as much to start as so many conversations to judge.
const WORTH_A_THREAD: usize = 2048;

/// Works on every item, each of which is about a conversation, with up to so many threads.
pub fn spread<'a, T: Sync, R: Send>(
    items: &[T],
    workers: Option<NonZeroUsize>,
    about: impl Fn(&T) -> &'a Conversation + Sync,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let all_of = |share: &[T]| {
        let mut done = Vec::with_capacity(share.len());
        for next in share.chunks(TOGETHER) {
            touch_all(next.iter().map(&about));
            done.extend(next.iter().map(&work));
        }
        done
    };
    let workers = workers.map_or(1, NonZeroUsize::get).min(items.len() / WORTH_A_THREAD);
    if workers <= 1 {
        return all_of(items);
    }
    let each = items.len().div_ceil(workers);
    thread::scope(|scope| {
        let all_of = &all_of;
        let shares: Vec<_> = items.chunks(each).map(|share| scope.spawn(move || all_of(share))).collect();
        let mut all = Vec::with_capacity(items.len());
        for share in shares {
            match share.join() {
                Ok(done) => all.extend(done),
                // Our own bug, told where it was found.
                Err(panic) => resume_unwind(panic),
            }
        }
        all
    })
}

/// Whether something that is done with so many items is worth a thread of its own, and there is one.
pub fn is_worth_a_thread(items: usize, workers: Option<NonZeroUsize>) -> bool {
    items >= WORTH_A_THREAD && workers.is_some_and(|workers| workers.get() > 1)
}

/// Does two things at the same time.
pub fn both<A, B: Send>(one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        (one(), other.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::flow;
    use crate::model::Outcome;
    use crate::model::Transport;

    #[test]
    fn the_order_stays() {
        let one = Conversation::new(flow(Transport::Tcp, 80, Outcome::Established));
        let items: Vec<usize> = (0..3 * WORTH_A_THREAD).collect();
        let doubled: Vec<usize> = items.iter().map(|n| 2 * n).collect();
        for workers in [None, NonZeroUsize::new(1), NonZeroUsize::new(2), NonZeroUsize::new(64)] {
            assert_eq!(spread(&items, workers, |_| &one, |n| 2 * n), doubled);
        }
    }
}
