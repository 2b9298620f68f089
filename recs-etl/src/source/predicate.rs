//! The filters that a source can be asked to apply: one column against literals.

use arrow::datatypes::TimeUnit;

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

impl CompareOp {
    /// The operator with its sides exchanged: `5 < x` is `x > 5`.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }

    /// As SQL writes it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "<>",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }
}

/// A literal. It is compared with columns of its own family only: integers with integers, text with text.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// For boolean columns.
    Bool(bool),
    /// For integer columns of any width.
    Int(i64),
    /// For float columns.
    Float(f64),
    /// For text columns.
    Text(String),
    /// For decimal columns: `value` / 10^`scale`.
    Decimal {
        /// Unscaled value.
        value: i128,
        /// Digits after the point.
        scale: i8,
    },
    /// For date columns: days since 1970-01-01.
    Date(i32),
    /// For timestamp columns: ticks since 1970-01-01T00:00:00, in UTC for columns with a zone.
    Timestamp {
        /// Ticks.
        value: i64,
        /// Size of a tick.
        unit: TimeUnit,
    },
}

impl From<i64> for Scalar {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Scalar {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Scalar {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<bool> for Scalar {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// A condition on one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// `column op value`.
    Compare {
        /// The column.
        column: String,
        /// The comparison.
        op: CompareOp,
        /// The literal.
        value: Scalar,
    },
    /// `column IN (values)`; with no values nothing satisfies it.
    In {
        /// The column.
        column: String,
        /// The literals, all of one kind.
        values: Vec<Scalar>,
    },
    /// `column IS NULL`.
    IsNull {
        /// The column.
        column: String,
    },
    /// `column IS NOT NULL`.
    IsNotNull {
        /// The column.
        column: String,
    },
}

impl Predicate {
    /// `column op value`.
    pub fn compare(column: impl Into<String>, op: CompareOp, value: impl Into<Scalar>) -> Self {
        Self::Compare { column: column.into(), op, value: value.into() }
    }

    /// The column it is about.
    pub fn column(&self) -> &str {
        match self {
            Self::Compare { column, .. }
            | Self::In { column, .. }
            | Self::IsNull { column }
            | Self::IsNotNull { column } => column,
        }
    }
}
