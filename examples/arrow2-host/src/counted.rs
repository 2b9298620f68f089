//! Counts how often the data behind an exported array is released.

use arrow2::ffi::ArrowArray;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Releases(Arc<AtomicUsize>);

impl Releases {
    /// Releases so far.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// `struct ArrowArray` of the C Data Interface, field by field.
#[repr(C)]
struct CArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut CArray,
    dictionary: *mut CArray,
    release: Option<unsafe extern "C" fn(*mut CArray)>,
    private_data: *mut c_void,
}

/// What the callback needs: the array as it was, and the counter.
struct Private {
    inner: ArrowArray,
    releases: Releases,
}

/// The same array with a release callback around its own that counts.
pub fn counted(array: ArrowArray, releases: &Releases) -> ArrowArray {
    // SAFETY: both are the C struct, and `CArray` has no drop: `inner` below stays the only owner.
    let mut outer = unsafe { std::mem::transmute_copy::<ArrowArray, CArray>(&array) };
    let private = Box::new(Private { inner: array, releases: releases.clone() });
    outer.release = Some(release);
    outer.private_data = Box::into_raw(private).cast();
    // SAFETY: `outer` is a valid struct of the interface: buffers and children live as long as `inner`, which its
    // release callback drops.
    unsafe { std::mem::transmute::<CArray, ArrowArray>(outer) }
}

unsafe extern "C" fn release(array: *mut CArray) {
    // SAFETY: the interface calls this with a live array that `counted` made; `private_data` is its box, and a second
    // call is ruled out by `release` being null afterwards, as the interface demands.
    let private = unsafe {
        (*array).release = None;
        Box::from_raw((*array).private_data.cast::<Private>())
    };
    private.releases.0.fetch_add(1, Ordering::SeqCst);
    drop(private.inner);
}
