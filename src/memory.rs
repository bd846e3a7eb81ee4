//! Clears the memory that the service frees, so that a token for a private repository, and the
//! source of it, do not stay in memory that nobody owns.
//!
//! A token passes through the buffers of TLS, HTTP and JSON before it is in a value of ours. None
//! of these clears what it frees. The kernel clears the memory that processes return to it
//! (`init_on_free`), but an allocator returns little while its process runs.
//!
//! * In: memory that a part of this program frees.
//! * Out: the same memory, cleared, to the system's allocator.
//! * Never: a copy that is left where a buffer has grown.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// The allocator of the system, which gets only cleared memory back.
#[derive(Debug)]
pub struct ClearingAllocator;

// SAFETY: memory comes from the system's allocator and goes back to it with the same layout. The
// provided methods, which call these, keep the contract; a growing buffer is copied, and its old
// memory freed here.
unsafe impl GlobalAlloc for ClearingAllocator {
    // SAFETY: the trait says what callers owe, and this adds nothing.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the trait says what callers owe, and this adds nothing.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: the trait says what callers owe, and this adds nothing.
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory is the caller's, of this size, and nobody uses it any more. Unlike an
        // ordinary write before `free`, this call is not removed by the compiler.
        unsafe { libc::explicit_bzero(memory.cast(), layout.size()) };
        // SAFETY: the memory came from the system's allocator with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_its_content_while_it_is_owned_and_grows() {
        let small = Layout::from_size_align(64, 8).unwrap();
        let large = Layout::from_size_align(4096, 8).unwrap();
        // SAFETY: neither layout has the size 0; memory is used within its size, and freed once,
        // with the layout that it has.
        unsafe {
            let memory = ClearingAllocator.alloc(small);
            memory.write_bytes(7, small.size());
            let memory = ClearingAllocator.realloc(memory, small, large.size());
            let kept = std::slice::from_raw_parts(memory, small.size());
            assert!(kept.iter().all(|byte| *byte == 7));
            ClearingAllocator.dealloc(memory, large);
            let zeroed = ClearingAllocator.alloc_zeroed(large);
            let content = std::slice::from_raw_parts(zeroed, large.size());
            assert!(content.iter().all(|byte| *byte == 0));
            ClearingAllocator.dealloc(zeroed, large);
        }
    }
}
