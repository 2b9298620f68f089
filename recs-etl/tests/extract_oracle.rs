//! The extraction against a naive one in plain Rust, on small random logs full of ties, duplicates and edges.

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Date64Array, Decimal128Array, Float64Array, Int64Array,
    LargeStringArray, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Float32Type, Int64Type};
use futures::TryStreamExt;
use proptest::prelude::*;
use recs_core::hash::fingerprint64;
use recs_core::observe::{CancelToken, Silent};
use recs_etl::engine::{DataFusionConfig, DataFusionEngine, Tables};
use recs_etl::extract::{ExtractConfig, Stage, extract};
use recs_etl::source::{MemorySource, Source};
use recs_etl::{Day, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// 2018-01-01.
const EPOCH_DAY: i32 = 17_532;

#[derive(Debug, Clone)]
struct Purchase {
    customer: u8,
    product: i64,
    city: Option<u8>,
    cents: i64,
    day: i32,
    second: i64,
}

type Listed = (i64, Option<&'static str>, Option<&'static str>);

/// How the columns are stored, and the settings.
#[derive(Debug, Clone)]
struct Case {
    log: Vec<Purchase>,
    products: Vec<Listed>,
    text_products: bool,
    value_type: u8,
    time_type: u8,
    config: ExtractConfig,
}

fn purchase() -> impl Strategy<Value = Purchase> {
    let cents = prop_oneof![Just(0i64), Just(-250), Just(100), Just(100), Just(250), 1i64..2000];
    let second = prop_oneof![Just(0i64), Just(86_399), Just(43_200)];
    let city = proptest::option::weighted(0.9, 1u8..4);
    (1u8..6, 1i64..12, city, cents, -6i32..6, second).prop_map(
        |(customer, product, city, cents, day, second)| Purchase {
            customer,
            product,
            city,
            cents,
            day: EPOCH_DAY + day,
            second,
        },
    )
}

fn listed() -> impl Strategy<Value = Listed> {
    let text = || proptest::option::of(prop_oneof![Just("a"), Just("b"), Just("Ä"), Just("")]);
    (1i64..14, text(), text())
}

fn config() -> impl Strategy<Value = ExtractConfig> {
    let end = proptest::option::of(-3i32..4);
    let cities = proptest::collection::vec((1u8..4).prop_map(|c| format!("store_{c}")), 0..3);
    (1u32..8, end, 1u32..=10, 1u32..4, cities, prop_oneof![Just(1.0), Just(0.5)]).prop_map(
        |(window_days, end, tenths, min_products, cities, sample_fraction)| ExtractConfig {
            window_days,
            end_date: end.map(|d| Day::from_epoch_days(EPOCH_DAY + d)),
            revenue_share: f64::from(tenths) / 10.0,
            min_products,
            cities,
            sample_fraction,
            city_prefix: "store_".into(),
            ..ExtractConfig::default()
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let log = proptest::collection::vec(purchase(), 0..80);
    let products = proptest::collection::vec(listed(), 0..20);
    (log, products, any::<bool>(), 0u8..3, 0u8..6, config()).prop_map(
        |(log, products, text_products, value_type, time_type, config)| Case {
            log,
            products,
            text_products,
            value_type,
            time_type,
            config,
        },
    )
}

fn ids(text: bool, products: impl Iterator<Item = i64>) -> ArrayRef {
    match text {
        true => Arc::new(products.map(|p| Some(p.to_string())).collect::<LargeStringArray>()),
        false => Arc::new(products.collect::<Int64Array>()),
    }
}

impl Case {
    fn tables(&self) -> Tables {
        let log = &self.log;
        let seconds = || log.iter().map(|p| i64::from(p.day) * 86_400 + p.second);
        let value: ArrayRef = match self.value_type {
            0 => Arc::new(log.iter().map(|p| p.cents as f64 / 100.0).collect::<Float64Array>()),
            1 => {
                let cents: Decimal128Array = log.iter().map(|p| Some(i128::from(p.cents) * 100)).collect();
                Arc::new(cents.with_precision_and_scale(20, 4).unwrap())
            }
            _ => {
                let cents: Decimal128Array = log.iter().map(|p| Some(i128::from(p.cents))).collect();
                Arc::new(cents.with_precision_and_scale(9, 2).unwrap())
            }
        };
        let timestamp: ArrayRef = match self.time_type {
            0 => Arc::new(TimestampMicrosecondArray::from_iter_values(seconds().map(|s| s * 1_000_000))),
            1 => Arc::new(TimestampNanosecondArray::from_iter_values(seconds().map(|s| s * 1_000_000_000))),
            2 => Arc::new(Date32Array::from_iter_values(log.iter().map(|p| p.day))),
            3 => Arc::new(seconds().collect::<Int64Array>()),
            // Milliseconds, which may hold a time of day.
            4 => Arc::new(Date64Array::from_iter_values(seconds().map(|s| s * 1000))),
            _ => Arc::new(
                TimestampMicrosecondArray::from_iter_values(seconds().map(|s| s * 1_000_000))
                    .with_timezone("+00:00"),
            ),
        };
        let rows = RecordBatch::try_from_iter_with_nullable([
            (
                "customer_id",
                Arc::new(log.iter().map(|p| Some(format!("c{}", p.customer))).collect::<StringArray>())
                    as ArrayRef,
                true,
            ),
            ("product_id", ids(self.text_products, log.iter().map(|p| p.product)), true),
            ("city", Arc::new(log.iter().map(|p| p.city.map(i64::from)).collect::<Int64Array>()), true),
            ("value", value, true),
            ("timestamp", timestamp, true),
        ])
        .unwrap();
        let text = |values: Vec<Option<&'static str>>| Arc::new(StringArray::from(values)) as ArrayRef;
        let products = RecordBatch::try_from_iter_with_nullable([
            ("product_id", ids(self.text_products, self.products.iter().map(|p| p.0)), true),
            ("art_name", text(self.products.iter().map(|p| p.1).collect()), true),
            ("category", text(self.products.iter().map(|p| p.2).collect()), true),
            ("subcategory", text(self.products.iter().map(|p| p.1).collect()), true),
        ])
        .unwrap();
        let source = MemorySource::new("case")
            .with_table("transactions", rows.schema(), vec![rows])
            .and_then(|s| s.with_table("products", products.schema(), vec![products]));
        let source: Arc<dyn Source> = Arc::new(source.unwrap());
        Tables::new()
            .with("transactions", Arc::clone(&source), "transactions")
            .with("products", source, "products")
    }

    /// Rows that pass each stage, in the order of the stages.
    fn oracle(&self) -> Vec<Vec<&Purchase>> {
        let config = &self.config;
        let all: Vec<&Purchase> = self.log.iter().collect();
        let last = config.end_date.map(Day::epoch_days).or(all.iter().map(|p| p.day).max()).unwrap_or(0);
        let first = last - config.window_days as i32;
        let keep = |rows: &[&'_ Purchase], test: &dyn Fn(&Purchase) -> bool| -> Vec<&Purchase> {
            self.log.iter().filter(|p| rows.iter().any(|r| std::ptr::eq(*r, *p)) && test(p)).collect()
        };
        let window = keep(&all, &|p| (first..=last).contains(&p.day));
        let positive = keep(&window, &|p| p.cents > 0);
        let cities = keep(&positive, &|p| {
            config.cities.is_empty() || p.city.is_some_and(|c| config.cities.contains(&format!("store_{c}")))
        });
        let sample = keep(&cities, &|p| {
            let hash = fingerprint64(format!("recs-sample:c{}", p.customer).as_bytes()).cast_signed();
            config.sample_fraction == 1.0 || hash < 0
        });
        let top = self.top(&sample);
        let top = keep(&sample, &|p| top.contains(&p.product));
        let mut bought: BTreeMap<u8, BTreeSet<i64>> = BTreeMap::new();
        for p in &top {
            bought.entry(p.customer).or_default().insert(p.product);
        }
        let active = keep(&top, &|p| bought[&p.customer].len() >= config.min_products as usize);
        vec![all.clone(), all, window, positive, cities, sample, top, active]
    }

    fn top(&self, rows: &[&Purchase]) -> BTreeSet<i64> {
        let mut revenue: BTreeMap<i64, i64> = BTreeMap::new();
        rows.iter().for_each(|p| *revenue.entry(p.product).or_default() += p.cents);
        let mut ranked: Vec<(i64, i64)> = revenue.into_iter().collect();
        match self.text_products {
            true => ranked.sort_by_key(|(product, cents)| (-cents, product.to_string())),
            false => ranked.sort_by_key(|(product, cents)| (-cents, *product)),
        }
        let total: i64 = ranked.iter().map(|(_, cents)| cents).sum();
        let tenths = (self.config.revenue_share * 10.0).round() as i64;
        let mut before = 0;
        let mut top = BTreeSet::new();
        for (product, cents) in ranked {
            if before * 10 < total * tenths {
                top.insert(product);
            }
            before += cents;
        }
        top
    }

    fn name(&self, product: i64) -> (String, String, String) {
        // Null sorts after every text, as NULLS LAST says.
        let key = |text: Option<&'static str>| (text.is_none(), text.unwrap_or_default());
        let mut rows: Vec<&Listed> = self.products.iter().filter(|p| p.0 == product).collect();
        rows.sort_by_key(|p| (key(p.1), key(p.2), key(p.1)));
        let text = |value: Option<&'static str>| value.unwrap_or("N/A").to_owned();
        rows.first().map_or(("N/A".into(), "N/A".into(), "N/A".into()), |p| (text(p.1), text(p.2), text(p.1)))
    }

    fn expected(&self, kept: &[&Purchase]) -> Vec<String> {
        let mut total: BTreeMap<u8, i64> = BTreeMap::new();
        kept.iter().for_each(|p| *total.entry(p.customer).or_default() += p.cents);
        let mut lines: Vec<String> = kept
            .iter()
            .map(|p| {
                let revenue = (total[&p.customer] as f64 / 100.0) as f32;
                let city = p.city.map_or("N/A".into(), |c| format!("store_{c}"));
                let (name, category, subcategory) = self.name(p.product);
                let seconds = i64::from(p.day) * 86_400;
                format!(
                    "c{}|{}|{revenue}|{city}|{seconds}|{name}|{category}|{subcategory}",
                    p.customer, p.product
                )
            })
            .collect();
        lines.sort();
        lines
    }
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let text = |at: usize, row: usize| match batch.column(at).data_type() {
            arrow::datatypes::DataType::Int64 => {
                batch.column(at).as_primitive::<Int64Type>().value(row).to_string()
            }
            arrow::datatypes::DataType::Float32 => {
                batch.column(at).as_primitive::<Float32Type>().value(row).to_string()
            }
            _ => batch.column(at).as_string::<i32>().value(row).to_owned(),
        };
        for row in 0..batch.num_rows() {
            assert!(batch.columns().iter().all(|c| c.is_valid(row)));
            lines.push((0..8).map(|at| text(at, row)).collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

async fn run(case: &Case, threads: usize) -> Result<(Vec<String>, recs_etl::extract::FilterCounts), Error> {
    let engine = DataFusionEngine::new(&DataFusionConfig { threads, ..DataFusionConfig::default() })?;
    let extraction = extract(&engine, &case.tables(), &case.config, &Silent, &CancelToken::new()).await?;
    let batches: Vec<RecordBatch> = extraction.rows.batches.try_collect().await?;
    Ok((lines(&batches), extraction.counts))
}

async fn check(case: &Case) {
    let stages = case.oracle();
    let (mut got, counts) = match run(case, 1).await {
        Ok(done) => done,
        Err(Error::NothingLeft { stage, counts }) => {
            let emptied = Stage::ALL.iter().zip(&stages).find(|(_, rows)| rows.is_empty()).unwrap().0;
            assert_eq!((stage, counts.stages.len()), (*emptied, 8));
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let (again, _) = run(case, 3).await.unwrap();
    assert_eq!(got, again, "the order depends on the threads");
    got.sort();
    assert_eq!(got, case.expected(&stages[7]));
    for (count, rows) in counts.stages.iter().zip(&stages) {
        let distinct =
            |of: &dyn Fn(&Purchase) -> i64| rows.iter().map(|p| of(p)).collect::<BTreeSet<_>>().len() as u64;
        let cents: i64 = rows.iter().map(|p| p.cents).sum();
        let expected = (rows.len() as u64, distinct(&|p| i64::from(p.customer)), distinct(&|p| p.product));
        assert_eq!((count.rows, count.customers, count.products), expected, "{}", count.stage);
        let money: f64 = count.revenue.parse().unwrap();
        assert_eq!((money * 100.0).round() as i64, cents, "{}", count.stage);
    }
    let listed: BTreeSet<i64> = case.products.iter().map(|p| p.0).collect();
    assert_eq!(counts.duplicate_products, (case.products.len() - listed.len()) as u64);
    assert_eq!(counts.negative_values, case.log.iter().filter(|p| p.cents < 0).count() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn sql_and_plain_rust_agree(case in case()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(&case));
    }
}
