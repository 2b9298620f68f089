//! Lengths and ranges of columns, which everything that reads them counts on.

use super::columns::{NO_PRODUCT, TrainData};
use recs_core::schema::{Role, Schema, Tower};
use recs_core::vocab::Vocabulary;

impl TrainData {
    /// Compares the lengths of all columns. What is wrong, otherwise.
    pub(super) fn check_lengths(&self) -> Result<(), String> {
        let (rows, candidates, catalogue) = (self.query.rows, self.candidates.rows, &self.catalogue);
        let [query, candidate] = [Tower::Query, Tower::Candidate].map(|t| self.encoded_with.widths(t));
        // Rows of a file that was changed may be any number.
        for (name, len, expected) in [
            ("product", self.product.len(), rows),
            ("query.ids", self.query.ids.len(), rows.saturating_mul(query[0])),
            ("query.numbers", self.query.numbers.len(), rows.saturating_mul(query[1])),
            ("candidates.ids", self.candidates.ids.len(), candidates.saturating_mul(candidate[0])),
            ("candidates.numbers", self.candidates.numbers.len(), candidates.saturating_mul(candidate[1])),
            ("candidate", self.candidate.len(), rows),
            ("customer", self.customer.len(), rows),
            ("city", self.city.len(), rows),
            ("timestamp", self.timestamp.len(), rows),
            ("catalogue.candidate", catalogue.candidate.len(), catalogue.len()),
            ("catalogue.name", catalogue.name.len(), catalogue.len()),
            ("catalogue.category", catalogue.category.len(), catalogue.len()),
            ("catalogue.subcategory", catalogue.subcategory.len(), catalogue.len()),
        ] {
            if len != expected {
                return Err(format!("column `{name}` has {len} numbers, {expected} belong there"));
            }
        }
        Ok(())
    }

    /// Compares the lengths of all columns, and each id with the number of what it counts. O(rows).
    pub(super) fn check_ids(&self, schema: &Schema, vocabulary: &Vocabulary) -> Result<(), String> {
        self.check_lengths()?;
        let values = |role: Role| {
            let lookup = schema.find_role(role).and_then(|field| vocabulary.lookup(&field.name).ok());
            lookup.map_or(0, |lookup| lookup.len()) + 1
        };
        let (catalogue, candidates) = (&self.catalogue, self.candidates.rows);
        for (name, column, end) in [
            ("candidate", &*self.candidate, candidates),
            ("customer", &*self.customer, values(Role::Customer)),
            ("city", &*self.city, values(Role::City)),
            ("catalogue.ids", &catalogue.ids, values(Role::Product)),
            ("catalogue.candidate", &catalogue.candidate, candidates),
            ("catalogue.name", &catalogue.name, values(Role::ProductName)),
            ("catalogue.category", &catalogue.category, values(Role::Category)),
            ("catalogue.subcategory", &catalogue.subcategory, values(Role::Subcategory)),
        ] {
            if let Some(id) = column.iter().find(|&&id| id as usize >= end) {
                return Err(format!("column `{name}` has a {id}, allowed is what is below {end}"));
            }
        }
        let is_product = |id: &&u32| **id == NO_PRODUCT || (**id as usize) < catalogue.len();
        match self.product.iter().find(|id| !is_product(id)) {
            Some(id) => {
                Err(format!("column `product` has a {id}, the catalogue {} products", catalogue.len()))
            }
            None => Ok(()),
        }
    }
}
