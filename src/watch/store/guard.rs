//! What the library does to a damaged file is an error like any other: it panics there, and neither the watch nor its reader is to notice.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Once;

thread_local! {
    /// Whether what this thread does may panic and is told otherwise.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does something with the file. Over damaged pages the library panics, in its release build too (4.6): that must not end a watch each time
/// that it begins.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    caught(work).unwrap_or_else(|| Err(redb::Error::Corrupted("its pages are damaged".to_owned())))
}

/// What the work comes to; nothing where it panics, of which nothing is printed either. Panics of other threads, and of this one at other
/// times, are told as ever.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    done.ok()
}
