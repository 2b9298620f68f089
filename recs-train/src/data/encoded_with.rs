//! What rows were encoded with: by it data know the models that can read them.

use recs_core::Result;
use recs_core::hash::fingerprint64;
use recs_core::schema::{CrossPart, Encoding, Role, Schema, Tower};
use recs_core::vocab::Vocabulary;
use std::collections::BTreeMap;

/// Roles whose ids or times stand in columns of their own.
pub(super) const ROLES: [Role; 7] = [
    Role::Customer,
    Role::City,
    Role::Product,
    Role::ProductName,
    Role::Category,
    Role::Subcategory,
    Role::Timestamp,
];
/// Bytes that are hashed at a time.
const BLOCK_BYTES: usize = 1 << 16;

/// Encodings, roles and vocabularies that columns follow from.
///
/// Names, widths and shared tables are no part of it, nor are histories, which are no columns: models that differ in them
/// alone read the same data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodedWith {
    query: Vec<Encoding>,
    candidate: Vec<Encoding>,
    /// Field of each role.
    roles: Vec<(Role, String)>,
    /// Digest of each field's values, boundaries and statistics.
    vocabularies: BTreeMap<String, u64>,
}

impl EncodedWith {
    /// What a schema and a vocabulary make of rows. O(bytes of the vocabulary).
    ///
    /// # Errors
    /// [`recs_core::Error::MissingVocabulary`] when vocabulary and schema do not fit.
    pub fn new(schema: &Schema, vocabulary: &Vocabulary) -> Result<Self> {
        vocabulary.check(schema)?;
        let mut all = Self::of_schema(schema);
        let digest = |name: &String| (name.clone(), digest(vocabulary, name));
        all.vocabularies = schema.fields.iter().map(|field| digest(&field.name)).collect();
        Ok(all)
    }

    /// Columns and roles alone.
    fn of_schema(schema: &Schema) -> Self {
        let role = |role: Role| schema.find_role(role).map(|field| (role, field.name.clone()));
        Self {
            query: columns(schema.encodings(Tower::Query)),
            candidate: columns(schema.encodings(Tower::Candidate)),
            roles: ROLES.into_iter().filter_map(role).collect(),
            vocabularies: BTreeMap::new(),
        }
    }

    /// Whether models of these schemas read the same columns.
    pub(crate) fn same_columns(a: &Schema, b: &Schema) -> bool {
        Self::of_schema(a).other_columns(b).is_empty()
    }

    /// Ids and numbers that a row of a tower has.
    pub(super) fn widths(&self, tower: Tower) -> [usize; 2] {
        let columns = self.columns(tower);
        let numbers = columns.iter().filter(|column| !column.has_table()).map(Encoding::width).sum();
        [columns.iter().filter(|column| column.has_id()).count(), numbers]
    }

    fn columns(&self, tower: Tower) -> &[Encoding] {
        match tower {
            Tower::Query => &self.query,
            Tower::Candidate => &self.candidate,
        }
    }

    /// In what a model's schema reads other columns, for people.
    pub(super) fn other_columns(&self, schema: &Schema) -> Vec<String> {
        let (reads, mut all) = (Self::of_schema(schema), Vec::new());
        for tower in [Tower::Query, Tower::Candidate] {
            let (ours, theirs) = (self.columns(tower), reads.columns(tower));
            if ours != theirs {
                let (tower, ours, theirs) = (tower.name(), shown(ours), shown(theirs));
                all.push(format!("its {tower} tower reads {theirs}, the data hold {ours}"));
            }
        }
        for role in ROLES {
            let field = |roles: &[(Role, String)]| roles.iter().find(|r| r.0 == role).map(|r| r.1.clone());
            let (ours, theirs) = (field(&self.roles), field(&reads.roles));
            if ours != theirs {
                let shown = |field: Option<String>| field.map_or("none".into(), |f| format!("`{f}`"));
                all.push(format!(
                    "its field of role {role:?} is {}, the data's {}",
                    shown(theirs),
                    shown(ours)
                ));
            }
        }
        all
    }

    /// Fields whose values, boundaries or statistics are others in `vocabulary`.
    pub(super) fn other_vocabularies(&self, vocabulary: &Vocabulary) -> Vec<&str> {
        let other = |(name, own): &(&String, &u64)| digest(vocabulary, name) != **own;
        self.vocabularies.iter().filter(other).map(|(name, _)| name.as_str()).collect()
    }
}

/// What stands in a row: ids, then numbers.
fn columns(encodings: &[Encoding]) -> Vec<Encoding> {
    let ids = encodings.iter().filter(|encoding| encoding.has_id());
    ids.chain(encodings.iter().filter(|encoding| !encoding.has_table())).map(column).collect()
}

/// Without what changes no number of a row. A bias has the ids of an embedding.
fn column(encoding: &Encoding) -> Encoding {
    let mut column = encoding.clone();
    match &mut column {
        Encoding::Embedding { name, dim, table, .. }
        | Encoding::History { name, dim, table, .. }
        | Encoding::NGrams { name, dim, table, .. } => {
            name.clear();
            (*dim, *table) = (0, None);
        }
        Encoding::Buckets { name, dim, .. } | Encoding::Cross { name, dim, .. } => {
            name.clear();
            *dim = 0;
        }
        Encoding::Normalised { name, .. } | Encoding::Cyclical { name, .. } => name.clear(),
        Encoding::Bias { field, .. } => {
            let (name, field) = (String::new(), std::mem::take(field));
            return Encoding::Embedding { name, field, dim: 0, table: None };
        }
    }
    column
}

fn shown(columns: &[Encoding]) -> String {
    let part = |part: &CrossPart| match part {
        CrossPart::Text { field } => field.clone(),
        CrossPart::Bucket { field } => format!("bucket of {field}"),
        CrossPart::Hours { field } => format!("hours of {field}"),
    };
    let of = |column: &Encoding| match column {
        Encoding::Embedding { field, .. }
        | Encoding::Bias { field, .. }
        | Encoding::History { field, .. } => {
            format!("ids of {field}")
        }
        Encoding::Buckets { field, .. } => format!("buckets of {field}"),
        Encoding::Normalised { field, .. } => format!("{field} normalised"),
        Encoding::Cyclical { field, .. } => format!("phases of {field}"),
        Encoding::Cross { parts: [a, b], bins, .. } => {
            format!("cross of {} and {} in {bins} bins", part(a), part(b))
        }
        Encoding::NGrams { field, from, to, words, bins, .. } => {
            let words = if *words { " and words" } else { "" };
            format!("n-grams{words} of {field}, {from} to {to} characters, in {bins} bins")
        }
    };
    format!("[{}]", columns.iter().map(of).collect::<Vec<_>>().join("; "))
}

/// Of everything that encodes a field's values.
fn digest(vocabulary: &Vocabulary, field: &str) -> u64 {
    let mut all = Blocks::default();
    if let Ok(lookup) = vocabulary.lookup(field) {
        lookup.values().for_each(|value| all.push(value.as_bytes()));
    }
    if let Ok(buckets) = vocabulary.buckets(field) {
        buckets.boundaries().iter().for_each(|boundary| all.push(&boundary.to_bits().to_le_bytes()));
    }
    if let Ok(stats) = vocabulary.stats(field) {
        // As 32-bit numbers, which the encoder computes with: a deviation that was written to a file and read again may
        // differ in its last bit.
        for number in [stats.mean, stats.std()] {
            all.push(&(number as f32).to_bits().to_le_bytes());
        }
    }
    all.finish()
}

/// Hashes values one after the other, without holding them all.
#[derive(Default)]
struct Blocks {
    state: u64,
    block: Vec<u8>,
}

impl Blocks {
    fn push(&mut self, value: &[u8]) {
        self.block.extend((value.len() as u64).to_le_bytes());
        self.block.extend(value);
        if self.block.len() >= BLOCK_BYTES {
            self.state = self.close();
        }
    }

    fn close(&mut self) -> u64 {
        self.block.extend(self.state.to_le_bytes());
        let hash = fingerprint64(&self.block);
        self.block.clear();
        hash
    }

    fn finish(mut self) -> u64 {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recs_core::schema::Value;
    use recs_core::vocab::{VocabularyBuilder, VocabularyConfig};

    fn vocabulary(names: &[&str]) -> Vocabulary {
        use Value::{Float, Int64, Text};
        let mut builder = VocabularyBuilder::new(&Schema::retail(), &VocabularyConfig::default()).unwrap();
        for (i, name) in (0..).zip(names) {
            let revenue = Float(1.3 * (i as f32).sqrt());
            let row =
                [Text("c"), Text("city"), revenue, Int64(i), Int64(i), Text(name), Text("a"), Text("b")];
            builder.push(&row).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn what_changes_no_column_is_no_difference() {
        let (schema, vocabulary) = (Schema::retail(), vocabulary(&["x", "y", "z"]));
        let own = EncodedWith::new(&schema, &vocabulary).unwrap();
        let mut other = schema.clone();
        let (mut dims, mut shared) = (0, 0);
        for encoding in other.query.iter_mut().chain(&mut other.candidate) {
            match encoding {
                Encoding::Embedding { name, dim, table, .. } => {
                    (*name, *dim, *table) = (format!("{name}_2"), *dim + 3, Some(format!("t{dim}")));
                    shared += 1;
                }
                Encoding::Buckets { dim, .. } | Encoding::Cross { dim, .. } => {
                    (*dim, dims) = (*dim + 1, dims + 1)
                }
                _ => {}
            }
        }
        assert!(shared > 1 && dims > 1);
        let (name, field) = (String::from("history"), String::from("product_id"));
        other
            .query
            .insert(0, Encoding::History { name: name.clone(), field: field.clone(), dim: 4, table: None });
        assert!(own.other_columns(&other).is_empty());
        // A bias has the ids of an embedding.
        let [mut embedding, mut bias] = [schema.clone(), schema];
        embedding.candidate.push(Encoding::Embedding {
            name: name.clone(),
            field: field.clone(),
            dim: 4,
            table: None,
        });
        bias.candidate.push(Encoding::Bias { name, field });
        assert!(EncodedWith::new(&bias, &vocabulary).unwrap().other_columns(&embedding).is_empty());
        assert!(!own.other_columns(&bias).is_empty());
    }

    #[test]
    fn what_changes_columns_is_told() {
        let (schema, vocabulary) = (Schema::retail(), vocabulary(&["x", "y", "z"]));
        let own = EncodedWith::new(&schema, &vocabulary).unwrap();
        let changed = |change: fn(&mut Encoding) -> bool| {
            let mut other = schema.clone();
            assert!(other.query.iter_mut().chain(&mut other.candidate).any(change));
            own.other_columns(&other).concat()
        };
        let bins = changed(|encoding| match encoding {
            Encoding::Cross { bins, .. } => {
                *bins += 1;
                true
            }
            _ => false,
        });
        assert!(bins.contains("query tower") && bins.contains("in 5001 bins"), "{bins}");
        let field = changed(|encoding| match encoding {
            Encoding::Embedding { field, .. } if field == "product_id" => {
                *field = "category".into();
                true
            }
            _ => false,
        });
        assert!(field.contains("candidate tower reads [ids of category"), "{field}");
        let mut role = schema.clone();
        role.fields.retain(|field| field.role != Role::City);
        assert!(own.other_columns(&role).concat().contains("role City is none"));
    }

    #[test]
    fn a_vocabulary_is_known_by_its_values_and_after_it_was_written() {
        let (schema, first) = (Schema::retail(), vocabulary(&["x", "y", "z"]));
        let own = EncodedWith::new(&schema, &first).unwrap();
        let read = Vocabulary::parse(&first.to_json(&schema).unwrap(), &schema, "v").unwrap();
        assert!(own.other_vocabularies(&read).is_empty());
        assert_eq!(own.other_vocabularies(&vocabulary(&["x", "y", "a"])), ["art_name"]);
        assert_eq!(own.other_vocabularies(&vocabulary(&["x", "yz", ""])), ["art_name"]);
    }
}
