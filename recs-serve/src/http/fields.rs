//! Readers of JSON members that collect every fault with its pointer.

use crate::error::{Error, Fault, Result};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Faults listed in an answer; a hostile body could make millions.
const MAX_FAULTS: usize = 10_000;

/// The faults of a body, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Faults {
    listed: Vec<Fault>,
    unlisted: usize,
}

impl Faults {
    pub(super) fn push(&mut self, pointer: String, detail: impl Into<String>) {
        if self.listed.len() < MAX_FAULTS {
            self.listed.push(Fault::new(pointer, detail));
        } else {
            self.unlisted += 1;
        }
    }

    /// # Errors
    /// [`Error::Request`] when there is any.
    pub(super) fn into_result(self) -> Result<()> {
        match self.listed.is_empty() {
            true => Ok(()),
            false => Err(Error::Request { faults: self.listed, unlisted: self.unlisted }),
        }
    }
}

/// A JSON object whose members are taken one by one; what is left at the end is unknown.
pub(super) struct Members<'f> {
    at: String,
    members: Map<String, Value>,
    pub(super) faults: &'f mut Faults,
}

impl<'f> Members<'f> {
    /// None, and a fault, when `value` is no object. `at` is its pointer.
    pub(super) fn new(value: Value, at: String, faults: &'f mut Faults) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self { at, members, faults }),
            other => {
                faults.push(at, format!("must be an object, is {}", kind(&other)));
                None
            }
        }
    }

    pub(super) fn pointer(&self, name: &str) -> String {
        pointer(&self.at, name)
    }

    /// A member; null counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Says that a member is required when it is absent.
    pub(super) fn require(&mut self, name: &str) -> Option<Value> {
        let value = self.take(name);
        if value.is_none() {
            self.faults.push(pointer(&self.at, name), "is required");
        }
        value
    }

    pub(super) fn refuse(&mut self, name: &str, detail: String) {
        self.faults.push(pointer(&self.at, name), detail);
    }

    pub(super) fn required_text(&mut self, name: &str, max_chars: usize) -> Option<String> {
        let value = self.require(name)?;
        let at = self.pointer(name);
        text(value, at, max_chars, self.faults)
    }

    pub(super) fn optional_text(&mut self, name: &str, max_chars: usize) -> Option<String> {
        let value = self.take(name)?;
        let at = self.pointer(name);
        text(value, at, max_chars, self.faults)
    }

    pub(super) fn required_number(&mut self, name: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.require(name)?;
        let at = self.pointer(name);
        number(&value, at, range, self.faults)
    }

    pub(super) fn optional_number(&mut self, name: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.take(name).filter(|value| !value.is_null())?;
        let at = self.pointer(name);
        number(&value, at, range, self.faults)
    }

    /// A whole number; `100.0` is one too.
    pub(super) fn integer(&mut self, name: &str, range: RangeInclusive<i64>, hint: &str) -> Option<i64> {
        let value = self.take(name)?;
        let whole = value.as_i64().or_else(|| value.as_f64().and_then(whole));
        match (whole, &value) {
            (Some(n), _) if range.contains(&n) => return Some(n),
            (_, Value::Number(n))
                if n.is_u64() || n.is_i64() || n.as_f64().is_some_and(|x| x.fract() == 0.0) =>
            {
                self.refuse(name, format!("is {n}, must be {} to {}{hint}", range.start(), range.end()));
            }
            (_, Value::Number(n)) => self.refuse(name, format!("is {n}, must be a whole number")),
            (_, other) => self.refuse(name, format!("must be a whole number, is {}", kind(other))),
        }
        None
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                self.refuse(name, format!("must be true or false, is {}", kind(&other)));
                false
            }
        }
    }

    /// A list of texts; in one that is too long the elements are not looked at.
    pub(super) fn texts(&mut self, name: &str, max_len: usize, max_chars: usize) -> Option<Vec<String>> {
        let value = self.take(name)?;
        let Value::Array(list) = value else {
            self.refuse(name, format!("must be a list of texts, is {}", kind(&value)));
            return None;
        };
        if list.len() > max_len {
            self.refuse(name, format!("has {} elements, allowed are {max_len}", list.len()));
            return None;
        }
        let at = self.pointer(name);
        let texts = list.into_iter().enumerate();
        Some(texts.filter_map(|(i, v)| text(v, format!("{at}/{i}"), max_chars, self.faults)).collect())
    }

    /// An object of numbers.
    pub(super) fn amounts(
        &mut self,
        name: &str,
        max_len: usize,
        max_chars: usize,
        range: &RangeInclusive<f64>,
    ) -> Vec<(String, f64)> {
        let Some(value) = self.take(name) else { return Vec::new() };
        let Value::Object(members) = value else {
            self.refuse(name, format!("must be an object of numbers, is {}", kind(&value)));
            return Vec::new();
        };
        if members.len() > max_len {
            self.refuse(name, format!("has {} members, allowed are {max_len}", members.len()));
            return Vec::new();
        }
        let at = self.pointer(name);
        let mut amounts = Vec::with_capacity(members.len());
        for (key, value) in members {
            let at = pointer(&at, &key);
            let chars = key.chars().count();
            if chars > max_chars {
                self.faults.push(at, format!("the name has {chars} characters, allowed are {max_chars}"));
            } else if let Some(amount) = number(&value, at, range.clone(), self.faults) {
                amounts.push((key, amount));
            }
        }
        amounts
    }

    /// Refuses what was not taken.
    pub(super) fn finish(self) {
        for name in self.members.keys() {
            self.faults.push(pointer(&self.at, name), "is no member of this request");
        }
    }
}

fn text(value: Value, at: String, max_chars: usize, faults: &mut Faults) -> Option<String> {
    match value {
        Value::String(text) => match text.chars().count() {
            chars if chars <= max_chars => return Some(text),
            chars => faults.push(at, format!("has {chars} characters, allowed are {max_chars}")),
        },
        other => faults.push(at, format!("must be a text, is {}", kind(&other))),
    }
    None
}

fn number(value: &Value, at: String, range: RangeInclusive<f64>, faults: &mut Faults) -> Option<f64> {
    match value.as_f64() {
        Some(x) if range.contains(&x) => return Some(x),
        Some(x) => faults.push(at, format!("is {x:?}, must be {:?} to {:?}", range.start(), range.end())),
        None => faults.push(at, format!("must be a number, is {}", kind(value))),
    }
    None
}

/// Whole numbers that f64 holds exactly.
fn whole(x: f64) -> Option<i64> {
    const EXACT: f64 = (1u64 << 53) as f64;
    (x.fract() == 0.0 && x.abs() <= EXACT).then_some(x as i64)
}

/// Appends a member's name to a pointer, escaped as RFC 6901 asks.
fn pointer(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
