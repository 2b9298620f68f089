//! Training, validation and test rows.

use super::purchases::DAY_SECONDS;
use super::{NO_PRODUCT, TrainData};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How rows are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SplitKind {
    /// File order: the last 5 % are test, the 15 % before them validation.
    Random,
    /// Test = the last 7 days (timestamp > max - 7 days), validation = the 7 days before.
    #[default]
    Time,
}

impl SplitKind {
    /// Name in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Time => "time",
        }
    }
}

/// Rows of each part, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To train on while choosing.
    pub train: Vec<u32>,
    /// To choose on.
    pub validation: Vec<u32>,
    /// To report on, once.
    pub test: Vec<u32>,
}

/// Rows to train on and rows to judge by, all of them before the test: what chooses by folds cannot look at the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// To train on.
    pub train: Vec<u32>,
    /// To judge by.
    pub validation: Vec<u32>,
}

impl Fold {
    /// The latest `n` folds before the test, the latest one first: its rows are the training and validation rows of
    /// [`Split::new`]. Of the time split fold k judges the 7 days that end 7 (k + 1) days before the last purchase, and trains
    /// on everything before them. A random split has one fold: its validation rows are a sample of all days.
    ///
    /// # Errors
    /// [`Error::Config`] for no fold, and for several of a random split; [`Error::Data`] for one without rows to train on or
    /// to judge by.
    pub fn latest(data: &TrainData, kind: SplitKind, n: usize) -> Result<Vec<Self>> {
        if n == 0 || (n > 1 && kind == SplitKind::Random) {
            let reason = format!("is {n}, allowed are 1 or more, and 1 with split = \"random\"");
            return Err(Error::config("search.folds", reason));
        }
        let Split { train, validation, .. } = Split::new(data, kind)?;
        let mut folds = vec![Self { train, validation }];
        let last = data.timestamp.iter().copied().max().unwrap_or(0);
        for days in (3..).map(|weeks| 7 * weeks).take(n - 1) {
            folds.iter().try_for_each(Self::check)?;
            let after = last.saturating_sub(days * DAY_SECONDS);
            let earlier = &folds[folds.len() - 1].train;
            let (validation, train) = earlier.iter().partition(|&&row| data.timestamp[row as usize] > after);
            folds.push(Self { train, validation });
        }
        folds.iter().try_for_each(Self::check)?;
        Ok(folds)
    }

    fn check(&self) -> Result<()> {
        if !self.train.is_empty() && !self.validation.is_empty() {
            return Ok(());
        }
        let reason = "is empty: each fold judges 7 days of purchases and trains on earlier ones; lower search.folds or widen the \
                      extraction";
        Err(Error::Data { what: "fold of the search", reason: reason.into() })
    }
}

impl Split {
    /// Splits the rows; rows of unknown products are left out of training and validation, and stay in the test.
    ///
    /// # Errors
    /// [`Error::Data`] when training or test would be empty.
    pub fn new(data: &TrainData, kind: SplitKind) -> Result<Self> {
        let rows = data.rows();
        let part: Box<dyn Fn(usize) -> u8> = match kind {
            SplitKind::Random => {
                // In hundredths, so that no float decides which row is where.
                let (validation, test) = (rows * 80 / 100, rows * 95 / 100);
                Box::new(move |row| u8::from(row >= validation) + u8::from(row >= test))
            }
            SplitKind::Time => {
                let last = data.timestamp.iter().copied().max().unwrap_or(0);
                let after = |days: i64| last.saturating_sub(days * DAY_SECONDS);
                let (validation, test) = (after(14), after(7));
                let time = &data.timestamp;
                Box::new(move |row| u8::from(time[row] > validation) + u8::from(time[row] > test))
            }
        };
        let mut split = Self { train: Vec::new(), validation: Vec::new(), test: Vec::new() };
        for row in 0..rows {
            let to = match part(row) {
                2 => &mut split.test,
                _ if data.product[row] == NO_PRODUCT => continue,
                1 => &mut split.validation,
                _ => &mut split.train,
            };
            to.push(row as u32);
        }
        for (what, rows) in [("training split", &split.train), ("test split", &split.test)] {
            if rows.is_empty() {
                let reason = match kind {
                    SplitKind::Time => {
                        "is empty: the time split needs more than 14 days of purchases; widen the window or use split = \"random\""
                    }
                    SplitKind::Random => "is empty: there are too few rows",
                };
                return Err(Error::Data { what, reason: reason.into() });
            }
        }
        Ok(split)
    }

    /// Everything before the test, in file order.
    pub fn before_test(&self) -> Vec<u32> {
        let mut rows = [&self.train[..], &self.validation[..]].concat();
        rows.sort_unstable();
        rows
    }
}
