//! A global allocator that overwrites memory with zeros before it gives it back.
//!
//! Guarantee: whatever code outside Talon copied on its way (HTTP and JSON buffers, a string that grew), no freed block
//! still holds a secret. What is in use, on a stack or in a register is not its business.

use std::alloc::{GlobalAlloc, Layout, System};

/// Hands requests on to another allocator, and wipes every block before that gets it back.
///
/// `realloc` is the trait's own: it takes a new block, copies, and gives the old one back here, so that a block that
/// grows leaves nothing behind either.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wiping<A = System>(pub A);

// SAFETY: every call is handed on to `A`, which keeps the contract, with the caller's own arguments. `dealloc` writes
// only to the `layout.size()` bytes at `ptr`, which are the caller's until `A` gets them.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, handed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, handed on.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the block is `layout.size()` bytes long and nobody else's; the rest is the caller's promise, handed on.
        unsafe {
            wipe(ptr, layout.size());
            self.0.dealloc(ptr, layout);
        }
    }
}

/// Word by word, and volatile: the compiler may drop an ordinary write to memory that is freed next.
///
/// # Safety
/// `len` bytes from `ptr` on may be written.
unsafe fn wipe(ptr: *mut u8, len: usize) {
    const WORD: usize = size_of::<u64>();
    let head = ptr.align_offset(WORD).min(len);
    let words = (len - head) / WORD;
    let tail = head + words * WORD;
    // SAFETY: 0..head, the words from `head` on (which is aligned if there is any), and tail..len are within 0..len.
    unsafe {
        for at in (0..head).chain(tail..len) {
            ptr.add(at).write_volatile(0);
        }
        let aligned = ptr.add(head).cast::<u64>();
        for at in 0..words {
            aligned.add(at).write_volatile(0);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
