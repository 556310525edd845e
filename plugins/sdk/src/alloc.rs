//! The guests' allocator: a small arena inside of the initial memory, then the
//! standard one.
//!
//! A probe lives for one run and asks for a few kilobytes. The standard
//! allocator takes even its first page by `memory.grow`, which costs the host
//! two changes of page protection a run, and each of those interrupts the other
//! processors that run guests: more than the rest of a small probe.
//!
//! The arena gives out what lies behind the last allocation and takes back the
//! last one only. A guest that lives long fills it once and goes on with the
//! standard allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// Bytes of the arena. Untouched pages cost nothing.
const ARENA: usize = 128 << 10;
/// Greatest alignment that the arena serves.
const ALIGN: usize = 16;

#[repr(C, align(16))]
struct Bytes(UnsafeCell<[u8; ARENA]>);

/// The arena in front of the standard allocator.
pub struct ArenaFirst {
    bytes: Bytes,
    /// Where the next allocation begins.
    next: Cell<usize>,
}

// SAFETY: without atomics a guest has one thread, and the host calls into an
// instance from one task at a time. On the host, and in a guest with threads, it
// is not `Sync` and so cannot be a static.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
unsafe impl Sync for ArenaFirst {}

impl ArenaFirst {
    /// An empty arena.
    pub const fn new() -> Self {
        Self {
            bytes: Bytes(UnsafeCell::new([0; ARENA])),
            next: Cell::new(0),
        }
    }

    /// Takes `size` bytes from `start` on, where they fit.
    fn take(&self, start: usize, size: usize) -> Option<*mut u8> {
        let end = start.checked_add(size).filter(|end| *end <= ARENA)?;
        self.next.set(end);
        // SAFETY: `start` lies within the arena, by the check above.
        Some(unsafe { self.bytes.0.get().cast::<u8>().add(start) })
    }

    /// Offset of a pointer into the arena; `None` for one of the standard
    /// allocator's.
    fn offset(&self, pointer: *mut u8) -> Option<usize> {
        let base = self.bytes.0.get() as usize;
        let offset = (pointer as usize).checked_sub(base)?;
        (offset < ARENA).then_some(offset)
    }
}

impl Default for ArenaFirst {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: `take` hands out ranges that do not overlap, because `next` only goes
// back to the start of the last range when that one is given back; everything
// else is the standard allocator's.
unsafe impl GlobalAlloc for ArenaFirst {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let align = layout.align();
        if align <= ALIGN {
            let start = self.next.get().next_multiple_of(align);
            if let Some(pointer) = self.take(start, layout.size()) {
                return pointer;
            }
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.offset(pointer) {
            Some(start) => {
                if start + layout.size() == self.next.get() {
                    self.next.set(start);
                }
            }
            // SAFETY: not of the arena, so the standard allocator gave it out.
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(start) = self.offset(pointer) else {
            // SAFETY: as in `dealloc`.
            return unsafe { System.realloc(pointer, layout, size) };
        };
        let last = start + layout.size() == self.next.get();
        if size <= layout.size() || (last && start + size <= ARENA) {
            if last {
                self.next.set(start + size);
            }
            return pointer;
        }
        // SAFETY: the new layout has the old one's alignment and a size that the
        // caller vouches for; both ranges are valid for the smaller size.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                pointer.copy_to_nonoverlapping(new, layout.size());
                self.dealloc(pointer, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn allocations_are_aligned_and_apart() {
        let arena = ArenaFirst::new();
        // SAFETY: sizes are not zero and every pointer is used as it was given.
        unsafe {
            let a = arena.alloc(layout(3, 1));
            let b = arena.alloc(layout(8, 8));
            assert_eq!(b as usize % 8, 0);
            assert!(b as usize >= a as usize + 3);
            a.write_bytes(1, 3);
            b.write_bytes(2, 8);
            assert_eq!(a.add(2).read(), 1);
        }
    }

    #[test]
    fn the_last_allocation_grows_in_place_and_is_taken_back() {
        let arena = ArenaFirst::new();
        // SAFETY: as above.
        unsafe {
            let a = arena.alloc(layout(10, 1));
            assert_eq!(arena.realloc(a, layout(10, 1), 50), a);
            let b = arena.alloc(layout(10, 1));
            b.write_bytes(7, 10);
            let moved = arena.realloc(a, layout(50, 1), 60);
            assert_ne!(moved, a, "something lies behind it");
            assert_eq!(b.read(), 7);
            arena.dealloc(moved, layout(60, 1));
            assert_eq!(arena.alloc(layout(60, 1)), moved);
        }
    }

    #[test]
    fn what_does_not_fit_comes_from_the_standard_allocator() {
        let arena = ArenaFirst::new();
        let (big, wide) = (layout(ARENA + 1, 1), layout(64, 64));
        // SAFETY: as above.
        unsafe {
            let a = arena.alloc(big);
            assert!(!a.is_null() && arena.offset(a).is_none());
            a.write_bytes(9, ARENA + 1);
            let a = arena.realloc(a, big, ARENA + 2);
            assert_eq!(a.add(ARENA).read(), 9);
            arena.dealloc(a, layout(ARENA + 2, 1));
            let b = arena.alloc(wide);
            assert!(arena.offset(b).is_none());
            arena.dealloc(b, wide);
            // Full: out of the arena and over to the standard allocator.
            let c = arena.alloc(layout(ARENA, 1));
            c.write_bytes(5, ARENA);
            let d = arena.realloc(c, layout(ARENA, 1), ARENA + 10);
            assert!(arena.offset(d).is_none());
            assert_eq!(d.add(ARENA - 1).read(), 5);
            arena.dealloc(d, layout(ARENA + 10, 1));
        }
    }
}
