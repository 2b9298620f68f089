//! How often a product is sampled as a column: what logits are corrected by.
//!
//! Popular products are in many batches and so often negatives; subtracting log Q, Q being the probability of being sampled,
//! makes the sum over a batch's columns an estimate of the sum over the catalogue (Bengio and Senécal 2008; Yi et al.,
//! *Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations*, RecSys 2019,
//! <https://research.google/pubs/pub48840/>). Q is either known, or estimated from the steps so far.
//!
//! The estimate is Yi et al.'s algorithm 2, a moving average of the steps between two steps in which a product is seen, with
//! exact ids in the place of hashes. There a product is seen at most once in a step; here columns stand for all their copies,
//! so the moving average of the copies is kept, too, and their quotient is the number of copies a step. With one copy always
//! it is the paper's 1 / B, without the bias of starting at 0: both averages start there, and it cancels.

use crate::error::{Error, Result};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Where Q comes from. In files also `true` for `"exact"` and `false` for `"none"`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogQ {
    /// No correction.
    #[default]
    None,
    /// Each product's share of the training rows.
    Exact,
    /// Estimated from the steps so far, for data whose shares are unknown or change.
    Streaming {
        /// Weight of the newest gap in the moving average, above 0 and at most 1. The estimate of a product remembers its
        /// last 1 / alpha steps; its relative error is about sqrt(alpha).
        alpha: f32,
    },
}

/// [`LogQ`] as it is written.
#[derive(Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", rename = "LogQ", deny_unknown_fields)]
enum Written {
    None,
    Exact,
    Streaming {
        /// Weight of the newest gap in the moving average, above 0 and at most 1.
        alpha: f32,
    },
}

impl From<Written> for LogQ {
    fn from(written: Written) -> Self {
        match written {
            Written::None => Self::None,
            Written::Exact => Self::Exact,
            Written::Streaming { alpha } => Self::Streaming { alpha },
        }
    }
}

impl<'de> Deserialize<'de> for LogQ {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = LogQ;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"none\", \"exact\", {\"streaming\": {\"alpha\": …}}, true or false")
            }

            fn visit_bool<E>(self, exact: bool) -> std::result::Result<LogQ, E> {
                Ok(if exact { LogQ::Exact } else { LogQ::None })
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<LogQ, E> {
                match name {
                    "none" => Ok(LogQ::None),
                    "exact" => Ok(LogQ::Exact),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<LogQ, A::Error> {
                Written::deserialize(MapAccessDeserializer::new(map)).map(LogQ::from)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(feature = "json-schema")]
impl schemars::JsonSchema for LogQ {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LogQ".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let written = Written::json_schema(generator);
        schemars::json_schema!({
            "description": "Where the sampling probability comes from; true: exact, false: none.",
            "anyOf": [written, {"type": "boolean"}],
        })
    }
}

impl LogQ {
    pub(super) fn validate(&self) -> Result<()> {
        match *self {
            Self::Streaming { alpha } if !(alpha > 0.0 && alpha <= 1.0) => Err(Error::config(
                "train.loss.log_q.streaming.alpha",
                format!("is {alpha}, must be above 0 and at most 1"),
            )),
            _ => Ok(()),
        }
    }
}

/// Copies a step of each product, estimated from the steps so far.
///
/// Memory: 12 bytes a product.
#[derive(Debug, Clone)]
pub struct FrequencyEstimate {
    alpha: f32,
    /// The step in which each product was seen last, 0 for never.
    last: Vec<u32>,
    /// Moving average, from 0, of the steps between two steps in which it was seen.
    gap: Vec<f32>,
    /// Moving average, from 0, of its copies in a step in which it was seen.
    copies: Vec<f32>,
}

impl FrequencyEstimate {
    /// Nothing was seen of `products` products.
    pub fn new(alpha: f32, products: usize) -> Self {
        Self { alpha, last: vec![0; products], gap: vec![0.0; products], copies: vec![0.0; products] }
    }

    /// Copies a step of a product; 0 when it was never seen.
    ///
    /// # Panics
    /// When the product is beyond those there are.
    pub fn rate(&self, product: u32) -> f32 {
        let at = product as usize;
        if self.last[at] == 0 { 0.0 } else { self.copies[at] / self.gap[at] }
    }

    /// What [`FrequencyEstimate::rate`] will be once step `step` was observed, in which there are `copies` of the product.
    ///
    /// # Panics
    /// As [`FrequencyEstimate::rate`].
    pub fn rate_with(&self, product: u32, copies: f32, step: u32) -> f32 {
        let [gap, copies] = self.moved(product as usize, copies, step);
        copies / gap
    }

    /// Observes that step `step`, from 1 and above those before, has `copies` of a product.
    ///
    /// # Panics
    /// As [`FrequencyEstimate::rate`].
    pub fn observe(&mut self, product: u32, copies: f32, step: u32) {
        let at = product as usize;
        [self.gap[at], self.copies[at]] = self.moved(at, copies, step);
        self.last[at] = step;
    }

    fn moved(&self, at: usize, copies: f32, step: u32) -> [f32; 2] {
        let gap = step.saturating_sub(self.last[at]).max(1) as f32;
        let moved = |old: f32, new: f32| (1.0 - self.alpha) * old + self.alpha * new;
        [moved(self.gap[at], gap), moved(self.copies[at], copies)]
    }

    /// What a checkpoint must keep: averages of gaps and of copies, and the last steps.
    pub fn state(&mut self) -> (Vec<&mut [f32]>, &mut [u32]) {
        (vec![&mut self.gap, &mut self.copies], &mut self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    #[test]
    fn reads_booleans_names_and_tables() {
        let read = |text: &str| serde_json::from_str::<LogQ>(text);
        for (text, expected) in [
            ("false", LogQ::None),
            ("true", LogQ::Exact),
            (r#""none""#, LogQ::None),
            (r#""exact""#, LogQ::Exact),
            (r#"{"streaming": {"alpha": 0.25}}"#, LogQ::Streaming { alpha: 0.25 }),
        ] {
            assert_eq!(read(text).unwrap(), expected);
            let written = serde_json::to_string(&expected).unwrap();
            assert_eq!(read(&written).unwrap(), expected, "{written}");
        }
        for text in [
            r#""sometimes""#,
            r#"{"streaming": {"beta": 1}}"#,
            r#"{"streaming": {}}"#,
            "1",
            r#"{"other": {}}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(LogQ::Streaming { alpha: 0.0 }.validate().is_err());
        assert!(LogQ::Streaming { alpha: f32::NAN }.validate().is_err());
        assert!(LogQ::Streaming { alpha: 1.0 }.validate().is_ok());
    }

    #[cfg(feature = "json-schema")]
    #[test]
    fn the_schema_has_booleans_and_names() {
        let schema = schemars::schema_for!(LogQ);
        let text = serde_json::to_string(&schema).unwrap();
        for part in ["boolean", "none", "exact", "streaming", "alpha"] {
            assert!(text.contains(&format!("\"{part}\"")), "{part}: {text}");
        }
    }

    /// Algorithm 2, with B started at the first gap.
    #[test]
    fn equals_yi_et_al_for_single_copies() {
        let (alpha, mut estimate) = (0.1f32, FrequencyEstimate::new(0.1, 2));
        let (mut a, mut b, mut weight) = (0u32, 0.0f32, 0.0f32);
        for step in [3u32, 4, 9, 11, 30, 31] {
            b = (1.0 - alpha) * b + alpha * (step - a) as f32;
            weight = (1.0 - alpha) * weight + alpha;
            a = step;
            let foreseen = estimate.rate_with(1, 1.0, step);
            estimate.observe(1, 1.0, step);
            assert_eq!(foreseen, estimate.rate(1));
            assert!((estimate.rate(1) - weight / b).abs() < 1e-6, "B without the bias of its start");
        }
        assert_eq!(estimate.rate(0), 0.0);
    }

    /// Products from far below one copy a step to several, estimated from 4,000 steps; then their shares change.
    #[test]
    fn follows_the_shares_of_what_is_seen() {
        const BATCH: usize = 64;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
        let shares = [0.4f64, 0.2, 0.1, 0.1, 0.08, 0.06, 0.04, 0.01, 0.006, 0.004];
        let mut estimate = FrequencyEstimate::new(0.01, shares.len());
        for (phase, order) in [(0, false), (1, true)] {
            let share = |i: usize| if order { shares[shares.len() - 1 - i] } else { shares[i] };
            for step in 1..=4000u32 {
                let mut copies = [0f32; 10];
                for _ in 0..BATCH {
                    let mut u = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                    let drawn = (0..shares.len()).find(|&i| {
                        u -= share(i);
                        u < 0.0
                    });
                    copies[drawn.unwrap_or(0)] += 1.0;
                }
                for (product, copies) in (0..).zip(copies).filter(|(_, copies)| *copies > 0.0) {
                    estimate.observe(product, copies, phase * 4000 + step);
                }
            }
            for i in 0..shares.len() {
                let (rate, exact) = (f64::from(estimate.rate(i as u32)), BATCH as f64 * share(i));
                // Three standard deviations of a moving average of exponential gaps, sqrt(alpha / 2) each.
                assert!((rate / exact).ln().abs() < 0.22, "{i}: {rate} instead of {exact}");
            }
        }
    }
}
