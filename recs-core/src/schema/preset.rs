//! The eight features of a purchase.

use super::{CrossPart, DType, Encoding, Field, Role, Schema, Tower};

impl Schema {
    /// Customer, city, revenue and timestamp on the query side; product, name, category and subcategory on the
    /// candidate side, encoded as the reference model does.
    ///
    /// # Shapes
    /// Query input `[rows, 181]`, candidate input `[rows, 72]`.
    ///
    /// ```
    /// use recs_core::schema::{Schema, Tower};
    /// let schema = Schema::retail();
    /// schema.validate()?;
    /// let width = |tower| schema.encodings(tower).iter().map(|e| e.width()).sum::<usize>();
    /// assert_eq!((width(Tower::Query), width(Tower::Candidate)), (181, 72));
    /// # Ok::<(), recs_core::Error>(())
    /// ```
    pub fn retail() -> Self {
        use DType::{Bytes, Float, Int64};
        use Tower::{Candidate, Query};
        Self {
            fields: vec![
                Field::new("customer_id", Bytes, Query, Role::Customer),
                Field::new("city", Bytes, Query, Role::City),
                Field::new("revenue", Float, Query, Role::Revenue),
                Field::new("timestamp", Int64, Query, Role::Timestamp),
                Field::new("product_id", Int64, Candidate, Role::Product),
                Field::new("art_name", Bytes, Candidate, Role::ProductName),
                Field::new("category", Bytes, Candidate, Role::Category),
                Field::new("subcategory", Bytes, Candidate, Role::Subcategory),
            ],
            query: vec![
                embedding("customer_id", 64),
                embedding("city", 16),
                buckets("revenue", 32),
                Encoding::Normalised { name: "revenue_normalised".into(), field: "revenue".into() },
                Encoding::Cross {
                    name: "customer_id_x_city".into(),
                    parts: [
                        CrossPart::Text { field: "customer_id".into() },
                        CrossPart::Text { field: "city".into() },
                    ],
                    bins: 5000,
                    dim: 16,
                },
                buckets("timestamp", 32),
                Encoding::Cyclical { name: "timestamp_cyclical".into(), field: "timestamp".into() },
                Encoding::Cross {
                    name: "revenue_bucket_x_hour".into(),
                    parts: [
                        CrossPart::Bucket { field: "revenue".into() },
                        CrossPart::Hours { field: "timestamp".into() },
                    ],
                    bins: 3000,
                    dim: 12,
                },
            ],
            candidate: vec![
                embedding("product_id", 32),
                embedding("category", 16),
                embedding("subcategory", 24),
            ],
        }
    }

    /// Replaces the encodings by those of the `recommended` preset: the customer's earlier purchases on one side, the
    /// product and its bias on the other; embeddings have 256 numbers. No feature combines a customer with a day, since
    /// baskets of one day lie on both sides of a random split.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when no field has the role `product`.
    pub fn with_recommended_encodings(mut self) -> crate::Result<Self> {
        let (product, dim) = (self.role(Role::Product)?.name.clone(), 255);
        self.query =
            vec![Encoding::History { name: "history".into(), field: product.clone(), dim, table: None }];
        self.candidate =
            vec![embedding(&product, dim), Encoding::Bias { name: "product_bias".into(), field: product }];
        self.validate()?;
        Ok(self)
    }
}

fn embedding(field: &str, dim: usize) -> Encoding {
    Encoding::Embedding { name: field.into(), field: field.into(), dim, table: None }
}

fn buckets(field: &str, dim: usize) -> Encoding {
    Encoding::Buckets { name: format!("{field}_bucket"), field: field.into(), dim }
}
