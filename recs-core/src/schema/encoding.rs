//! How fields become numbers. Every encoding is computed exactly as TensorFlow computes it, in float32.

use super::{DType, Field};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Largest embedding width.
pub(super) const MAX_DIM: usize = 256;
/// Numbers that [`Encoding::Cyclical`] makes: sine and cosine of four phases.
pub const CYCLICAL_WIDTH: usize = 8;

/// One part of a tower's input vector.
///
/// # Shapes
/// Each encoding contributes [`Encoding::width`] columns to the `[rows, width]` input of its tower.
///
/// # Shared tables
/// Encodings with the same `table`, of one tower or of both, read and train one table: the history of the query and the
/// product of the candidate, say, which then are a model of how products go together, or two fields with equal
/// vocabularies. Their gradients are added, there is one optimiser state, and one tensor in `weights.safetensors`. In
/// TensorFlow: one variable that several `tf.nn.embedding_lookup` read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Encoding {
    /// Vocabulary id (0 = out of vocabulary) -> row of a table of `vocabulary + 1` rows.
    Embedding {
        /// Name of the encoding and of its weights.
        name: String,
        /// The field.
        field: String,
        /// Width of the table.
        dim: usize,
        /// Name of a table that it shares with other encodings; None: one of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<String>,
    },
    /// Number of boundaries <= value -> row of a table of `boundaries + 1` rows.
    Buckets {
        /// Name of the encoding and of its weights.
        name: String,
        /// The numeric field.
        field: String,
        /// Width of the table.
        dim: usize,
    },
    /// (value - mean) / max(standard deviation, 1e-7), one number.
    Normalised {
        /// Name of the encoding.
        name: String,
        /// The numeric field.
        field: String,
    },
    /// Sine and cosine of the phase in week, year (52 weeks), month (30.44 days) and year (12 such months).
    Cyclical {
        /// Name of the encoding.
        name: String,
        /// The field of Unix seconds.
        field: String,
    },
    /// Fingerprint64(a + "_x_" + b) mod `bins` -> row of a table of `bins + 1` rows.
    Cross {
        /// Name of the encoding and of its weights.
        name: String,
        /// The two parts, joined by `_x_`.
        parts: [CrossPart; 2],
        /// Number of hash bins.
        bins: usize,
        /// Width of the table.
        dim: usize,
    },
    /// The customer's earlier purchases -> weighted sum of rows of a table of `products + 1` rows, see
    /// [`Histories`](crate::model::Histories). In the query tower only; the field is the product's.
    History {
        /// Name of the encoding and of its weights.
        name: String,
        /// The field with the role `product`.
        field: String,
        /// Width of the table.
        dim: usize,
        /// Name of a table that it shares with other encodings; None: one of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<String>,
    },
    /// Text -> mean of the rows of its words' hashed character n-grams in a table of `bins` rows, as fastText does
    /// (Bojanowski et al. 2017, <https://arxiv.org/abs/1607.04606>): texts that nobody has seen are near those that look like
    /// them. In TensorFlow: `tf.strings.ngrams`, `tf.strings.to_hash_bucket_fast`, `tf.nn.embedding_lookup_sparse`; see
    /// `model/ngrams.rs`.
    NGrams {
        /// Name of the encoding and of its weights.
        name: String,
        /// The text field.
        field: String,
        /// Shortest n-grams, in characters; `<` and `>` around a word count.
        #[serde(default = "three")]
        from: usize,
        /// Longest n-grams.
        #[serde(default = "five")]
        to: usize,
        /// Takes whole words, too.
        #[serde(default = "yes")]
        words: bool,
        /// Number of hash bins.
        bins: usize,
        /// Width of the table.
        dim: usize,
        /// Name of a table that it shares with other encodings; None: one of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<String>,
    },
    /// Vocabulary id -> one learned number that is added to every score of the product, whoever asks. It passes the layers
    /// by: the embedding gets one number more, to which the query's embeddings have the temperature as counterpart. In
    /// the candidate tower only, as its last encoding.
    Bias {
        /// Name of the encoding and of its weights.
        name: String,
        /// The field.
        field: String,
    },
}

fn three() -> usize {
    3
}

fn five() -> usize {
    5
}

fn yes() -> bool {
    true
}

/// One side of a [`Encoding::Cross`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CrossPart {
    /// The value itself, integers as decimal text.
    Text {
        /// The field.
        field: String,
    },
    /// Decimal text of the value's bucket.
    Bucket {
        /// The numeric field.
        field: String,
    },
    /// Decimal text of floor(value / 3600): hours since the epoch.
    Hours {
        /// The field of Unix seconds.
        field: String,
    },
}

impl CrossPart {
    /// The field it reads.
    pub fn field(&self) -> &str {
        match self {
            Self::Text { field } | Self::Bucket { field } | Self::Hours { field } => field,
        }
    }
}

impl Encoding {
    /// Name of the encoding: unique in its tower, part of the names of its weights.
    pub fn name(&self) -> &str {
        match self {
            Self::Embedding { name, .. }
            | Self::Buckets { name, .. }
            | Self::Normalised { name, .. }
            | Self::Cyclical { name, .. }
            | Self::Cross { name, .. }
            | Self::History { name, .. }
            | Self::NGrams { name, .. }
            | Self::Bias { name, .. } => name,
        }
    }

    /// Columns it contributes to the tower's input; 1 for a bias, which passes the input by.
    pub fn width(&self) -> usize {
        match self {
            Self::Embedding { dim, .. }
            | Self::Buckets { dim, .. }
            | Self::Cross { dim, .. }
            | Self::History { dim, .. }
            | Self::NGrams { dim, .. } => *dim,
            Self::Normalised { .. } | Self::Bias { .. } => 1,
            Self::Cyclical { .. } => CYCLICAL_WIDTH,
        }
    }

    /// True when it looks up rows of a table; false when it computes numbers.
    pub fn has_table(&self) -> bool {
        !matches!(self, Self::Normalised { .. } | Self::Cyclical { .. })
    }

    /// True when each row has an id of that table; false for tables that histories are looked up in.
    pub fn has_id(&self) -> bool {
        self.has_table() && !self.is_history()
    }

    /// True for [`Encoding::History`].
    pub fn is_history(&self) -> bool {
        matches!(self, Self::History { .. })
    }

    /// True for [`Encoding::NGrams`].
    pub fn is_n_grams(&self) -> bool {
        matches!(self, Self::NGrams { .. })
    }

    /// True for [`Encoding::Bias`].
    pub fn is_bias(&self) -> bool {
        matches!(self, Self::Bias { .. })
    }

    /// Name of the table that it shares.
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::Embedding { table, .. } | Self::History { table, .. } | Self::NGrams { table, .. } => {
                table.as_deref()
            }
            _ => None,
        }
    }

    /// The field whose vocabulary numbers the rows of its table.
    pub(crate) fn vocabulary_field(&self) -> Option<&str> {
        match self {
            Self::Embedding { field, .. } | Self::History { field, .. } | Self::Bias { field, .. } => {
                Some(field)
            }
            _ => None,
        }
    }

    /// True when one table can be that of both.
    pub(super) fn can_share(&self, other: &Self) -> bool {
        let has_ids = |e: &Self| matches!(e, Self::Embedding { .. } | Self::History { .. });
        let fits = match (self, other) {
            (Self::NGrams { bins, .. }, Self::NGrams { bins: others, .. }) => bins == others,
            _ => has_ids(self) && has_ids(other),
        };
        fits && self.width() == other.width()
    }

    /// The fields it reads.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Self::Embedding { field, .. }
            | Self::Buckets { field, .. }
            | Self::Normalised { field, .. }
            | Self::Cyclical { field, .. }
            | Self::History { field, .. }
            | Self::NGrams { field, .. }
            | Self::Bias { field, .. } => vec![field],
            Self::Cross { parts, .. } => parts.iter().map(CrossPart::field).collect(),
        }
    }

    pub(super) fn validate<'s>(&self, at: &str, field: impl Fn(&str) -> Result<&'s Field>) -> Result<()> {
        let refuse = |reason: String| Err(Error::config(at, reason));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.name().is_empty() || self.name().len() > 128 || !self.name().chars().all(plain) {
            return refuse("the name of an encoding needs 1 to 128 letters, digits, _ or -".into());
        }
        if self.table().is_some_and(|t| t.is_empty() || t.len() > 128 || !t.chars().all(plain)) {
            return refuse("the name of a table needs 1 to 128 letters, digits, _ or -".into());
        }
        if self.has_table() && !(1..=MAX_DIM).contains(&self.width()) {
            return refuse(format!("dim is {}, allowed are 1 to {MAX_DIM}", self.width()));
        }
        let numeric = |name: &str| -> Result<()> {
            match field(name)?.dtype {
                DType::Bytes => refuse(format!("field `{name}` is text, a number is needed")),
                DType::Int64 | DType::Float => Ok(()),
            }
        };
        let seconds = |name: &str| match field(name)?.dtype {
            DType::Int64 => Ok(()),
            other => refuse(format!("field `{name}` is {other}, Unix seconds as int64 are needed")),
        };
        match self {
            Self::Embedding { field: name, .. }
            | Self::History { field: name, .. }
            | Self::Bias { field: name, .. } => {
                if !field(name)?.has_vocabulary() {
                    return refuse(format!("field `{name}` has no vocabulary: use buckets or normalised"));
                }
                Ok(())
            }
            Self::NGrams { field: name, from, to, bins, .. } => {
                if !field(name)?.has_vocabulary() {
                    return refuse(format!("field `{name}` is no text"));
                }
                if !(1..=100_000_000).contains(bins) {
                    return refuse(format!("bins is {bins}, allowed are 1 to 100,000,000"));
                }
                if *from < 1 || from > to || *to > 16 {
                    return refuse(format!("n-grams of {from} to {to} characters, allowed are 1 to 16"));
                }
                Ok(())
            }
            Self::Buckets { field, .. } | Self::Normalised { field, .. } => numeric(field),
            Self::Cyclical { field, .. } => seconds(field),
            Self::Cross { parts, bins, .. } => {
                if !(1..=100_000_000).contains(bins) {
                    return refuse(format!("bins is {bins}, allowed are 1 to 100,000,000"));
                }
                parts.iter().try_for_each(|part| match part {
                    CrossPart::Text { field: name } => match field(name)?.dtype {
                        DType::Float => refuse(format!("field `{name}` is a float: cross its bucket")),
                        DType::Bytes | DType::Int64 => Ok(()),
                    },
                    CrossPart::Bucket { field } => numeric(field),
                    CrossPart::Hours { field } => seconds(field),
                })
            }
        }
    }
}
