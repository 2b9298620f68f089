//! Settings that are well each by itself, and contradict each other, the model or the data.

use crate::backend::check_settings;
use crate::config::{Examples, TrainConfig};
use crate::data::{SplitKind, TrainData};
use crate::error::{Error, Result};
use crate::optim::Clip;
use recs_core::model::ModelConfig;

/// What every training is asked before its first step, and a search of each trial before the first one. O(products).
///
/// # Errors
/// [`Error::Config`] naming the setting; those of [`TrainData::check`].
pub(crate) fn check(config: &TrainConfig, model: &ModelConfig, data: &TrainData) -> Result<()> {
    config.validate()?;
    config.evaluation.check(&model.schema)?;
    model.validate()?;
    data.check(model)?;
    check_settings(config, model, data, &vec![0.0; data.catalogue.len()])?;
    check_clip(config)?;
    check_trend(config, model)?;
    check_plateau(config)
}

fn check_clip(config: &TrainConfig) -> Result<()> {
    let (Clip::PerVariable { .. }, Examples::Customers(_)) = (config.clip, config.examples) else {
        return Ok(());
    };
    let reason =
        "per_variable cannot tell apart the products of customers as examples; use global_norm or none";
    Err(Error::config("train.clip.kind", reason))
}

fn check_trend(config: &TrainConfig, model: &ModelConfig) -> Result<()> {
    let refuse = |reason: &str| Err(Error::config("train.trend", reason));
    match config.trend {
        Some(_) if !model.has_bias() => {
            refuse("moves the biases of products, and this model has none; leave it out")
        }
        Some(_) if config.split != SplitKind::Time => refuse(
            "follows the last days, and a random split knows no later; leave it out or use split = \"time\"",
        ),
        _ => Ok(()),
    }
}

fn check_plateau(config: &TrainConfig) -> Result<()> {
    let chooses = config.early_stopping.is_some() || config.repeat.is_some();
    if config.schedule.plateau.is_none() || chooses {
        return Ok(());
    }
    let reason = "looks at validation rows, which only a training with early_stopping or repeat keeps apart; set one of them, or \
                  leave it out";
    Err(Error::config("train.schedule.plateau", reason))
}
