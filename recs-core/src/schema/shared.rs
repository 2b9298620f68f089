//! Tables that several encodings read.

use super::{Encoding, Schema, Tower};
use crate::error::{Error, Result};

/// Which table an encoding reads: number `table` of the tables of `tower`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TablePlace {
    /// The tower that owns it.
    pub tower: Tower,
    /// Position among the table encodings of that tower.
    pub table: usize,
}

impl Schema {
    /// The table that each table encoding of a tower reads: its own, or that of the first encoding with the same `table`,
    /// the query tower's coming before the candidate tower's.
    ///
    /// ```
    /// use recs_core::schema::{Schema, TablePlace, Tower};
    /// let schema = Schema::retail();
    /// let own = |table| TablePlace { tower: Tower::Candidate, table };
    /// assert_eq!(schema.table_places(Tower::Candidate), [own(0), own(1), own(2)]);
    /// ```
    pub fn table_places(&self, tower: Tower) -> Vec<TablePlace> {
        let places = self.named_places().into_iter();
        places
            .filter(|(place, _)| place.tower == tower)
            .map(|(own, encoding)| self.owner(own, encoding))
            .collect()
    }

    /// Every table encoding at its own place, query tower first.
    fn named_places(&self) -> Vec<(TablePlace, &Encoding)> {
        let of = |tower: Tower| {
            let tables = self.encodings(tower).iter().filter(|e| e.has_table()).enumerate();
            tables.map(move |(table, encoding)| (TablePlace { tower, table }, encoding))
        };
        of(Tower::Query).chain(of(Tower::Candidate)).collect()
    }

    fn owner(&self, own: TablePlace, encoding: &Encoding) -> TablePlace {
        let first = encoding.table().and_then(|name| self.first_of(name));
        first.map_or(own, |(place, _)| place)
    }

    fn first_of(&self, table: &str) -> Option<(TablePlace, &Encoding)> {
        self.named_places().into_iter().find(|(_, encoding)| encoding.table() == Some(table))
    }

    /// Pairs of encodings that read one table: one that borrows it, named as in errors, and the one that owns it.
    pub(crate) fn sharing(&self) -> Vec<(String, &Encoding, &Encoding)> {
        let mut pairs = Vec::new();
        for (place, encoding) in self.named_places() {
            let owner = encoding.table().and_then(|name| self.first_of(name));
            if let Some((_, owner)) = owner.filter(|(owner, _)| *owner != place) {
                let at = format!("schema.{}.{}.table", place.tower.name(), encoding.name());
                pairs.push((at, encoding, owner));
            }
        }
        pairs
    }

    pub(super) fn validate_sharing(&self) -> Result<()> {
        for (at, encoding, owner) in self.sharing() {
            if !encoding.can_share(owner) {
                let reason = format!(
                    "cannot be the table of `{}`: encodings that share one have the same dim, and are embeddings and \
                     histories, or n-grams with the same bins",
                    owner.name()
                );
                return Err(Error::config(at, reason));
            }
        }
        Ok(())
    }
}
