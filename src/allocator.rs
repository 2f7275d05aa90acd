//! The allocator of the process: mimalloc for what is small, the system's for what is large.
//!
//! Why not the system's alone: a fifth of the store's time went to pages that it gave back and took again.
//! Why not mimalloc alone: sled asks for some 20 MB of zeros that it hardly touches. The system maps them
//! and no more; mimalloc writes them, which doubled the idle agent (measured: 27 MB, 50 MB).
//! Each thread keeps the pages it once used, also when another thread freed what was in them: after many
//! connections that are gone, [`give_back`] asks every thread to return them when it rests ([`rest`]).
//! Invariant: a block goes back to where it came from, by the size in its layout.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use mimalloc::MiMalloc;

/// Bytes from which on the system is asked: where it begins to map memory for each block (later only for
/// larger ones: glibc raises this when such a block is freed).
const LARGE: usize = 128 << 10;

/// See the module.
pub struct Allocator;

fn is_small(size: usize) -> bool {
    size < LARGE
}

// An allocator cannot be written without `unsafe`.
// SAFETY: both allocators keep the contract of the trait. `alloc`, `alloc_zeroed` and `dealloc` choose by
// `layout.size()`, and a caller gives `dealloc` the layout that it gave `alloc`, so no block meets the other
// allocator. `realloc` keeps to one of them when the old and the new size lie on one side of `LARGE`;
// else it makes a block, copies what fits into both and frees the old one, as the trait's own does.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        #[cfg(test)]
        held::add(layout.size());
        unsafe { if is_small(layout.size()) { MiMalloc.alloc(layout) } else { System.alloc(layout) } }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        #[cfg(test)]
        held::add(layout.size());
        unsafe { if is_small(layout.size()) { MiMalloc.alloc_zeroed(layout) } else { System.alloc_zeroed(layout) } }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        #[cfg(test)]
        held::less(layout.size());
        unsafe { if is_small(layout.size()) { MiMalloc.dealloc(block, layout) } else { System.dealloc(block, layout) } }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            match (is_small(layout.size()), is_small(size)) {
                (true, true) | (false, false) => {
                    #[cfg(test)]
                    held::changed(layout.size(), size);
                    if is_small(size) {
                        MiMalloc.realloc(block, layout, size)
                    } else {
                        System.realloc(block, layout, size)
                    }
                }
                (true, false) | (false, true) => {
                    // The caller vouches that this size with this alignment is a layout.
                    let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

/// How often pages were asked back.
static ASKED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// How often this thread has heard it.
    static HEARD: Cell<u64> = const { Cell::new(0) };
}

#[allow(unsafe_code)]
unsafe extern "C" {
    /// Of mimalloc: returns the pages of the calling thread that are free.
    safe fn mi_collect(force: bool);
}

/// Asks every thread that rests ([`rest`]) for the pages it does not use.
pub fn give_back() {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

/// A thread has nothing to do: it returns its pages when it was asked since.
pub fn rest() {
    let asked = ASKED.load(Ordering::Relaxed);
    if HEARD.replace(asked) != asked {
        mi_collect(true);
    }
}

/// What the calling thread holds, for tests that bound it.
#[cfg(test)]
pub mod held {
    use std::cell::Cell;

    thread_local! {
        /// Bytes now: less than zero when it frees what others made.
        static NOW: Cell<isize> = const { Cell::new(0) };
        static MOST: Cell<isize> = const { Cell::new(0) };
    }

    pub(super) fn add(size: usize) {
        NOW.set(NOW.get().wrapping_add_unsigned(size));
        MOST.set(MOST.get().max(NOW.get()));
    }
    pub(super) fn less(size: usize) {
        NOW.set(NOW.get().wrapping_sub_unsigned(size));
    }
    pub(super) fn changed(before: usize, after: usize) {
        less(before);
        add(after);
    }

    /// Begins to look for the most.
    pub fn begin() -> isize {
        MOST.set(NOW.get());
        NOW.get()
    }
    /// Bytes at most since then beyond those of then.
    pub fn most_since(then: isize) -> usize {
        usize::try_from(MOST.get().saturating_sub(then)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_holds_is_counted_whatever_the_size() {
        for size in [1_000, LARGE - 1, LARGE, 4 * LARGE] {
            let then = held::begin();
            let mut block = vec![1_u8; size];
            block.reserve_exact(size);
            drop(block);
            let most = held::most_since(then);
            assert!((2 * size..=4 * size).contains(&most), "{size}: {most}");
            assert_eq!(held::begin(), then, "{size} bytes are given back");
        }
    }

    #[test]
    fn what_grows_and_shrinks_across_the_border_keeps_its_content() {
        let content = |n: usize| (n % 251) as u8;
        let mut block = Vec::new();
        for size in [1, LARGE - 1, LARGE, LARGE + 1, 5 * LARGE] {
            block.reserve_exact(size - block.len());
            block.extend((block.len()..size).map(content));
        }
        for size in [4 * LARGE, LARGE + 1, LARGE, LARGE - 1, 7] {
            block.truncate(size);
            block.shrink_to_fit();
            assert!(block.iter().enumerate().all(|(n, byte)| *byte == content(n)), "{size} bytes");
        }
        for size in [LARGE - 1, LARGE, 3 * LARGE] {
            // What is freed here may be handed out below.
            drop((0..4).map(|_| vec![0xff_u8; size]).collect::<Vec<_>>());
            assert!(vec![0_u8; size].iter().all(|byte| *byte == 0), "{size} zeros");
        }
    }
}
