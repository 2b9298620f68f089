//! How a step goes through the layers of a tower: what is folded, what is dropped, where the first layer reads.

use super::folded::Folded;
use crate::dropout::{Mask, TowerDropout};
use recs_core::kernel::{activate_in_place, activate_with_slopes};
use recs_core::model::{Activation, Dense, TowerConfig};
use recs_core::schema::Tower;

/// What a tower drops, and in which step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    pub(super) rates: TowerDropout,
    seed: u64,
    step: u32,
    tower: Tower,
}

/// Where masks apply, beside the levels of a chunk.
const HISTORY: u32 = 63;
/// Room for the levels of a tower.
const PLACES: u32 = 64;

impl Dropout {
    pub(super) fn new(rates: TowerDropout, seed: u64, tower: Tower) -> Self {
        Self { rates, seed, step: 0, tower }
    }

    /// Draws anew in each step.
    pub(super) fn open(&mut self, step: u32) {
        self.step = step;
    }

    fn mask(&self, rate: f32, place: u32) -> Option<Mask> {
        let tower = match self.tower {
            Tower::Query => 0,
            Tower::Candidate => PLACES,
        };
        Mask::new(rate, self.seed, self.step, tower + place)
    }

    /// Of the products of histories.
    pub(super) fn history(&self) -> Option<Mask> {
        self.mask(self.rates.history, HISTORY)
    }
}

/// How the gradient of a level's numbers becomes that of what they were made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    /// They are the same.
    Nothing,
    /// Where the number is above 0.
    Sign,
    /// Times slopes that the forward pass left.
    Slopes,
}

/// The layers of a tower in one step.
///
/// A level is a matrix between layers. The first one is the first layer's output, a sum over tables; where inputs are
/// dropped, or there are no layers, it is the concatenated features.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) config: &'a TowerConfig,
    pub(super) folded: &'a Folded,
    pub(super) dropout: Dropout,
}

impl Pass<'_> {
    /// True when the first level is the concatenated features.
    pub(super) fn is_plain(&self) -> bool {
        self.folded.layers.is_empty() || self.dropout.rates.input > 0.0
    }

    pub(super) fn levels(&self) -> usize {
        self.folded.layers.len() + usize::from(self.is_plain())
    }

    /// The layer whose output a level is; None for the concatenated features.
    pub(super) fn layer_of(&self, level: usize) -> Option<&Dense> {
        self.folded.layers.get(level.checked_sub(usize::from(self.is_plain()))?)
    }

    /// The level that a layer reads; None for one that reads tables.
    pub(super) fn below(&self, layer: usize) -> Option<usize> {
        (layer + usize::from(self.is_plain())).checked_sub(1)
    }

    /// Of a level that is not the output of the last layer.
    pub(super) fn through(&self, level: usize) -> Through {
        if level == 0 && self.is_plain() {
            return if self.dropout.rates.input > 0.0 { Through::Slopes } else { Through::Nothing };
        }
        match self.config.activation {
            _ if self.dropout.rates.hidden > 0.0 => Through::Slopes,
            Activation::Linear => Through::Nothing,
            Activation::Relu => Through::Sign,
            _ => Through::Slopes,
        }
    }

    /// Turns what a layer, or the tables, gave for the members `first..` into a level; `slopes` are written where
    /// [`Pass::through`] says so. `[rows, width]`
    pub(super) fn finish(&self, level: usize, x: &mut [f32], slopes: &mut [f32], width: usize, first: usize) {
        let is_input = level == 0 && self.is_plain();
        let activation = if is_input { Activation::Linear } else { self.config.activation };
        if self.through(level) != Through::Slopes {
            return activate_in_place(activation, x);
        }
        activate_with_slopes(activation, x, slopes);
        let rates = self.dropout.rates;
        let Some(mask) = self.dropout.mask(if is_input { rates.input } else { rates.hidden }, level as u32)
        else {
            return;
        };
        let rows = x.chunks_exact_mut(width.max(1)).zip(slopes.chunks_exact_mut(width.max(1)));
        for (i, (x, slopes)) in rows.enumerate() {
            let factor = mask.row(first + i);
            for (at, (x, slope)) in x.iter_mut().zip(slopes).enumerate() {
                let factor = factor(at);
                (*x, *slope) = (*x * factor, *slope * factor);
            }
        }
    }
}
