//! One line of a spool: something that the server shall know.

use recs_core::artifact::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything is told by the sender's clock, so that a replay says the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Entry {
    /// A point of a curve.
    Metric {
        key: String,
        #[serde(with = "number")]
        value: f64,
        /// Unix milliseconds.
        timestamp: i64,
        step: i64,
    },
    /// A setting; the server takes one value a key.
    Param { key: String, value: String },
    /// A tag of the run; the last value stays.
    Tag { key: String, value: String },
    /// A small document as an artifact.
    Text { path: String, text: String },
    /// A file of a store as an artifact.
    File {
        /// URL of the folder, which a replay opens again.
        store: String,
        file: String,
        /// Where it goes below the run's artifacts.
        path: String,
        digest: Digest,
    },
    /// A folder of the run's artifacts becomes a version of a registered model.
    Register { model: String, folder: String, tags: BTreeMap<String, String> },
    /// The run's end; nothing comes after it.
    End {
        status: Outcome,
        /// Unix milliseconds.
        timestamp: i64,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// As it should.
    Finished,
    /// With an error.
    Failed,
    /// Cancelled, or its process died.
    Killed,
}

impl Outcome {
    /// That of a training: [`Outcome::Killed`] for a cancelled one, [`Outcome::Failed`] for any other error.
    ///
    /// ```
    /// use recs_train::{Error, tracking::mlflow::Outcome};
    /// let cancelled: Result<(), _> = Err(Error::from(recs_core::Error::Cancelled));
    /// assert_eq!(Outcome::of(&cancelled), Outcome::Killed);
    /// ```
    pub fn of<T>(result: &crate::Result<T>) -> Self {
        match result {
            Ok(_) => Self::Finished,
            Err(crate::Error::Core(recs_core::Error::Cancelled)) => Self::Killed,
            Err(_) => Self::Failed,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}

impl Entry {
    /// A point now.
    pub(super) fn metric(key: &str, step: u64, value: f64) -> Self {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        Self::Metric { key: super::names::clean(key).into_owned(), value, timestamp: now_ms(), step }
    }

    /// What it is, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Metric { key, step, .. } => format!("metric {key}, step {step}"),
            Self::Param { key, .. } => format!("param {key}"),
            Self::Tag { key, .. } => format!("tag {key}"),
            Self::Text { path, .. } | Self::File { path, .. } => format!("artifact {path}"),
            Self::Register { model, .. } => format!("version of registered model {model}"),
            Self::End { status, .. } => format!("end as {}", status.name()),
        }
    }
}

/// Unix milliseconds.
pub(super) fn now_ms() -> i64 {
    ms(SystemTime::now())
}

/// Unix milliseconds of `time`.
pub(super) fn ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A number as protobuf's JSON writes it, which is also what the server reads: JSON itself has no NaN.
pub(super) mod number {
    use crate::tracking::not_finite;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Other(String),
    }

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match not_finite(*value) {
            None => serializer.serialize_f64(*value),
            Some(name) => serializer.serialize_str(name),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Number::deserialize(deserializer)? {
            Number::Finite(value) => Ok(value),
            Number::Other(text) => match text.as_str() {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _ => Err(D::Error::custom(format!("{text:?} is no number"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn again(entry: &Entry) -> Entry {
        serde_json::from_str(&serde_json::to_string(entry).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn a_number_comes_back_bit_by_bit(bits in any::<u64>(), step in any::<u64>()) {
            let value = f64::from_bits(bits);
            let Entry::Metric { value: back, .. } = again(&Entry::metric("m", step, value)) else { panic!() };
            prop_assert!(back.to_bits() == bits || (back.is_nan() && value.is_nan()));
        }
    }

    #[test]
    fn a_line_is_what_the_format_says() {
        let metric = Entry::Metric { key: "loss".into(), value: f64::NAN, timestamp: 5, step: 1 };
        let line = serde_json::to_string(&metric).unwrap();
        assert_eq!(line, r#"{"op":"metric","key":"loss","value":"NaN","timestamp":5,"step":1}"#);
        let end = Entry::End { status: Outcome::Killed, timestamp: 7 };
        assert_eq!(serde_json::to_string(&end).unwrap(), r#"{"op":"end","status":"KILLED","timestamp":7}"#);
        assert_eq!(again(&end), end);
    }
}
