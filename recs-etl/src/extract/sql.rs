//! Pieces of SQL. Names are quoted and texts escaped here and nowhere else.

/// A name as an identifier, whatever characters it holds.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal, whatever characters it holds.
pub(super) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Common table expressions, one after the other, and the `SELECT` at their end.
#[derive(Debug, Default)]
pub(super) struct Statement {
    parts: Vec<String>,
}

impl Statement {
    /// Adds `name AS (query)`.
    pub(super) fn with(&mut self, name: &str, query: impl AsRef<str>) -> &mut Self {
        self.parts.push(format!("{name} AS (\n  {}\n)", query.as_ref().replace('\n', "\n  ")));
        self
    }

    /// The whole statement.
    pub(super) fn select(&self, query: &str) -> String {
        format!("WITH {}\n{query}", self.parts.join(",\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_names() {
        assert_eq!(identifier(r#"a"; DROP TABLE x; --"#), r#""a""; DROP TABLE x; --""#);
        assert_eq!(text("O'Hara'; --"), "'O''Hara''; --'");
    }
}
