//! A column of numbers, in memory or mapped from a file.

use bytemuck::Pod;
use memmap2::Mmap;
use recs_core::model::BagColumn;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// Numbers one after the other; reads like a slice.
#[derive(Clone)]
pub enum Column<T> {
    /// In memory.
    Owned(Vec<T>),
    /// In a file; the operating system keeps in memory what it has room for.
    Mapped(Mapped<T>),
}

/// Numbers of a mapped file.
#[derive(Clone)]
pub struct Mapped<T> {
    map: Arc<Mmap>,
    kind: PhantomData<T>,
}

impl<T: Pod> Mapped<T> {
    /// The numbers of a whole file; None when its size is not that of whole numbers.
    pub(super) fn new(map: Mmap) -> Option<Self> {
        // The start of a mapping is that of a page.
        bytemuck::try_cast_slice::<u8, T>(&map).ok()?;
        Some(Self { map: Arc::new(map), kind: PhantomData })
    }
}

impl<T: Pod> Deref for Column<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(numbers) => numbers,
            // It was castable when it was mapped.
            Self::Mapped(mapped) => bytemuck::try_cast_slice(&mapped.map).unwrap_or_default(),
        }
    }
}

impl<T: Pod + PartialEq> PartialEq for Column<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl<T> From<Vec<T>> for Column<T> {
    fn from(numbers: Vec<T>) -> Self {
        Self::Owned(numbers)
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Self::Owned(_)) { "Owned" } else { "Mapped" };
        write!(f, "{kind}({} numbers)", self.len())
    }
}

/// Encoded rows of the query tower. `ids` `[rows, tables]`, `numbers` `[rows, numbers a row]`, row-major.
#[derive(Debug, Clone, Default)]
pub struct EncodedRows {
    /// Rows.
    pub rows: usize,
    /// One id per table encoding, in schema order.
    pub ids: Column<u32>,
    /// Numbers of the encodings without a table, in schema order.
    pub numbers: Column<f32>,
    /// Lists of n-grams of the values, for each encoding of such.
    pub bags: Vec<BagColumn>,
}
