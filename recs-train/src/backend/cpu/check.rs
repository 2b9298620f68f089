//! What a backend refuses.

use super::backend::CpuBackend;
use super::part::TablePart;
use crate::backend::Batch;
use crate::config::TrainConfig;
use crate::data::TrainData;
use crate::error::{Error, Result};
use crate::loss::{LogQ, Targets};
use crate::optim::Clip;
use recs_core::model::{Histories, ModelConfig};
use recs_core::schema::{Encoding, Tower};

/// Settings that do not go with each other, the data or the model. [`TrainConfig::validate`] knows those that do not go with
/// each other.
pub(crate) fn check_settings(
    config: &TrainConfig,
    model: &ModelConfig,
    data: &TrainData,
    log_q: &[f32],
) -> Result<()> {
    config.loss.validate()?;
    config.optimiser.validate()?;
    config.validate_clip()?;
    let products = data.catalogue.len();
    if config.loss.log_q == LogQ::Exact && log_q.len() != products {
        let reason = format!("has {} numbers, the catalogue {products} products", log_q.len());
        return Err(Error::config("log_q", reason));
    }
    if config.loss.uniform_negatives > 0 && products == 0 {
        return Err(Error::config("train.loss.uniform_negatives", "draws from a catalogue without products"));
    }
    if !matches!(config.clip, Clip::PerVariable { .. }) {
        return Ok(());
    }
    let refuse = |reason: &str| Err(Error::config("train.clip.kind", reason));
    if model.has_bias() || model.schema.widths(Tower::Query).has_history {
        return refuse("per_variable is for models without histories and biases; use global_norm or none");
    }
    let has_n_grams = |tower| model.schema.encodings(tower).iter().any(Encoding::is_n_grams);
    if has_n_grams(Tower::Query) || has_n_grams(Tower::Candidate) {
        return refuse("per_variable is for models without n-grams; use global_norm or none");
    }
    Ok(())
}

impl CpuBackend {
    /// Batches that do not belong to data and model.
    pub(super) fn check(&self, batch: Batch<'_>) -> Result<()> {
        let refuse = |reason: String| Err(Error::config("batch", reason));
        let products = self.data.catalogue.len();
        let known = |row: u32| match self.data.product.get(row as usize) {
            Some(&product) => batch.targets.is_some() || (product as usize) < products,
            None => false,
        };
        if let Some(row) = batch.rows.iter().find(|&&row| !known(row)) {
            return refuse(format!("row {row} does not exist or has no known product"));
        }
        let n = batch.rows.len();
        if n == 0 {
            return refuse("has no rows".into());
        }
        if let Some(targets) = batch.targets {
            let Targets { offsets, columns, weights } = targets;
            let end = offsets.last().map_or(0, |&end| end as usize);
            let ascend = offsets.windows(2).all(|w| w[0] <= w[1]) && offsets.first() == Some(&0);
            if offsets.len() != n + 1 || !ascend || [columns.len(), weights.len()] != [end; 2] {
                return refuse(format!("the targets are not those of {n} rows"));
            }
            if let Some(product) = columns.iter().find(|&&p| p as usize >= products) {
                return refuse(format!("product {product} is beyond the catalogue of {products}"));
            }
            if let Some(weight) = weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
                return refuse(format!("a target has the weight {weight}, which must be 0 or more"));
            }
        }
        let wants = self.model.schema.widths(Tower::Query).has_history;
        match batch.histories {
            None if wants => refuse("has no histories, which the model looks at".into()),
            Some(histories) if wants => self.check_histories(histories, n),
            _ if batch.targets.is_some() && matches!(self.config.clip, Clip::PerVariable { .. }) => refuse(
                "has targets, which clipping per variable cannot tell apart; use global_norm or none".into(),
            ),
            _ => Ok(()),
        }
    }

    fn check_histories(&self, histories: &Histories, n: usize) -> Result<()> {
        let refuse = |reason: String| Err(Error::config("batch.histories", reason));
        let Histories { offsets, ids, weights } = histories;
        if offsets.len() != n + 1 {
            return refuse(format!("are {} for {n} rows", offsets.len().saturating_sub(1)));
        }
        let ascend = offsets.windows(2).all(|w| w[0] <= w[1]) && offsets[0] == 0;
        if !ascend || [ids.len(), weights.len()] != [offsets[n] as usize; 2] {
            let (ids, weights) = (ids.len(), weights.len());
            return refuse(format!(
                "have {ids} products and {weights} weights, which are not those of their offsets"
            ));
        }
        let tables = self.query.parts.iter().filter(|part| part.column.is_none());
        let rows = tables.map(TablePart::table_rows).min().unwrap_or(0);
        match ids.iter().find(|&&id| id as usize >= rows) {
            Some(id) => refuse(format!("have the product {id}, the table {rows} rows")),
            None => Ok(()),
        }
    }
}
