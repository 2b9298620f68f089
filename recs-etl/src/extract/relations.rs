//! The relations that the statements are made of: the log under our names, its conditions, the catalogue.

use super::columns::When;
use super::config::decimal_share;
use super::plan::ExtractPlan;
use super::sql::{identifier, text};

/// Values beyond this are refused: no money is, and sums of them could leave 38 digits.
const LARGEST_VALUE: &str = "1e18";

/// Days within which a timestamp in nanoseconds exists.
const NANOSECOND_DAYS: std::ops::Range<i32> = -106_000..106_000;

impl ExtractPlan {
    /// The log under our names. `day` counts from 1970-01-01.
    pub(super) fn log(&self) -> String {
        let names = &self.config.transactions;
        let city = match self.columns.city {
            Some(_) => identifier(&names.city),
            None => "CAST(NULL AS VARCHAR)".into(),
        };
        let stamp = identifier(&names.timestamp);
        format!(
            "SELECT {} AS customer, {} AS product, {city} AS city, {} AS value, {stamp} AS stamp, {} AS day\nFROM {}",
            identifier(&names.customer),
            identifier(&names.product),
            identifier(&names.value),
            self.day(&stamp),
            identifier(&names.table)
        )
    }

    pub(super) fn day(&self, stamp: &str) -> String {
        let zone = text(&self.config.time_zone);
        let of = |date: String| format!("CAST(CAST({date} AS DATE) AS INT)");
        match self.columns.when {
            When::Date | When::Local => of(stamp.into()),
            When::Instant => of(format!("({stamp} AT TIME ZONE {zone})")),
            When::Text => of(format!("CAST({stamp} AS TIMESTAMP)")),
            When::UnixSeconds if self.config.time_zone == "UTC" => {
                let seconds = format!("CAST({stamp} AS BIGINT)");
                format!("CAST(({seconds} - (({seconds} % 86400) + 86400) % 86400) / 86400 AS INT)")
            }
            When::UnixSeconds => {
                of(format!("(to_timestamp_seconds({stamp}) AT TIME ZONE 'UTC' AT TIME ZONE {zone})"))
            }
        }
    }

    pub(super) fn complete(&self) -> String {
        "customer IS NOT NULL AND product IS NOT NULL AND value IS NOT NULL AND stamp IS NOT NULL".into()
    }

    /// On the raw column where possible, so that sources can skip what lies outside.
    pub(super) fn in_window(&self) -> String {
        let Some((first, last)) = self.window else {
            return format!("day > (SELECT MAX(day) FROM log) - {}", u64::from(self.config.window_days) + 1);
        };
        let after = last + 1;
        let plain =
            NANOSECOND_DAYS.contains(&first.epoch_days()) && NANOSECOND_DAYS.contains(&after.epoch_days());
        match self.columns.when {
            // Below the day after: a 64-bit date may hold a time of day.
            When::Date if plain => format!("stamp >= DATE '{first}' AND stamp < DATE '{after}'"),
            When::Local if plain => {
                format!("stamp >= TIMESTAMP '{first} 00:00:00' AND stamp < TIMESTAMP '{after} 00:00:00'")
            }
            When::UnixSeconds if self.config.time_zone == "UTC" => {
                format!("stamp >= {} AND stamp < {}", first.unix_seconds(), after.unix_seconds())
            }
            _ => format!("day BETWEEN {} AND {}", first.epoch_days(), last.epoch_days()),
        }
    }

    pub(super) fn sampled(&self) -> Option<String> {
        let (kept, whole) = decimal_share(self.config.sample_fraction)?;
        if kept == whole {
            return None;
        }
        let hashes = (u128::from(kept) << 64) / u128::from(whole);
        let threshold = i128::try_from(hashes).ok()? - (1i128 << 63);
        let salt = text(&self.config.sample_salt);
        Some(format!("farm_fingerprint({salt} || ':' || CAST(customer AS VARCHAR)) < {threshold}"))
    }

    pub(super) fn money(&self) -> String {
        format!("CAST(value AS DECIMAL(38,{}))", self.config.money_scale)
    }

    /// True of values that money can be; never of NaN, whichever way an engine orders it.
    pub(super) fn finite(&self) -> String {
        match self.columns.unbounded_value {
            true => {
                let value = "CAST(value AS DOUBLE)";
                format!("{value} > -{LARGEST_VALUE} AND {value} < {LARGEST_VALUE}")
            }
            false => "TRUE".into(),
        }
    }

    /// Every row of the log with the last stage that it passed of those judged row by row.
    pub(super) fn judged(&self) -> String {
        let otherwise = [
            Some(self.complete()),
            Some(self.in_window()),
            Some("value > 0".into()),
            self.cities.clone(),
            self.sampled(),
        ];
        let mut cases = String::new();
        for (level, condition) in otherwise.iter().enumerate() {
            if let Some(condition) = condition {
                cases.push_str(&format!("\n  WHEN NOT COALESCE({condition}, FALSE) THEN {level}"));
            }
        }
        format!(
            "SELECT customer, product, CASE WHEN {} THEN {} END AS money, CASE{cases}\n  ELSE 5 END AS passed\nFROM log",
            self.finite(),
            self.money()
        )
    }

    /// One row a product: the first of its rows in text order.
    pub(super) fn catalogue(&self) -> String {
        let names = &self.config.products;
        if self.columns.listed_product.is_none() {
            return "SELECT CAST(NULL AS VARCHAR) AS product, CAST(NULL AS VARCHAR) AS name, \
                    CAST(NULL AS VARCHAR) AS category, CAST(NULL AS VARCHAR) AS subcategory"
                .into();
        }
        let column = |name: &str| match name {
            "" => "CAST(NULL AS VARCHAR)".into(),
            name => format!("CAST({} AS VARCHAR)", identifier(name)),
        };
        format!(
            "SELECT product, name, category, subcategory FROM (\n  SELECT *, ROW_NUMBER() OVER (PARTITION BY product \
             ORDER BY name NULLS LAST, category NULLS LAST, subcategory NULLS LAST) AS place\n  FROM (SELECT {} AS \
             product, {} AS name, {} AS category, {} AS subcategory FROM {}) AS listed\n  WHERE product IS NOT NULL\n) \
             AS placed WHERE place = 1",
            identifier(&names.product),
            column(&names.name),
            column(&names.category),
            column(&names.subcategory),
            identifier(&names.table)
        )
    }

    pub(super) fn listing(&self) -> String {
        match self.columns.listed_product {
            None => "SELECT CAST(0 AS BIGINT) AS duplicates".into(),
            Some(_) => {
                let product = identifier(&self.config.products.product);
                let table = identifier(&self.config.products.table);
                format!("SELECT COUNT({product}) - COUNT(DISTINCT {product}) AS duplicates FROM {table}")
            }
        }
    }

    /// The rows that come out, before their order: equal purchases of a day are numbered, so that they need not stand
    /// side by side.
    pub(super) fn purchases(&self) -> String {
        let missing = text(&self.config.missing_text);
        let city =
            format!("COALESCE({} || CAST(b.city AS VARCHAR), {missing})", text(&self.config.city_prefix));
        let (left, right) = match self.columns.listed_product {
            Some(listed) if listed == self.columns.product => ("b.product", "m.product"),
            _ => ("CAST(b.product AS VARCHAR)", "CAST(m.product AS VARCHAR)"),
        };
        format!(
            "SELECT b.customer, b.product, c.revenue, {city} AS city, b.day, \
             COALESCE(m.name, {missing}) AS name, COALESCE(m.category, {missing}) AS category, \
             COALESCE(m.subcategory, {missing}) AS subcategory, \
             ROW_NUMBER() OVER (PARTITION BY b.customer, b.product, b.city, b.day) AS copy\n\
             FROM baskets b JOIN buyers c ON b.customer = c.customer LEFT JOIN catalogue m ON {left} = {right}"
        )
    }
}
