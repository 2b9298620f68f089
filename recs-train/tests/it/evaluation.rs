//! Reports against a definition that sorts every row's whole catalogue: ties, unknown products and customers, seen products
//! removed, repeat terms, slices.

use proptest::prelude::*;
use recs_core::artifact::segment_share;
use recs_core::hash::fingerprint64;
use recs_core::model::{Activation, ModelConfig, TowerColumns, TowerConfig, Weights};
use recs_core::observe::CancelToken;
use recs_core::schema::{DType, Encoding, Field, Role, Schema, Tower, Value};
use recs_core::vocab::{Vocabulary, VocabularyBuilder, VocabularyConfig};
use recs_train::data::{Catalogue, EncodedRows, EncodedWith, NO_PRODUCT, Purchases, TrainData};
use recs_train::trainer::{
    BootstrapConfig, EvaluateOptions, Evaluation, Evaluator, Popularity, RepeatConfig, RepeatTerm,
    ReportInputs, Seen, SliceConfig,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const CUSTOMERS: u32 = 12;
const CITIES: u32 = 30;
const CHANNELS: u32 = 3;

/// One purchase; customers, cities and channels as vocabulary ids (0 unknown), products as places of the catalogue.
#[derive(Debug, Clone, Copy)]
struct Row {
    customer: u32,
    city: u32,
    channel: u32,
    product: u32,
    day: i64,
}

/// Whole numbers as embeddings: any order of additions gives the same scores, and many of them are equal.
struct World {
    schema: Schema,
    vocabulary: Vocabulary,
    model: ModelConfig,
    weights: Weights,
    data: TrainData,
    purchases: Arc<Purchases>,
    reads: Reads,
    repeat: Option<RepeatTerm>,
    known: Vec<u32>,
    test: Vec<u32>,
}

/// What the query tower reads: the customer, or what they bought.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reads {
    Customer,
    History,
}

fn schema(reads: Reads) -> Schema {
    let mut schema = Schema::retail();
    schema.fields.push(Field::new("channel", DType::Bytes, Tower::Query, Role::Other));
    let embedding =
        |field: &str, dim| Encoding::Embedding { name: field.into(), field: field.into(), dim, table: None };
    let first = match reads {
        Reads::Customer => embedding("customer_id", 2),
        Reads::History => {
            Encoding::History { name: "history".into(), field: "product_id".into(), dim: 2, table: None }
        }
    };
    schema.query = vec![first, embedding("channel", 2)];
    schema.candidate = vec![embedding("product_id", 4)];
    schema
}

fn vocabulary(schema: &Schema, products: u32) -> Vocabulary {
    use Value::{Float, Int64, Text};
    let mut builder = VocabularyBuilder::new(schema, &VocabularyConfig::default()).unwrap();
    for i in 0..products.max(CITIES) {
        let text = |kind: &str, n: u32| format!("{kind}{:05}", i % n);
        let (customer, city, channel) =
            (text("c", CUSTOMERS), text("city", CITIES), text("channel", CHANNELS));
        // Of five digits, so that their order as text is that of the numbers.
        let product = Int64(i64::from(10_000 + i % products));
        builder
            .push(&[
                Text(&customer),
                Text(&city),
                Float(1.0),
                Int64(i64::from(i)),
                product,
                Text("name"),
                Text("category"),
                Text("subcategory"),
                Text(&channel),
            ])
            .unwrap();
    }
    builder.finish().unwrap()
}

impl World {
    /// Rows of the days below 10 are known, the others are the test.
    fn new(rows: &[Row], products: u32, seed: u64, with_repeat: bool, reads: Reads) -> Self {
        let schema = schema(reads);
        let vocabulary = vocabulary(&schema, products);
        let tower = TowerConfig { layers: Vec::new(), activation: Activation::Linear, l2_normalise: false };
        let model =
            ModelConfig { schema: schema.clone(), query: tower.clone(), candidate: tower, temperature: 0.5 };
        let weights = Weights::build(&model, &vocabulary, |name, shape| {
            let number = |i: usize| (fingerprint64(format!("{seed}/{name}/{i}").as_bytes()) % 5) as f32 - 2.0;
            // Weights of histories are no whole numbers.
            let is_history = name.contains("history");
            Ok((0..shape.iter().product()).map(|i| if is_history { 0.0 } else { number(i) }).collect())
        })
        .unwrap();
        let of = |value: fn(&Row) -> u32| rows.iter().map(value).collect::<Vec<u32>>();
        let ids: Vec<u32> = (1..=products).collect();
        let data = TrainData {
            query: EncodedRows {
                rows: rows.len(),
                ids: match reads {
                    Reads::Customer => {
                        rows.iter().flat_map(|r| [r.customer, r.channel]).collect::<Vec<u32>>()
                    }
                    Reads::History => of(|r| r.channel),
                }
                .into(),
                numbers: Vec::new().into(),
                bags: Vec::new(),
            },
            candidates: TowerColumns { rows: products as usize, ids: ids.clone(), ..TowerColumns::default() },
            candidate: of(|r| if r.product == NO_PRODUCT { 0 } else { r.product }).into(),
            product: of(|r| r.product).into(),
            customer: of(|r| r.customer).into(),
            city: of(|r| r.city).into(),
            timestamp: rows.iter().map(|r| r.day * 86_400).collect::<Vec<i64>>().into(),
            catalogue: Catalogue {
                ids,
                candidate: (0..products).collect(),
                name: vec![0; products as usize],
                category: vec![0; products as usize],
                subcategory: vec![0; products as usize],
            },
            encoded_with: EncodedWith::new(&schema, &vocabulary).unwrap(),
        };
        let (known, test): (Vec<u32>, Vec<u32>) =
            (0..rows.len() as u32).partition(|&row| rows[row as usize].day < 10);
        let purchases = Arc::new(Purchases::new(&data, &known));
        let coefficients = [0.7, 0.5, 0.25, 0.5, 0.125, -0.25];
        let repeat = with_repeat
            .then(|| RepeatTerm::new(RepeatConfig::default(), coefficients, &data, Arc::clone(&purchases)));
        Self { schema, vocabulary, model, weights, data, purchases, reads, repeat, known, test }
    }

    fn report(&self, options: &EvaluateOptions, threads: usize) -> (Evaluation, Evaluation) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let evaluator =
            Evaluator::new(&self.data, &self.model, &self.weights, &self.purchases, &pool).unwrap();
        let evaluator = evaluator.with_repeat(self.repeat.clone());
        let popularity = Popularity::fit(&self.data, &self.known);
        let inputs = ReportInputs {
            options,
            popularity: &popularity,
            schema: &self.schema,
            vocabulary: &self.vocabulary,
        };
        evaluator.report(&self.test, &inputs, &CancelToken::new()).unwrap()
    }

    fn row(&self, row: u32) -> Row {
        let (at, data) = (row as usize, &self.data);
        let width = data.query.ids.len() / data.query.rows;
        Row {
            customer: data.customer[at],
            city: data.city[at],
            channel: data.query.ids[width * at + width - 1],
            product: data.product[at],
            day: data.timestamp[at] / 86_400,
        }
    }

    /// Known products of the row's customer, on other days, with their numbers of rows.
    fn bought(&self, row: Row) -> BTreeMap<u32, u64> {
        let mut bought = BTreeMap::new();
        for other in self.known.iter().map(|&other| self.row(other)) {
            let is_own = other.customer == row.customer && other.day != row.day;
            if row.customer != 0 && is_own && other.product != NO_PRODUCT {
                *bought.entry(other.product).or_default() += 1;
            }
        }
        bought
    }

    /// Training rows of each product.
    fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.data.catalogue.len()];
        for row in self.known.iter().map(|&row| self.row(row)).filter(|row| row.product != NO_PRODUCT) {
            counts[row.product as usize] += 1;
        }
        counts
    }

    /// What serving gives to those of whom nothing is known: what the city buys, drawn towards what sells everywhere.
    fn shares(&self, row: Row) -> Vec<f32> {
        let mut customers: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
        for other in self.known.iter().map(|&other| self.row(other)) {
            if other.customer != 0 && other.product != NO_PRODUCT && other.customer != row.customer {
                customers.entry(other.customer).or_default().push(other);
            }
        }
        let sold = |rows: &[&Vec<Row>], product: u32| {
            rows.iter().flat_map(|rows| rows.iter()).filter(|row| row.product == product).count() as u64
        };
        let home = |rows: &Vec<Row>| {
            let times = |city: u32| rows.iter().filter(|row| row.city == city).count();
            (0..=CITIES).rev().max_by_key(|&city| times(city)).unwrap()
        };
        let all: Vec<&Vec<Row>> = customers.values().collect();
        let near: Vec<&Vec<Row>> =
            all.iter().copied().filter(|rows| row.city != 0 && home(rows) == row.city).collect();
        let rows = |of: &[&Vec<Row>]| of.iter().map(|rows| rows.len() as u64).sum::<u64>();
        let share = |product| {
            let everywhere = sold(&all, product) as f64 / rows(&all).max(1) as f64;
            segment_share(sold(&near, product), rows(&near), everywhere)
        };
        (0..self.data.catalogue.len() as u32).map(share).collect()
    }

    /// Score of every product, as each method gives it.
    fn scores(&self, row: Row, method: Method) -> Vec<f32> {
        let (query, candidate) = (&self.weights.query.embeddings, &self.weights.candidate.embeddings[0]);
        let first = if self.reads == Reads::Customer { row.customer } else { 0 };
        let embedding: Vec<f32> =
            query[0].row(first as usize).iter().chain(query[1].row(row.channel as usize)).copied().collect();
        let score = |product: u32| {
            let row = candidate.row(product as usize + 1);
            2.0 * row.iter().zip(&embedding).map(|(a, b)| a * b).sum::<f32>()
        };
        let mut scores: Vec<f32> = (0..self.data.catalogue.len() as u32).map(score).collect();
        match (method, &self.repeat) {
            (Method::Popularity, _) => self.counts().iter().map(|&count| count as f32).collect(),
            (Method::WithRepeat, Some(_)) if self.reads == Reads::History && self.bought(row).is_empty() => {
                self.shares(row)
            }
            (Method::WithRepeat, Some(term)) => {
                for (product, value) in term.entries(&self.data, row.customer, Some(row.day), score) {
                    scores[product as usize] += value;
                }
                scores
            }
            _ => scores,
        }
    }

    /// What is reported, by sorting.
    fn naive(&self, method: Method, seen: Seen) -> Naive {
        let mut naive = Naive::default();
        let mut lists: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for row in self.test.iter().map(|&row| self.row(row)) {
            let (scores, bought) = (self.scores(row, method), self.bought(row));
            let is_removed = |product: &u32| seen == Seen::Remove && bought.contains_key(product);
            // Not total_cmp, to which the two zeros are different numbers.
            let by_score = |a: u32, b: u32| scores[b as usize].partial_cmp(&scores[a as usize]).unwrap();
            let mut order: Vec<u32> =
                (0..scores.len() as u32).filter(|product| !is_removed(product)).collect();
            order.sort_by(|&a, &b| by_score(a, b).then(a.cmp(&b)));
            lists.insert(row.customer, order.iter().copied().take(100).collect());
            if is_removed(&row.product) {
                naive.left_out += 1;
                continue;
            }
            // Ties rank the target last; popularity's are in the order of the catalogue.
            if method != Method::Popularity {
                let last = |p: u32| p == row.product;
                order.sort_by(|&a, &b| by_score(a, b).then(last(a).cmp(&last(b))));
            }
            naive.rows.push(row);
            naive.ranks.push(order.iter().position(|&product| product == row.product));
            naive.purchases.push(bought.values().sum());
            naive.again.push(bought.contains_key(&row.product));
        }
        naive.lists = lists.into_values().collect();
        naive
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    Towers,
    WithRepeat,
    Popularity,
}

#[derive(Debug, Default)]
struct Naive {
    rows: Vec<Row>,
    ranks: Vec<Option<usize>>,
    purchases: Vec<u64>,
    again: Vec<bool>,
    left_out: u64,
    lists: Vec<Vec<u32>>,
}

/// Recall at 5, 10, 50, 100, NDCG at 10 and 100, MRR.
fn metrics(ranks: &[Option<usize>]) -> [f64; 7] {
    let mean = |value: &dyn Fn(usize) -> f64| {
        ranks.iter().map(|rank| rank.map_or(0.0, value)).sum::<f64>() / ranks.len() as f64
    };
    let recall = |k: usize| mean(&|rank| f64::from(u8::from(rank < k)));
    let gain = |k: usize| mean(&|rank| if rank < k { 1.0 / (rank as f64 + 2.0).log2() } else { 0.0 });
    let mrr = mean(&|rank| 1.0 / (rank as f64 + 1.0));
    [recall(5), recall(10), recall(50), recall(100), gain(10), gain(100), mrr]
}

fn near(got: Option<f64>, expected: f64) -> bool {
    // Nothing over nothing.
    got.map_or(expected.is_nan(), |got| (got - expected).abs() < 1e-9)
}

fn check(world: &World, method: Method, seen: Seen, got: &Evaluation) {
    let naive = world.naive(method, seen);
    assert_eq!((got.rows, got.rows_left_out), (naive.rows.len() as u64, naive.left_out), "{method:?}");
    let of = |e: &Evaluation| {
        let recalls = [e.recall_at_5, e.recall_at_10, e.recall_at_50, e.recall_at_100];
        [&recalls[..], &[e.ndcg_at_10, e.ndcg_at_100, e.mrr]].concat()
    };
    for (got, expected) in of(got).into_iter().zip(metrics(&naive.ranks)) {
        assert!(near(got, expected), "{method:?} {seen:?}: {got:?} beside {expected}");
    }
    if method != Method::Popularity {
        check_lists(world, &naive.lists, got);
    }
    check_slices(world, &naive, got);
}

fn check_lists(world: &World, lists: &[Vec<u32>], got: &Evaluation) {
    let products = world.data.catalogue.len() as f64;
    let shown: BTreeSet<u32> = lists.iter().flatten().copied().collect();
    assert!(near(got.coverage, shown.len() as f64 / products));
    let length = lists.iter().map(Vec::len).sum::<usize>() as f64 / lists.len() as f64;
    let mut common = 0;
    for (i, a) in lists.iter().enumerate() {
        let others = lists.iter().enumerate().filter(|(j, _)| *j != i);
        common += others.flat_map(|(_, b)| b).filter(|product| a.contains(product)).count();
    }
    let pairs = (lists.len() * (lists.len() - 1)) as f64;
    let personalisation = if lists.len() > 1 { 1.0 - common as f64 / pairs / length } else { f64::NAN };
    assert!(near(got.personalisation, personalisation), "{:?} {personalisation}", got.personalisation);
    let (counts, bits) = (world.counts(), |share: f64| -share.log2());
    let total = counts.iter().sum::<u64>() as f64;
    let entries: Vec<f64> =
        lists.iter().flatten().map(|&p| bits(counts[p as usize].max(1) as f64 / total)).collect();
    assert!(near(got.novelty, entries.iter().sum::<f64>() / entries.len() as f64));
}

fn check_slices(world: &World, naive: &Naive, got: &Evaluation) {
    let mut order: Vec<usize> = (0..world.data.catalogue.len()).collect();
    let counts = world.counts();
    order.sort_by_key(|&p| std::cmp::Reverse(counts[p]));
    let (mut head, mut sum) = (BTreeSet::new(), 0.0);
    for product in order {
        if sum >= 0.8 * counts.iter().sum::<u64>() as f64 {
            break;
        }
        head.insert(product as u32);
        sum += counts[product] as f64;
    }
    let of_row = |i: usize, by: &str| {
        let (row, known) = (naive.rows[i], naive.purchases[i]);
        let text = |kind: &str, id: u32| match id {
            0 => "unknown".to_owned(),
            id => format!("{kind}{:05}", id - 1),
        };
        match by {
            "known_purchases" if known == 0 => "new".to_owned(),
            "known_purchases" if known < 10 => "1-9".to_owned(),
            "known_purchases" if known < 100 => "10-99".to_owned(),
            "known_purchases" => "100+".to_owned(),
            "product" if head.contains(&row.product) => "head".to_owned(),
            "product" => "long_tail".to_owned(),
            "purchase" if naive.again[i] => "repurchase".to_owned(),
            "purchase" => "first_purchase".to_owned(),
            "city" => text("city", row.city),
            "channel" => text("channel", row.channel),
            _ => panic!("{by}"),
        }
    };
    let names: Vec<&str> = got.slices.iter().map(|table| table.by.as_str()).collect();
    assert_eq!(names, ["known_purchases", "product", "purchase", "channel", "city"]);
    for table in &got.slices {
        let named: BTreeSet<&str> = table.slices.iter().map(|slice| slice.name.as_str()).collect();
        assert_eq!(named.len(), table.slices.len());
        assert_eq!(table.slices.iter().map(|slice| slice.rows).sum::<u64>(), got.rows);
        for slice in &table.slices {
            let is_in = |i: &usize| match of_row(*i, &table.by) {
                other if slice.name == "other" => !named.contains(other.as_str()),
                name => name == slice.name,
            };
            let ranks: Vec<Option<usize>> =
                (0..naive.rows.len()).filter(is_in).map(|i| naive.ranks[i]).collect();
            assert_eq!(slice.rows, ranks.len() as u64, "{} {}", table.by, slice.name);
            let s = slice;
            let got = [
                s.recall_at_5,
                s.recall_at_10,
                s.recall_at_50,
                s.recall_at_100,
                s.ndcg_at_10,
                s.ndcg_at_100,
                s.mrr,
            ];
            for (got, expected) in got.into_iter().zip(metrics(&ranks)) {
                assert!(near(got, expected), "{} {}: {got:?} beside {expected}", table.by, slice.name);
            }
        }
        let other = table.slices.iter().find(|slice| slice.name == "other");
        let smallest =
            table.slices.iter().filter(|slice| slice.name != "other").map(|slice| slice.rows).min();
        assert!(other.is_none() || (table.by == "city" && table.slices.len() == 21 && smallest >= Some(1)));
    }
}

fn options(seen: Seen) -> EvaluateOptions {
    EvaluateOptions {
        seen,
        bootstrap: BootstrapConfig { samples: 100, seed: 3 },
        slices: SliceConfig { fields: Some(vec!["channel".into(), "city".into()]), ..SliceConfig::default() },
    }
}

fn check_all(world: &World) {
    for seen in [Seen::Keep, Seen::Remove] {
        let (model, popularity) = world.report(&options(seen), 2);
        check(world, Method::Towers, seen, &model);
        check(world, Method::Popularity, seen, &popularity);
        assert_eq!(model.with_repeat.is_some(), world.repeat.is_some());
        if let Some(served) = &model.with_repeat {
            check(world, Method::WithRepeat, seen, served);
        }
    }
}

fn rows(products: u32, most: usize) -> impl Strategy<Value = Vec<Row>> {
    // Few products are bought often, so that people buy them again; one in twenty is unknown.
    let product = prop_oneof![10 => 0..12u32, 9 => 0..products, 1 => Just(NO_PRODUCT)];
    let row = (0..=CUSTOMERS, 0..=CITIES, 0..=CHANNELS, product, 0..14i64);
    let row =
        row.prop_map(|(customer, city, channel, product, day)| Row { customer, city, channel, product, day });
    proptest::collection::vec(row, 40..most).prop_filter("a test row and a known one", |rows| {
        rows.iter().any(|row| row.day >= 10)
            && rows.iter().any(|row| row.day < 10 && row.product != NO_PRODUCT)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_report_is_what_sorting_gives(rows in rows(130, 400), seed in any::<u64>(), with_repeat in any::<bool>()) {
        check_all(&World::new(&rows, 130, seed, with_repeat, Reads::Customer));
    }

    /// Of a model that knows customers by their purchases, who has none gets what sells.
    #[test]
    fn those_of_whom_nothing_is_known_get_what_sells(rows in rows(40, 90), seed in any::<u64>()) {
        check_all(&World::new(&rows, 40, seed, true, Reads::History));
    }

    /// A catalogue so small that lists run out of products when seen ones are removed.
    #[test]
    fn lists_that_run_out_of_products(rows in rows(15, 300), seed in any::<u64>()) {
        check_all(&World::new(&rows, 15, seed, true, Reads::Customer));
    }
}

fn some_rows(products: u32) -> Vec<Row> {
    let number = |i: u32, what: u32| (fingerprint64(format!("{i}/{what}").as_bytes()) % 1000) as u32;
    let row = |i: u32| Row {
        customer: number(i, 0) % (CUSTOMERS + 1),
        city: number(i, 1) % (CITIES + 1),
        channel: number(i, 2) % (CHANNELS + 1),
        product: number(i, 3) * products / 1000,
        day: i64::from(number(i, 4) % 14),
    };
    (0..600).map(row).collect()
}

/// Two who are not known, on one day and with one query, of two cities: each gets what sells there.
#[test]
fn strangers_of_two_cities_get_two_lists() {
    let row = |customer, city, product, day| Row { customer, city, channel: 1, product, day };
    let rows: Vec<Row> = [row(1, 1, 0, 0), row(1, 1, 0, 1), row(2, 2, 1, 0), row(2, 2, 1, 1)]
        .into_iter()
        .chain([(1, 0), (2, 1), (1, 1), (2, 0)].map(|(city, product)| row(0, city, product, 12)))
        .collect();
    let world = World::new(&rows, 40, 0, true, Reads::History);
    check_all(&world);
    let served = world.report(&options(Seen::Keep), 2).0.with_repeat.unwrap();
    assert_eq!(served.mrr, Some(0.75), "the first of the own city, the second of the other");
}

/// More candidates than are scored at a time.
#[test]
fn a_catalogue_of_two_blocks() {
    let mut rows = some_rows(17_000);
    // Products of both blocks that are bought again.
    for (i, row) in rows.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0) {
        row.product = if i % 2 == 0 { 16_990 } else { 16 };
    }
    check_all(&World::new(&rows, 17_000, 5, true, Reads::Customer));
}

#[test]
fn the_same_for_any_number_of_threads_and_another_seed_moves_the_intervals_little() {
    let world = World::new(&some_rows(130), 130, 5, true, Reads::Customer);
    let mut options = options(Seen::Keep);
    options.bootstrap.samples = 2000;
    let json = |threads, options: &EvaluateOptions| {
        let (mut model, popularity) = world.report(options, threads);
        model.seconds = 0.0;
        model.with_repeat.as_mut().unwrap().seconds = 0.0;
        serde_json::to_string(&(model, popularity)).unwrap()
    };
    assert_eq!(json(1, &options), json(3, &options));
    let spread = |options: &EvaluateOptions| world.report(options, 2).0.bootstrap.unwrap().recall_at_100;
    let one = spread(&options);
    options.bootstrap.seed += 1;
    let other = spread(&options);
    assert_ne!(one, other);
    assert!((one.standard_error / other.standard_error - 1.0).abs() < 0.2, "{one:?} {other:?}");
    let recall = world.report(&options, 2).0.recall_at_100.unwrap();
    assert!(one.low < recall && recall < one.high);
    options.bootstrap.samples = 0;
    assert!(world.report(&options, 2).0.bootstrap.is_none());
}

#[test]
fn slices_that_the_rows_do_not_have_are_refused() {
    let (schema, recommended) =
        (schema(Reads::Customer), schema(Reads::Customer).with_recommended_encodings().unwrap());
    for (field, schema, expected) in [
        ("colour", &schema, "there is no field `colour`; fields are customer_id, city"),
        ("category", &schema, "no text field of the query"),
        ("revenue", &schema, "no text field of the query"),
        ("channel", &recommended, "the model has no embedding of `channel`"),
    ] {
        let mut options = options(Seen::Keep);
        options.slices.fields = Some(vec![field.into()]);
        let error = options.check(schema).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("train.evaluation.slices.fields"), "{error}");
    }
    options(Seen::Keep).check(&schema).unwrap();
    let mut few = options(Seen::Keep);
    few.bootstrap.samples = 5;
    assert!(few.check(&schema).unwrap_err().to_string().contains("train.evaluation.bootstrap.samples"));
}

/// More customers and days than six numbers need: every so many of them.
#[test]
fn a_repeat_term_is_fitted_on_some_of_very_many_days() {
    let days = 5_200;
    let of = |day: i64, customer: u32| {
        let hash = fingerprint64(format!("{customer}/{day}").as_bytes());
        // Half of what is bought has been bought before by most.
        let product = (hash % if hash & 64 == 0 { 40 } else { 6 }) as u32;
        Row { customer, city: 0, channel: 1, product, day: if day < 30 { day / 3 } else { day } }
    };
    let rows: Vec<Row> = (0..days).flat_map(|day| (1..=10).map(move |customer| of(day, customer))).collect();
    let world = World::new(&rows, 40, 3, false, Reads::Customer);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let towers = Evaluator::new(&world.data, &world.model, &world.weights, &world.purchases, &pool).unwrap();
    let fit = |rows: &[u32]| {
        let (config, purchases) = (RepeatConfig::default(), Arc::clone(&world.purchases));
        RepeatTerm::fit(config, &world.data, purchases, &towers, rows, &CancelToken::new())
            .unwrap()
            .coefficients
    };
    // One row for each customer and day, in the order of the fit.
    let mut all = world.test.clone();
    all.sort_by_key(|&row| (rows[row as usize].customer, rows[row as usize].day));
    assert!(all.len() > 50_000 && all.len() == 10 * (days as usize - 30));
    let spread: Vec<u32> = (0..50_000).map(|i| all[i * all.len() / 50_000]).collect();
    assert_eq!(fit(&world.test), fit(&spread));
    assert_ne!(fit(&world.test), fit(&all[..50_000]));
}
