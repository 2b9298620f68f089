//! Header line and column types: declared ones first, the others from a sample.

use super::config::{CsvConfig, CsvTable};
use super::reader::Records;
use crate::error::{Error, Place, Result};
use crate::source::ColumnType;
use crate::source::builder::{parse_date, parse_timestamp};

/// Names and types of a table's columns, in file order.
#[derive(Debug, Clone)]
pub(super) struct TypedHeader {
    pub(super) columns: Vec<(String, ColumnType)>,
}

/// Reads the header and, where types are not declared, the sample.
pub(super) fn header_and_types(config: &CsvConfig, table: &CsvTable, place: &Place) -> Result<TypedHeader> {
    let mut guesses: Vec<Guess> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut left = config.infer_rows;
    for file in &table.files {
        let mut records = Records::open(config, file, &place.table)?;
        let header = records.header()?;
        if names.is_empty() {
            check_declared(table, &header, place)?;
            guesses.resize(header.len(), Guess::default());
            names = header;
        } else if names != header {
            let problem = format!(
                "the header is {header:?}, that of the first file {names:?}; give it a table of its own"
            );
            return Err(Error::Row { place: Box::new(records.place()), problem });
        }
        while left > 0 && table.types.len() < names.len() && records.next()? {
            left -= 1;
            for (at, guess) in guesses.iter_mut().enumerate() {
                let text = records.field(at)?;
                if !config.is_null(text) {
                    guess.narrow(text);
                }
            }
        }
    }
    let columns = names.into_iter().zip(guesses).map(|(name, guess)| {
        let column = table.types.get(&name).copied().unwrap_or_else(|| guess.column_type());
        (name, column)
    });
    Ok(TypedHeader { columns: columns.collect() })
}

fn check_declared(table: &CsvTable, header: &[String], place: &Place) -> Result<()> {
    match table.types.keys().find(|name| !header.contains(name)) {
        Some(name) => Err(Error::MissingColumn {
            place: Box::new(place.clone().in_column(name)),
            available: header.to_vec(),
        }),
        None => Ok(()),
    }
}

/// What a column may still be after the values seen so far.
#[derive(Debug, Clone, Copy)]
struct Guess {
    seen: bool,
    bool: bool,
    int64: bool,
    float64: bool,
    date: bool,
    timestamp: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self { seen: false, bool: true, int64: true, float64: true, date: true, timestamp: true }
    }
}

impl Guess {
    fn narrow(&mut self, text: &str) {
        self.seen = true;
        self.bool &= text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
        self.int64 = self.int64 && is_plain_integer(text);
        self.float64 = self.float64 && is_plain_number(text);
        self.date = self.date && parse_date(text).is_some();
        self.timestamp = self.timestamp && parse_timestamp(text).is_some();
    }

    fn column_type(self) -> ColumnType {
        match self {
            Self { seen: false, .. } => ColumnType::Text,
            Self { bool: true, .. } => ColumnType::Bool,
            Self { int64: true, .. } => ColumnType::Int64,
            Self { float64: true, .. } => ColumnType::Float64,
            Self { date: true, .. } => ColumnType::Date,
            Self { timestamp: true, .. } => ColumnType::Timestamp,
            _ => ColumnType::Text,
        }
    }
}

/// An integer that prints back as it was read: `007` is an id, not the number seven.
fn is_plain_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|n| n.to_string() == text)
}

/// A number written with digits: neither `NaN` nor `inf`, no leading zeros, no more digits than a float keeps.
fn is_plain_number(text: &str) -> bool {
    const EXACT_DIGITS: usize = 15;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && !leading_zero
        && digits.bytes().filter(u8::is_ascii_digit).count() <= EXACT_DIGITS
        && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(values: &[&str]) -> ColumnType {
        let mut guess = Guess::default();
        values.iter().for_each(|v| guess.narrow(v));
        guess.column_type()
    }

    #[test]
    fn the_narrowest_type_that_keeps_every_value_wins() {
        assert_eq!(guess(&[]), ColumnType::Text);
        assert_eq!(guess(&["1", "-5"]), ColumnType::Int64);
        assert_eq!(guess(&["1", "2.5"]), ColumnType::Float64);
        assert_eq!(guess(&["2018-01-01"]), ColumnType::Date);
        assert_eq!(guess(&["2018-01-01", "2018-01-01 10:00:00"]), ColumnType::Timestamp);
        assert_eq!(guess(&["true", "FALSE"]), ColumnType::Bool);
    }

    #[test]
    fn ids_stay_text() {
        assert_eq!(guess(&["007", "12"]), ColumnType::Text, "leading zeros are part of an id");
        assert_eq!(guess(&["99999999999999999999"]), ColumnType::Text, "too long for any number type");
        assert_eq!(guess(&["NaN"]), ColumnType::Text);
        assert_eq!(guess(&["1", "x"]), ColumnType::Text);
    }
}
