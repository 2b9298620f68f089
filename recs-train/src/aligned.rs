//! Numbers that begin where a line of the cache does.

use std::ops::{Deref, DerefMut};

/// Numbers of a line.
const LINE: usize = 16;

/// Numbers from a multiple of 64 bytes on. Where the allocator puts large ones, 16 bytes behind such a place, every vector of 64
/// bytes lies on two lines: loops over rows that are whole vectors take up to a fifth longer.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    room: Vec<f32>,
    from: usize,
    len: usize,
}

impl Aligned {
    /// Zeros. The memory of many is not touched.
    pub(crate) fn zeros(len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        let room = vec![0.0; len + LINE - 1];
        // A machine that cannot tell is served without.
        let from = match room.as_ptr().align_offset(LINE * size_of::<f32>()) {
            from if from < LINE => from,
            _ => 0,
        };
        Self { room, from, len }
    }

    /// Grows to `len` numbers at least, by a quarter or more; those it has stay.
    pub(crate) fn at_least(&mut self, len: usize) {
        if self.len < len {
            let mut grown = Self::zeros(len.max(self.len + self.len / 4));
            grown[..self.len].copy_from_slice(self);
            *self = grown;
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.room[self.from..self.from + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.room[self.from..self.from + self.len]
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Self {
        let mut clone = Self::zeros(self.len);
        clone.copy_from_slice(self);
        clone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_on_a_line_and_clones_are_equal() {
        for len in [0, 1, 15, 16, 1000, 1 << 20] {
            let mut numbers = Aligned::zeros(len);
            assert_eq!(*numbers, *vec![0.0; len]);
            numbers.iter_mut().enumerate().for_each(|(i, number)| *number = i as f32);
            let clone = numbers.clone();
            assert_eq!(*clone, *numbers);
            assert!(len == 0 || [&numbers, &clone].iter().all(|n| (n.as_ptr() as usize).is_multiple_of(64)));
        }
    }
}
