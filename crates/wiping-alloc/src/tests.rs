use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Wiping;

/// Looks at every block before it is really freed.
#[derive(Default)]
struct Inspector {
    freed: AtomicUsize,
    dirty: AtomicUsize,
}

// SAFETY: handed on to the system's allocator; the block is read while it is still the caller's.
unsafe impl GlobalAlloc for Inspector {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the block was written to over its whole length; it is freed after it was read.
        unsafe {
            let block = std::slice::from_raw_parts(ptr, layout.size());
            self.freed.fetch_add(1, Ordering::Relaxed);
            let left = block.iter().filter(|b| **b != 0).count();
            self.dirty.fetch_add(left, Ordering::Relaxed);
            System.dealloc(ptr, layout);
        }
    }
}

fn filled(memory: &Wiping<Inspector>, layout: Layout) -> *mut u8 {
    // SAFETY: no layout here is empty; the block is as long as its layout says.
    unsafe {
        let block = memory.alloc(layout);
        assert!(!block.is_null());
        block.write_bytes(0xa5, layout.size());
        block
    }
}

#[test]
fn nothing_is_left_in_a_freed_block_of_any_size_and_alignment() {
    let memory = Wiping(Inspector::default());
    for align in [1, 2, 8, 64] {
        for size in (1..70).chain([4_095, 4_096, 100_001]) {
            let layout = Layout::from_size_align(size, align).expect("a layout");
            let block = filled(&memory, layout);
            // SAFETY: allocated above with this layout.
            unsafe { memory.dealloc(block, layout) };
        }
    }
    assert_eq!(memory.0.freed.load(Ordering::Relaxed), 4 * 72);
    assert_eq!(memory.0.dirty.load(Ordering::Relaxed), 0);
}

#[test]
fn a_block_that_begins_between_words_is_wiped_to_its_last_byte_and_no_further() {
    for offset in 0..9 {
        for len in 0..40 {
            let mut bytes = [0xa5_u8; 64];
            // SAFETY: at most 9 + 40 of 64 bytes.
            unsafe { super::wipe(bytes.as_mut_ptr().add(offset), len) };
            for (at, byte) in bytes.iter().enumerate() {
                let wiped = (offset..offset + len).contains(&at);
                assert_eq!(*byte == 0, wiped, "offset {offset}, length {len}, at {at}");
            }
        }
    }
}

#[test]
fn a_block_that_grows_or_shrinks_keeps_its_content_and_leaves_none_behind() {
    let memory = Wiping(Inspector::default());
    let small = Layout::from_size_align(48, 8).expect("a layout");
    let block = filled(&memory, small);
    // SAFETY: allocated with `small`; after each call with the new size and the same alignment.
    unsafe {
        let grown = memory.realloc(block, small, 4_096);
        assert!(
            std::slice::from_raw_parts(grown, 48)
                .iter()
                .all(|b| *b == 0xa5)
        );
        grown.write_bytes(0xa5, 4_096);
        let large = Layout::from_size_align(4_096, 8).expect("a layout");
        let shrunk = memory.realloc(grown, large, 16);
        assert!(
            std::slice::from_raw_parts(shrunk, 16)
                .iter()
                .all(|b| *b == 0xa5)
        );
        memory.dealloc(shrunk, Layout::from_size_align(16, 8).expect("a layout"));
    }
    assert_eq!(memory.0.freed.load(Ordering::Relaxed), 3);
    assert_eq!(memory.0.dirty.load(Ordering::Relaxed), 0);
}
