//! Configuration and schemas -> the statements of an extraction.

use super::columns::{Columns, Id};
use super::config::{ExtractConfig, decimal_share};
use super::counts::Stage;
use super::sql::{Statement, identifier, text};
use crate::day::Day;
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;

/// The statements of one extraction, checked against the tables they are about.
///
/// ```
/// use recs_etl::extract::{ExtractConfig, ExtractPlan};
/// use arrow::datatypes::{DataType, Field, Schema};
/// use std::sync::Arc;
/// let mut config = ExtractConfig { end_date: Some("2018-01-01".parse()?), ..ExtractConfig::default() };
/// config.products.table.clear();
/// let column = |name: &str, data_type| Field::new(name, data_type, true);
/// let log = Arc::new(Schema::new(vec![
///     column("customer_id", DataType::Utf8), column("product_id", DataType::Int64), column("city", DataType::Utf8),
///     column("value", DataType::Decimal128(12, 2)), column("timestamp", DataType::Date32),
/// ]));
/// let plan = ExtractPlan::new(config, &log, None)?;
/// assert!(plan.sql().contains("DATE '2017-10-03'"));
/// # Ok::<(), recs_etl::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ExtractPlan {
    pub(super) config: ExtractConfig,
    pub(super) columns: Columns,
    /// Condition on the city column, when cities are configured.
    pub(super) cities: Option<String>,
    pub(super) window: Option<(Day, Day)>,
}

impl ExtractPlan {
    /// Checks the configuration and finds its columns. `products` is the product table's schema, if there is one.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::MissingColumn`], [`Error::ColumnType`].
    pub fn new(config: ExtractConfig, log: &SchemaRef, products: Option<&SchemaRef>) -> Result<Self> {
        config.validate()?;
        let columns = Columns::find(&config, log, products)?;
        let cities = cities(&config, columns.city)?;
        let plan = Self { window: None, cities, columns, config };
        Ok(match plan.config.end_date {
            Some(last) => plan.with_last_day(last),
            None => plan,
        })
    }

    /// The same plan with its window ending on `last`. With a known window its bounds are literals, which sources use
    /// to skip what lies outside.
    #[must_use]
    pub fn with_last_day(mut self, last: Day) -> Self {
        self.window = Some((last - self.days(), last));
        self
    }

    /// Days between the first and the last one.
    pub(super) fn days(&self) -> i32 {
        i32::try_from(self.config.window_days).unwrap_or(i32::MAX)
    }

    /// First and last day of the window, where known.
    pub fn window(&self) -> Option<(Day, Day)> {
        self.window
    }

    /// The configuration.
    pub fn config(&self) -> &ExtractConfig {
        &self.config
    }

    /// The rows of the dataset: eight columns, in a stable order that is a shuffle.
    ///
    /// The order is that of a hash of each row, so that a split by position is a random one, and ties are broken by
    /// the columns: the same tables give the same rows in the same order, whatever the engine's threads.
    pub fn sql(&self) -> String {
        let product = match self.columns.product {
            Id::Integer => "CAST(product AS BIGINT)",
            Id::Text => "CAST(product AS VARCHAR)",
        };
        let mut statement = self.chain();
        statement.with("catalogue", self.catalogue()).with("purchases", self.purchases());
        let key = "CAST(customer AS VARCHAR)";
        let hashed = ["CAST(product AS VARCHAR)", "city", "CAST(day AS VARCHAR)", "CAST(copy AS VARCHAR)"];
        let salt = text(&self.config.order_salt);
        let hash =
            format!("farm_fingerprint({salt} || '|' || {key} || '|' || {})", hashed.join(" || '|' || "));
        let values = [
            key,
            product,
            "CAST(revenue AS REAL)",
            "city",
            "CAST(day AS BIGINT) * 86400",
            "name",
            "category",
            "subcategory",
        ];
        let names = self.config.output.names();
        let list: Vec<String> = values
            .iter()
            .zip(names)
            .map(|(value, name)| format!("{value} AS {}", identifier(name)))
            .collect();
        statement.select(&format!(
            "SELECT\n  {}\nFROM purchases\nORDER BY {hash}, customer, product, day, city, copy",
            list.join(",\n  ")
        ))
    }

    /// One row of counts: `rows_S`, `customers_S`, `products_S` and `revenue_S` for every [`Stage`] S, and
    /// `duplicate_products`.
    pub fn counts_sql(&self) -> String {
        let mut statement = self.chain();
        statement
            .with("judged", self.judged())
            .with(
                "staged",
                "SELECT j.customer, j.product, j.money, CASE WHEN j.passed < 5 THEN j.passed \
                 WHEN t.product IS NULL THEN 5 WHEN b.customer IS NULL THEN 6 ELSE 7 END AS passed\n\
                 FROM judged j LEFT JOIN top_products t ON j.product = t.product \
                 LEFT JOIN buyers b ON j.customer = b.customer",
            )
            .with(
                "grouped",
                "SELECT customer, product, GROUPING(customer) AS not_customer, GROUPING(product) AS not_product, \
                 MAX(level) AS level, COUNT(*) AS n, SUM(money) AS revenue\n\
                 FROM (SELECT customer, product, money, passed, passed AS level FROM staged) AS leveled\n\
                 GROUP BY GROUPING SETS ((customer), (product), (passed))",
            )
            .with("listing", self.listing());
        let mut list = Vec::new();
        for (level, stage) in Stage::ALL.iter().enumerate() {
            let by_level = format!("not_customer = 1 AND not_product = 1 AND level >= {level}");
            list.push(format!("SUM(CASE WHEN {by_level} THEN n END) AS rows_{stage}"));
            list.push(format!("SUM(CASE WHEN {by_level} THEN revenue END) AS revenue_{stage}"));
            for id in ["customer", "product"] {
                let reached = format!("not_{id} = 0 AND {id} IS NOT NULL AND level >= {level}");
                list.push(format!("COUNT(CASE WHEN {reached} THEN 1 END) AS {id}s_{stage}"));
            }
        }
        list.push("MAX(duplicates) AS duplicate_products".into());
        statement.select(&format!("SELECT\n  {}\nFROM grouped CROSS JOIN listing", list.join(",\n  ")))
    }

    /// The log at a glance, one row: `all_rows`, `null_*`, `not_finite`, `negative_values`, `last_day`.
    pub fn profile_sql(&self) -> String {
        let mut statement = Statement::default();
        statement.with("log", self.log());
        let nulls: Vec<String> =
            [("customer", "customer"), ("product", "product"), ("value", "value"), ("timestamp", "stamp")]
                .iter()
                .map(|(what, column)| format!("COUNT(*) - COUNT({column}) AS null_{what}"))
                .collect();
        statement.select(&format!(
            "SELECT COUNT(*) AS all_rows, {}, \
             SUM(CASE WHEN value IS NOT NULL AND NOT ({}) THEN 1 ELSE 0 END) AS not_finite, \
             SUM(CASE WHEN value < 0 THEN 1 ELSE 0 END) AS negative_values, MAX(day) AS last_day\nFROM log",
            nulls.join(", "),
            self.finite()
        ))
    }

    /// log -> kept -> ranked -> top_products -> baskets -> buyers.
    fn chain(&self) -> Statement {
        let (reached, whole) = decimal_share(self.config.revenue_share).unwrap_or((1, 1));
        let mut conditions = vec![self.complete()];
        conditions.extend(
            [Some(self.in_window()), Some("value > 0".into()), self.cities.clone(), self.sampled()]
                .into_iter()
                .flatten(),
        );
        let money = self.money();
        let mut statement = Statement::default();
        statement
            .with("log", self.log())
            .with(
                "kept",
                format!(
                    "SELECT customer, product, city, day, {money} AS money\nFROM log\nWHERE {}",
                    conditions.join("\n  AND ")
                ),
            )
            .with("product_revenue", "SELECT product, SUM(money) AS revenue FROM kept GROUP BY product")
            .with(
                "ranked",
                "SELECT product, revenue, SUM(revenue) OVER () AS total, SUM(revenue) OVER \
                 (ORDER BY revenue DESC, product ASC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running\n\
                 FROM product_revenue",
            )
            // The shortest prefix that reaches the share: those before which it was not yet reached.
            .with(
                "top_products",
                format!("SELECT product FROM ranked WHERE (running - revenue) * {whole} < total * {reached}"),
            )
            .with("baskets", "SELECT k.* FROM kept k JOIN top_products t ON k.product = t.product")
            .with(
                "buyers",
                format!(
                    "SELECT customer, SUM(money) AS revenue FROM baskets\nGROUP BY customer HAVING COUNT(DISTINCT product) >= {}",
                    self.config.min_products
                ),
            );
        statement
    }
}

/// The condition that keeps the configured cities, on the raw column.
fn cities(config: &ExtractConfig, city: Option<Id>) -> Result<Option<String>> {
    let Some(id) = city.filter(|_| !config.cities.is_empty()) else { return Ok(None) };
    let mut literals = Vec::with_capacity(config.cities.len());
    for name in &config.cities {
        let raw = name.strip_prefix(&config.city_prefix).unwrap_or(name);
        literals.push(match id {
            Id::Text => text(raw),
            Id::Integer => {
                raw.parse::<i64>().ok().filter(|n| n.to_string() == raw).map(|n| n.to_string()).ok_or_else(
                    || {
                        Error::config(
                            "extract.cities",
                            format!("`{name}`: the city column holds integers, `{raw}` is none"),
                        )
                    },
                )?
            }
        });
    }
    Ok(Some(format!("city IN ({})", literals.join(", "))))
}
