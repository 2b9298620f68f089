//! Vocabulary ids and times by the roles of fields.

use super::encoded_with::ROLES;
use super::part::Labels;
use recs_core::Result;
use recs_core::schema::{Role, Schema, Value};
use recs_core::vocab::Vocabulary;
use std::sync::Arc;

/// Where the roles stand in a row, with the lookups.
pub(super) struct Roles {
    vocabulary: Arc<Vocabulary>,
    places: Vec<(Role, usize, String)>,
    timestamp: Option<usize>,
}

impl Roles {
    pub(super) fn new(schema: &Schema, vocabulary: &Arc<Vocabulary>) -> Self {
        let place = |role: Role| schema.fields.iter().position(|f| f.role == role);
        let named = |role: Role| place(role).map(|at| (role, at, schema.fields[at].name.clone()));
        Self {
            vocabulary: Arc::clone(vocabulary),
            places: ROLES.into_iter().filter(|&role| role != Role::Timestamp).filter_map(named).collect(),
            timestamp: place(Role::Timestamp),
        }
    }

    pub(super) fn labels(&self, row: &[Value<'_>]) -> Result<Labels> {
        let mut labels = Labels::default();
        for (role, at, field) in &self.places {
            let lookup = self.vocabulary.lookup(field)?;
            let id = match row.get(*at) {
                Some(Value::Text(text)) => lookup.id(text),
                Some(Value::Int64(n)) => lookup.id(&n.to_string()),
                _ => 0,
            };
            match role {
                Role::Customer => labels.customer = id,
                Role::City => labels.city = id,
                Role::Product => labels.product = id,
                Role::ProductName => labels.name = id,
                Role::Category => labels.category = id,
                _ => labels.subcategory = id,
            }
        }
        Ok(labels)
    }

    pub(super) fn timestamp(&self, row: &[Value<'_>]) -> i64 {
        match self.timestamp.and_then(|at| row.get(at)) {
            Some(Value::Int64(seconds)) => *seconds,
            _ => 0,
        }
    }
}
