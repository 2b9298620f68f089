//! What a column is: its name, its type on disk, the tower it feeds and how it is encoded.
//!
//! | file | what |
//! |---|---|
//! | `field.rs` | [`Field`]: name, source column, record name, [`DType`], [`Tower`], [`Role`] |
//! | `encoding.rs` | [`Encoding`]: field(s) -> ids of an embedding table, or numbers |
//! | `shared.rs` | [`TablePlace`]: tables that several encodings read |
//! | `preset.rs` | [`Schema::retail`], the eight features of a purchase |

mod encoding;
mod field;
mod preset;
mod shared;

pub use encoding::{CYCLICAL_WIDTH, CrossPart, Encoding};
pub use field::{DType, Field, Role, Tower, Value};
pub use shared::TablePlace;

use crate::error::{Error, Result};
use crate::hash::fingerprint64;
use serde::{Deserialize, Serialize};

/// Largest number of fields a schema may have.
pub const MAX_FIELDS: usize = 256;

/// The fields of a purchase and how each tower encodes them.
///
/// Order matters: encodings are concatenated in the order in which they stand here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The fields.
    pub fields: Vec<Field>,
    /// Encodings that the query tower concatenates.
    pub query: Vec<Encoding>,
    /// Encodings that the candidate tower concatenates.
    pub candidate: Vec<Encoding>,
}

/// What [`Schema::widths`] gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Widths {
    /// Embedding tables.
    pub tables: usize,
    /// Ids a row.
    pub ids: usize,
    /// Numbers a row.
    pub numbers: usize,
    /// Numbers of the concatenated features.
    pub input: usize,
    /// True when the tower looks at histories.
    pub has_history: bool,
    /// True when embeddings end with a bias.
    pub has_bias: bool,
}

impl Schema {
    /// Checks names, roles and encodings against each other.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field or encoding at fault.
    pub fn validate(&self) -> Result<()> {
        if self.fields.is_empty() || self.fields.len() > MAX_FIELDS {
            return Err(Error::config("schema.fields", format!("needs 1 to {MAX_FIELDS} fields")));
        }
        for (i, field) in self.fields.iter().enumerate() {
            field.validate()?;
            let earlier = &self.fields[..i];
            for (what, same) in [
                ("name", earlier.iter().any(|f| f.name == field.name)),
                ("record name", earlier.iter().any(|f| f.record == field.record)),
            ] {
                if same {
                    return Err(Error::config(
                        format!("schema.fields.{}", field.name),
                        format!("{what} is used twice"),
                    ));
                }
            }
            if field.role != Role::Other && earlier.iter().any(|f| f.role == field.role) {
                return Err(Error::config(
                    format!("schema.fields.{}", field.name),
                    format!("role {:?} is taken by an earlier field", field.role),
                ));
            }
        }
        self.role(Role::Customer)?;
        self.role(Role::Product)?;
        for tower in [Tower::Query, Tower::Candidate] {
            self.validate_tower(tower)?;
        }
        self.validate_sharing()
    }

    fn validate_tower(&self, tower: Tower) -> Result<()> {
        let encodings = self.encodings(tower);
        if encodings.is_empty() {
            return Err(Error::config(format!("schema.{}", tower.name()), "needs at least one encoding"));
        }
        for (i, encoding) in encodings.iter().enumerate() {
            let at = || format!("schema.{}.{}", tower.name(), encoding.name());
            if encodings[..i].iter().any(|e| e.name() == encoding.name()) {
                return Err(Error::config(at(), "the name of an encoding is used twice in this tower"));
            }
            if encoding.is_history()
                && (tower != Tower::Query || self.role(Role::Product)?.name != encoding.fields()[0])
            {
                return Err(Error::config(at(), "a history is a feature of the query, made of products"));
            }
            if encoding.is_bias() && (tower != Tower::Candidate || i + 1 < encodings.len()) {
                return Err(Error::config(at(), "a bias is the last encoding of the candidate tower"));
            }
            encoding.validate(&at(), |name| {
                let field = self.field(name)?;
                if (field.tower != tower) != encoding.is_history() {
                    return Err(Error::config(at(), format!("field `{name}` feeds the other tower")));
                }
                Ok(field)
            })?;
        }
        Ok(())
    }

    /// How many of what a row of a tower has.
    pub fn widths(&self, tower: Tower) -> Widths {
        let mut widths = Widths::default();
        for encoding in self.encodings(tower) {
            widths.tables += usize::from(encoding.has_table());
            widths.ids += usize::from(encoding.has_id());
            widths.numbers += if encoding.has_table() { 0 } else { encoding.width() };
            widths.input += if encoding.is_bias() { 0 } else { encoding.width() };
            widths.has_history |= encoding.is_history();
            widths.has_bias |= encoding.is_bias();
        }
        widths
    }

    /// Position of a tower's bias among its tables.
    pub fn bias_table(&self, tower: Tower) -> Option<usize> {
        self.encodings(tower).iter().filter(|e| e.has_table()).position(Encoding::is_bias)
    }

    /// The encodings of one tower, in the order in which they are concatenated.
    pub fn encodings(&self, tower: Tower) -> &[Encoding] {
        match tower {
            Tower::Query => &self.query,
            Tower::Candidate => &self.candidate,
        }
    }

    /// The field called `name`.
    ///
    /// # Errors
    /// [`Error::Config`] listing the names there are.
    pub fn field(&self, name: &str) -> Result<&Field> {
        self.fields.iter().find(|f| f.name == name).ok_or_else(|| self.no_field(name))
    }

    /// Position of the field called `name` in [`Schema::fields`].
    ///
    /// # Errors
    /// [`Error::Config`] listing the names there are.
    pub fn position(&self, name: &str) -> Result<usize> {
        self.fields.iter().position(|f| f.name == name).ok_or_else(|| self.no_field(name))
    }

    /// The field that plays `role`.
    ///
    /// # Errors
    /// [`Error::Config`] when no field does.
    pub fn role(&self, role: Role) -> Result<&Field> {
        self.find_role(role).ok_or_else(|| {
            Error::config("schema.fields", format!("no field has the role {role:?}; give one to a field"))
        })
    }

    /// The field that plays `role`, if any does.
    pub fn find_role(&self, role: Role) -> Option<&Field> {
        self.fields.iter().find(|f| f.role == role)
    }

    /// Renames record and source column of fields: pairs of (field name, new record name).
    ///
    /// # Errors
    /// [`Error::Config`] when a field does not exist.
    pub fn with_records<'a>(mut self, names: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        for (field, record) in names {
            let at = self.position(field)?;
            record.clone_into(&mut self.fields[at].record);
            record.clone_into(&mut self.fields[at].column);
        }
        Ok(self)
    }

    /// Digest of what is on disk (names and types, not encodings), 16 hex digits: equal digests read each other's shards.
    pub fn record_digest(&self) -> String {
        let mut parts: Vec<String> =
            self.fields.iter().map(|f| format!("{}\t{}\t{}\n", f.name, f.record, f.dtype.name())).collect();
        parts.sort_unstable();
        format!("{:016x}", fingerprint64(parts.concat().as_bytes()))
    }

    fn no_field(&self, name: &str) -> Error {
        let names: Vec<&str> = self.fields.iter().map(|f| f.name.as_str()).collect();
        Error::config("schema", format!("there is no field `{name}`; fields are {}", names.join(", ")))
    }
}
