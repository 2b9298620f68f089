//! Weights of a version that was trained before, as what a training starts from.
//!
//! What was learned belongs to values, not to ids: see [`recs_core::growth`] for the rows of each kind of table. Layers are
//! copied; moments of the optimisers start at zero, as in any training. A value that the version did not know starts as
//! in a training from nothing, a new product at the mean of its subcategory's rows, with the bias that its rows give it.
//! A normalised number is normalised by the new data's mean and deviation. Biases that were moved to a trend after training
//! are not what was learned, and would be moved again: they start as in a training from nothing, too.
//!
//! How good such a model is can be told from rows only that the version was not trained on: [`WarmStarted`] says how many
//! others there are.

use crate::data::{Split, SplitKind, TrainData};
use crate::error::{Error, Result};
use recs_core::artifact::ModelArtifact;
use recs_core::growth::{Groups, RowSources, has_row_by_value};
use recs_core::hash::fingerprint64;
use recs_core::model::{ModelConfig, Weights, table_name};
use recs_core::observe::{Event, Observer};
use recs_core::schema::{Role, Tower};
use recs_core::vocab::Vocabulary;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

const TOWERS: [Tower; 2] = [Tower::Query, Tower::Candidate];
/// Of [`crate::Fitted::stats`]: the newest row trained on, and what a version was started from.
const NEWEST: &str = "newest_timestamp";
pub(super) const WARM_START: &str = "warm_start";

/// What a training was started from, and which rows that had seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmStarted {
    /// The version.
    pub version: String,
    /// Newest row that it was trained on, or that one before it was that it had been started from; Unix seconds.
    pub newest_timestamp: i64,
    /// Test rows that are not newer: results on them are too good.
    pub test_rows_seen: usize,
    /// Validation rows that are not newer: what was chosen on them may be a poor choice.
    pub validation_rows_seen: usize,
    /// Products that the version did not know.
    pub new_products: usize,
}

/// A version's weights, and where each of its rows goes.
#[derive(Debug)]
pub(super) struct WarmStart {
    version: String,
    newest: i64,
    weights: Arc<Weights>,
    /// Of each table of both towers.
    sources: [Vec<RowSources>; 2],
    /// The version's products, by what they are in the new data.
    groups: Groups<u32>,
    /// New row and group of each product that the version did not know.
    newcomers: Vec<(usize, usize)>,
    new_products: usize,
    product: String,
    /// A trend was added to the biases.
    has_trend: bool,
}

impl WarmStart {
    /// Finds the rows of everything in `vocabulary`, which `data` was encoded with.
    ///
    /// # Errors
    /// [`Error::WarmStart`] for a version of another model, [`Error::Core`] for one whose parts do not fit.
    pub(super) fn new(
        previous: &ModelArtifact,
        model: &ModelConfig,
        vocabulary: &Vocabulary,
        data: &TrainData,
    ) -> Result<Self> {
        let version = previous.metadata.model_version.clone();
        let differences = differences(model, &previous.config);
        if !differences.is_empty() {
            return Err(Error::WarmStart { version, differences });
        }
        let tables = |tower| {
            let encodings = model.schema.encodings(tower).iter().filter(|e| e.has_table());
            encodings.map(|e| RowSources::new(e, vocabulary, &previous.vocabulary)).collect()
        };
        let sources: [recs_core::Result<Vec<_>>; 2] = TOWERS.map(tables);
        let [query, candidate] = sources;
        let product = model.schema.role(Role::Product)?.name.clone();
        let mut warm = Self {
            version,
            newest: newest(previous),
            weights: Arc::clone(&previous.weights),
            sources: [query?, candidate?],
            groups: Groups::new([]),
            newcomers: Vec::new(),
            new_products: 0,
            product,
            has_trend: has_trend(previous),
        };
        warm.place_products(previous, vocabulary, data)?;
        Ok(warm)
    }

    /// Finds what new products start like: products that the version was trained on, by what they are now.
    fn place_products(
        &mut self,
        previous: &ModelArtifact,
        vocabulary: &Vocabulary,
        data: &TrainData,
    ) -> Result<()> {
        let (new, old) = (vocabulary.lookup(&self.product)?, previous.vocabulary.lookup(&self.product)?);
        let candidates = &previous.candidates;
        let rows: HashMap<&str, u64> =
            candidates.ids.iter().map(String::as_str).zip(candidates.popularity.iter().copied()).collect();
        let says = candidates.popularity.iter().any(|&n| n > 0);
        let catalogue = &data.catalogue;
        let kinds = catalogue.ids.iter().zip(catalogue.category.iter().zip(&catalogue.subcategory));
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (&id, (&category, &subcategory)) in kinds {
            let text = new.text(id).unwrap_or_default();
            match old.id(text) {
                0 => unknown.push((id, category, subcategory)),
                row if !says || rows.get(text).is_some_and(|&n| n > 0) => {
                    known.push((category, subcategory, row));
                }
                _ => {}
            }
        }
        self.groups = Groups::new(known);
        self.new_products = unknown.len();
        for (id, category, subcategory) in unknown {
            self.newcomers.extend(self.groups.find(category, subcategory).map(|group| (id as usize, group)));
        }
        Ok(())
    }

    /// Puts the version's rows and layers into starting weights of the new model.
    ///
    /// # Errors
    /// [`Error::Core`] when the version's weights do not fit its vocabulary.
    pub(super) fn apply(&self, model: &ModelConfig, weights: &mut Weights) -> Result<()> {
        for (tower, sources) in TOWERS.into_iter().zip(&self.sources) {
            let to = match tower {
                Tower::Query => Arc::make_mut(&mut weights.query),
                Tower::Candidate => Arc::make_mut(&mut weights.candidate),
            };
            let from = self.weights.tower(tower);
            let encodings = model.schema.encodings(tower).iter().filter(|e| e.has_table());
            let tables = to.embeddings.iter_mut().zip(&from.embeddings);
            for ((encoding, sources), (to, from)) in encodings.zip(sources).zip(tables) {
                if encoding.is_bias() && self.has_trend {
                    continue;
                }
                sources.copy(from, to, &table_name(tower, encoding))?;
                // A new product's bias is what its own rows say.
                if has_row_by_value(encoding, &self.product) && !encoding.is_bias() {
                    let means = self.groups.means(from);
                    self.newcomers.iter().for_each(|&(row, group)| to.row_mut(row).assign(&means.row(group)));
                }
            }
            to.dense.clone_from(&from.dense);
        }
        weights.tie(model);
        Ok(())
    }

    /// Tells which of the rows that are chosen and reported on the version has seen, and warns of them.
    pub(super) fn started(
        &self,
        split: &Split,
        chooses: bool,
        data: &TrainData,
        observer: &dyn Observer,
    ) -> WarmStarted {
        let started = WarmStarted {
            version: self.version.clone(),
            newest_timestamp: self.newest,
            test_rows_seen: seen(data, &split.test, self.newest),
            validation_rows_seen: seen(data, &split.validation, self.newest),
            new_products: self.new_products,
        };
        let warn = |message| observer.on_event(&Event::Warning { stage: WARM_START, message });
        if started.test_rows_seen > 0 {
            warn(too_good(&self.version, started.test_rows_seen, split.test.len()));
        }
        if chooses && started.validation_rows_seen > 0 {
            let (n, all) = (started.validation_rows_seen, split.validation.len());
            warn(format!(
                "{n} of {all} validation rows are not newer than what version {} was trained on: it knows them, so epochs \
                 chosen on them may be too few; wait for later purchases, or set early_stopping and repeat to null",
                self.version
            ));
        }
        started
    }

    /// Version, and digest of what its weights put into those of the new model.
    pub(super) fn digest(&self) -> String {
        let mut all: Vec<u8> = Vec::new();
        for slice in TOWERS.iter().flat_map(|&tower| self.weights.tower(tower).slices()) {
            all.extend(fingerprint64(bytemuck::cast_slice(slice)).to_le_bytes());
        }
        for &(row, group) in &self.newcomers {
            all.extend([row as u64, group as u64].into_iter().flat_map(u64::to_le_bytes));
        }
        format!("{} {:016x}", self.version, fingerprint64(&all))
    }
}

/// True when a trend was added to the version's biases: versions of a random split could ask for one, and got none.
fn has_trend(previous: &ModelArtifact) -> bool {
    let settings = &previous.metadata.hyperparameters;
    let is_random = settings.get("split").is_some_and(|split| split == SplitKind::Random.name());
    settings.get("trend").is_some_and(|trend| !trend.is_null()) && !is_random
}

/// Rows that are not newer than `newest`.
fn seen(data: &TrainData, rows: &[u32], newest: i64) -> usize {
    rows.iter().filter(|&&row| data.timestamp[row as usize] <= newest).count()
}

fn too_good(version: &str, n: usize, all: usize) -> String {
    format!(
        "{n} of {all} test rows are not newer than what version {version} was trained on, from which this model was \
         started: it has seen them or their days, so these results are too good; test on later purchases"
    )
}

/// Newest row that a version, or one that it had been started from, was trained on. Versions that do not say it say the last
/// day of each customer.
fn newest(previous: &ModelArtifact) -> i64 {
    let stats = &previous.training_stats;
    let end_of_day = || {
        let last = previous.customers.last_day.iter().max();
        last.map_or(i64::MAX, |&day| (i64::from(day) + 1) * 86_400 - 1)
    };
    let own = stats[NEWEST].as_i64().unwrap_or_else(end_of_day);
    stats[WARM_START][NEWEST].as_i64().map_or(own, |before| own.max(before))
}

/// Warning for a published model that had been started from a version that has seen test rows; None without such.
pub(super) fn warning(artifact: &ModelArtifact, data: &TrainData, test: &[u32]) -> Option<String> {
    let before = &artifact.training_stats[WARM_START];
    let n = seen(data, test, before[NEWEST].as_i64()?);
    let version = before["version"].as_str().unwrap_or_default();
    (n > 0).then(|| too_good(version, n, test.len()))
}

/// The newest of the rows trained on; null without any.
pub(super) fn newest_of(data: &TrainData, rows: &[u32]) -> (String, Value) {
    (NEWEST.into(), rows.iter().map(|&row| data.timestamp[row as usize]).max().into())
}

/// In what two models differ whose weights are to fit: layers and encodings.
fn differences(ours: &ModelConfig, theirs: &ModelConfig) -> Vec<String> {
    let mut all = Vec::new();
    for tower in TOWERS {
        let (name, a, b) = (tower.name(), ours.tower(tower), theirs.tower(tower));
        if a.layers != b.layers {
            all.push(format!("{name}.layers are {:?}, there {:?}", a.layers, b.layers));
        }
        if a.activation != b.activation {
            all.push(format!("{name}.activation is {:?}, there {:?}", a.activation, b.activation));
        }
        if a.l2_normalise != b.l2_normalise {
            all.push(format!("{name}.l2_normalise is {}, there {}", a.l2_normalise, b.l2_normalise));
        }
        let (a, b) = (ours.schema.encodings(tower), theirs.schema.encodings(tower));
        let before = all.len();
        for encoding in a {
            match b.iter().find(|other| other.name() == encoding.name()) {
                Some(other) if other == encoding => {}
                Some(other) => {
                    all.push(format!("{name}.{} is {encoding:?}, there {other:?}", encoding.name()));
                }
                None => all.push(format!("{name}.{} is not there", encoding.name())),
            }
        }
        let only_there = b.iter().filter(|other| a.iter().all(|e| e.name() != other.name()));
        all.extend(only_there.map(|other| format!("{name}.{} is there only", other.name())));
        if all.len() == before && a != b {
            all.push(format!("{name} has its encodings in another order"));
        }
    }
    all
}
