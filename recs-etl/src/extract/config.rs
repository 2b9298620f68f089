//! Every number and name of the extraction.

use crate::day::Day;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What to extract, from which tables, under which names.
///
/// The default is the usual 90-day extraction: the products that make 80 % of the revenue, customers with at least
/// three of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ExtractConfig {
    /// The purchase log.
    pub transactions: TransactionColumns,
    /// The product table.
    pub products: ProductColumns,
    /// Names of the columns that come out.
    pub output: OutputColumns,
    /// Days before the last one; both ends belong to the window, so 90 spans 91 calendar days.
    pub window_days: u32,
    /// Last day of the window; the last day in the log unless set.
    pub end_date: Option<Day>,
    /// Share of the window's revenue that the kept products must reach, above 0 and at most 1.
    pub revenue_share: f64,
    /// Distinct kept products that a customer must have bought.
    pub min_products: u32,
    /// Cities to keep, as they appear in the output; empty keeps all.
    pub cities: Vec<String>,
    /// Share of the customers to keep, above 0 and at most 1. Chosen by a hash of the customer, so the same customers
    /// stay, and a smaller sample is part of a larger one.
    pub sample_fraction: f64,
    /// Another text chooses other customers.
    pub sample_salt: String,
    /// Another text puts the rows into another order.
    pub order_salt: String,
    /// Digits after the point that money is summed with, 0 to 9. Finer amounts are rounded to it row by row.
    pub money_scale: u8,
    /// Stands where a product has no name, category or subcategory, and a row no city.
    pub missing_text: String,
    /// Put before the city's id: `store_`.
    pub city_prefix: String,
    /// The zone whose days are counted, for timestamps that are points in time. Timestamps without a zone are taken as
    /// they stand.
    pub time_zone: String,
    /// What to do about rows without customer, product, value or timestamp.
    pub on_null: OnNull,
}

/// What to do about incomplete rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnNull {
    /// Refuse the log.
    #[default]
    Error,
    /// Leave them out, counted.
    Drop,
}

/// The purchase log: one row a purchased product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TransactionColumns {
    /// Name of the table.
    pub table: String,
    /// Who bought: integer or text.
    pub customer: String,
    /// What: integer or text.
    pub product: String,
    /// Where: integer or text; empty when the log has no such column.
    pub city: String,
    /// Money paid: integer, float or decimal.
    pub value: String,
    /// When: date, timestamp, integer Unix seconds, or ISO text.
    pub timestamp: String,
}

/// The product table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ProductColumns {
    /// Name of the table; empty when there is none.
    pub table: String,
    /// The product's id.
    pub product: String,
    /// Its name; empty when there is none.
    pub name: String,
    /// Its category; empty when there is none.
    pub category: String,
    /// Its subcategory; empty when there is none.
    pub subcategory: String,
}

/// Names of the columns that come out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct OutputColumns {
    /// Text.
    pub customer_id: String,
    /// 64-bit integer where the log's is an integer, otherwise text.
    pub product_id: String,
    /// 32-bit float: the customer's total over the rows kept.
    pub revenue: String,
    /// Text.
    pub city: String,
    /// 64-bit integer: Unix seconds of the day's midnight.
    pub timestamp: String,
    /// Text.
    pub art_name: String,
    /// Text.
    pub category: String,
    /// Text.
    pub subcategory: String,
}

impl Default for ExtractConfig {
    fn default() -> Self {
        Self {
            transactions: TransactionColumns::default(),
            products: ProductColumns::default(),
            output: OutputColumns::default(),
            window_days: 90,
            end_date: None,
            revenue_share: 0.80,
            min_products: 3,
            cities: Vec::new(),
            sample_fraction: 1.0,
            sample_salt: "recs-sample".into(),
            order_salt: "recs-order".into(),
            money_scale: 2,
            missing_text: "N/A".into(),
            city_prefix: String::new(),
            time_zone: "UTC".into(),
            on_null: OnNull::Error,
        }
    }
}

impl Default for TransactionColumns {
    fn default() -> Self {
        Self {
            table: "transactions".into(),
            customer: "customer_id".into(),
            product: "product_id".into(),
            city: "city".into(),
            value: "value".into(),
            timestamp: "timestamp".into(),
        }
    }
}

impl Default for ProductColumns {
    fn default() -> Self {
        Self {
            table: "products".into(),
            product: "product_id".into(),
            name: "art_name".into(),
            category: "category".into(),
            subcategory: "subcategory".into(),
        }
    }
}

impl Default for OutputColumns {
    fn default() -> Self {
        Self {
            customer_id: "customer_id".into(),
            product_id: "product_id".into(),
            revenue: "revenue".into(),
            city: "city".into(),
            timestamp: "timestamp".into(),
            art_name: "art_name".into(),
            category: "category".into(),
            subcategory: "subcategory".into(),
        }
    }
}

impl OutputColumns {
    /// The eight names in output order.
    pub fn names(&self) -> [&str; 8] {
        [
            &self.customer_id,
            &self.product_id,
            &self.revenue,
            &self.city,
            &self.timestamp,
            &self.art_name,
            &self.category,
            &self.subcategory,
        ]
    }
}

/// Most digits that a share or fraction may be written with: it is compared as a decimal.
pub(super) const SHARE_DIGITS: usize = 9;

impl ExtractConfig {
    /// Checks every number and name.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, problem: String| Err(Error::config(format!("extract.{field}"), problem));
        if !(1..=36_500).contains(&self.window_days) {
            return refuse("window_days", format!("is {}, allowed are 1 to 36500", self.window_days));
        }
        share("revenue_share", self.revenue_share)?;
        share("sample_fraction", self.sample_fraction)?;
        if self.min_products == 0 {
            return refuse("min_products", "is 0, must be at least 1".into());
        }
        if self.money_scale > 9 {
            return refuse("money_scale", format!("is {}, allowed are 0 to 9", self.money_scale));
        }
        let zone = &self.time_zone;
        let zone_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+' | ':');
        if zone.is_empty() || zone.len() > 64 || !zone.chars().all(zone_like) {
            return refuse("time_zone", format!("{zone:?} is no zone like UTC, Europe/Berlin or +02:00"));
        }
        if self.missing_text.is_empty() {
            return refuse("missing_text", "is empty; an empty name cannot be told from a lost one".into());
        }
        self.validate_names()
    }

    fn validate_names(&self) -> Result<()> {
        let log = &self.transactions;
        let mut required = vec![
            ("transactions.table", &log.table),
            ("transactions.customer", &log.customer),
            ("transactions.product", &log.product),
            ("transactions.value", &log.value),
            ("transactions.timestamp", &log.timestamp),
        ];
        if !self.products.table.is_empty() {
            required.push(("products.product", &self.products.product));
        }
        if let Some((field, _)) = required.iter().find(|(_, name)| name.is_empty()) {
            return Err(Error::config(format!("extract.{field}"), "is empty"));
        }
        let names = self.output.names();
        for (i, name) in names.iter().enumerate() {
            if name.is_empty() || names[..i].contains(name) {
                let what = if name.is_empty() {
                    "a name is empty".into()
                } else {
                    format!("`{name}` is there twice")
                };
                return Err(Error::config("extract.output", what));
            }
        }
        match self.cities.iter().find(|city| !city.starts_with(&self.city_prefix)) {
            Some(city) => {
                let problem =
                    format!("`{city}` does not begin with extract.city_prefix, `{}`", self.city_prefix);
                Err(Error::config("extract.cities", problem))
            }
            None if !self.cities.is_empty() && log.city.is_empty() => {
                Err(Error::config("extract.cities", "cannot be kept: transactions.city names no column"))
            }
            None => Ok(()),
        }
    }
}

fn share(field: &str, value: f64) -> Result<()> {
    let refuse = |problem: String| Err(Error::config(format!("extract.{field}"), problem));
    if !(value > 0.0 && value <= 1.0) {
        return refuse(format!("is {value}, must be above 0 and at most 1"));
    }
    match decimal_share(value) {
        Some(_) => Ok(()),
        None => refuse(format!("is {value}, more than {SHARE_DIGITS} digits after the point")),
    }
}

/// A share as whole numbers: 0.8 is (8, 10). `None` with too many digits.
pub(super) fn decimal_share(value: f64) -> Option<(u64, u64)> {
    let text = value.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if fraction.len() > SHARE_DIGITS {
        return None;
    }
    let digits = u32::try_from(fraction.len()).ok()?;
    Some((format!("{whole}{fraction}").parse().ok()?, 10u64.pow(digits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        ExtractConfig::default().validate().unwrap();
    }

    #[test]
    fn shares_are_exact_decimals() {
        assert_eq!(decimal_share(0.8), Some((8, 10)));
        assert_eq!(decimal_share(1.0), Some((1, 1)));
        assert_eq!(decimal_share(0.123_456_789), Some((123_456_789, 1_000_000_000)));
        assert_eq!(decimal_share(1.0 / 3.0), None);
    }

    #[test]
    fn every_number_has_a_range() {
        type Change = fn(&mut ExtractConfig);
        let changes: [(&str, Change); 13] = [
            ("window_days", |c| c.window_days = 0),
            ("window_days", |c| c.window_days = 36_501),
            ("revenue_share", |c| c.revenue_share = 0.0),
            ("revenue_share", |c| c.revenue_share = 1.1),
            ("revenue_share", |c| c.revenue_share = f64::NAN),
            ("sample_fraction", |c| c.sample_fraction = -0.5),
            ("min_products", |c| c.min_products = 0),
            ("money_scale", |c| c.money_scale = 10),
            ("time_zone", |c| c.time_zone = "UTC'; DROP".into()),
            ("transactions.customer", |c| c.transactions.customer.clear()),
            ("output", |c| c.output.city = "revenue".into()),
            ("cities", |c| (c.city_prefix, c.cities) = ("store_".into(), vec!["441".into()])),
            ("missing_text", |c| c.missing_text.clear()),
        ];
        for (field, change) in changes {
            let mut config = ExtractConfig::default();
            change(&mut config);
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(&format!("extract.{field}")), "{field}: {message}");
        }
    }
}
