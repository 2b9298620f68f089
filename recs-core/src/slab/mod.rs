//! Arrays and texts that do not change: in memory, or parts of a mapped file.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`Slab`]: numbers |
//! | `texts.rs` | [`Texts`]: texts end to end |

mod texts;

pub use texts::Texts;

use bytemuck::Pod;
use bytes::Bytes;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// An array that does not change. Cheap to clone: clones share the memory, whoever owns it.
#[derive(Clone)]
pub struct Slab<T> {
    /// Aligned for `T`, a whole number of them.
    bytes: Bytes,
    of: PhantomData<T>,
}

/// What lends its bytes to [`Bytes`].
struct Owner<O>(O);

impl<T: Pod> AsRef<[u8]> for Owner<Vec<T>> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl AsRef<[u8]> for Owner<ndarray::ArcArray2<f32>> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(self.0.as_slice().unwrap_or_default())
    }
}

impl<T: Pod> Slab<T> {
    /// Reads bytes as numbers of this machine. None when they do not begin where such a number may, or end within one.
    pub fn of_bytes(bytes: Bytes) -> Option<Self>
    where
        T: Send + Sync,
    {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        bytemuck::try_cast_slice::<u8, T>(&bytes).is_ok().then_some(Self { bytes, of: PhantomData })
    }

    /// The memory.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl<T: Pod + Send + Sync> From<Vec<T>> for Slab<T> {
    fn from(numbers: Vec<T>) -> Self {
        Self { bytes: Bytes::from_owner(Owner(numbers)), of: PhantomData }
    }
}

/// Shares the numbers of a table, row after row; a table that stands otherwise in memory is copied.
impl From<ndarray::ArcArray2<f32>> for Slab<f32> {
    fn from(table: ndarray::ArcArray2<f32>) -> Self {
        let table = if table.is_standard_layout() { table } else { table.as_standard_layout().to_shared() };
        Self { bytes: Bytes::from_owner(Owner(table)), of: PhantomData }
    }
}

impl<T: Pod> Deref for Slab<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.bytes)
    }
}

impl<T: Pod + Send + Sync> Default for Slab<T> {
    fn default() -> Self {
        // No byte: aligned for everything that has an alignment of its own.
        Self { bytes: Bytes::from_owner(Owner(Vec::<T>::new())), of: PhantomData }
    }
}

impl<T: Pod + PartialEq> PartialEq for Slab<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<T: Pod> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab of {}", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn numbers_come_back_and_clones_share_them() {
        let slab = Slab::from(vec![1.5f32, -2.0, 3.25]);
        assert_eq!(slab[..], [1.5, -2.0, 3.25]);
        assert_eq!(slab.clone().as_ptr(), slab.as_ptr());
        let again = Slab::<f32>::of_bytes(slab.bytes().clone()).unwrap();
        assert_eq!((again.as_ptr(), &again), (slab.as_ptr(), &slab));
        assert!(Slab::<u64>::default().is_empty() && Slab::<u64>::from(Vec::new()).is_empty());
    }

    #[test]
    fn bytes_that_are_no_such_numbers_are_refused() {
        let slab = Slab::from(vec![7u64; 3]);
        for range in [0..23, 1..9, 4..12] {
            assert!(Slab::<u64>::of_bytes(slab.bytes().slice(range)).is_none());
        }
        assert_eq!(Slab::<u32>::of_bytes(slab.bytes().slice(4..12)).unwrap()[..], [0, 7]);
    }

    #[test]
    fn tables_are_shared_row_after_row() {
        let table: Array2<f32> = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        let shared = table.clone().into_shared();
        let slab = Slab::from(shared.clone());
        assert_eq!((slab.as_ptr(), slab.len()), (shared.as_ptr(), 6));
        assert_eq!(Slab::from(table.t().to_shared())[..], [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }
}
