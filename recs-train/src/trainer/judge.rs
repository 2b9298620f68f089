//! Reports, and the rows that they are about.

use super::evaluation::{Evaluation, Evaluator, LIST_LENGTH, ReportInputs};
use crate::error::Result;
use recs_core::observe::{CancelToken, Event, Observer};

/// Below this share of the highest personalisation rate everybody gets nearly the same list.
const COLLAPSED: f64 = 0.05;

/// Reports on a model and on popularity, and warns when everybody gets the same list.
pub(super) fn judge(
    evaluator: &Evaluator<'_>,
    rows: &[u32],
    inputs: &ReportInputs<'_>,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<(Evaluation, Evaluation)> {
    const STAGE: &str = "evaluate";
    observer.on_event(&Event::Started { stage: STAGE, total: Some(rows.len() as u64), unit: "rows" });
    let (evaluation, popularity) = evaluator.report(rows, inputs, cancel)?;
    observer.on_event(&Event::Finished { stage: STAGE, seconds: evaluation.seconds });
    // Two lists of a small catalogue have most products in common, whoever they are for.
    let others = evaluator.data.catalogue.len().saturating_sub(LIST_LENGTH) as f64 / LIST_LENGTH as f64;
    let collapsed = |rate: &f64| *rate < COLLAPSED * others.min(1.0);
    if let Some(rate) = evaluation.personalisation.filter(collapsed) {
        let message = format!(
            "the towers give customers nearly the same list (personalisation rate {rate:.3}): train longer, lower the \
             learning rate, or check that what the query tower reads varies"
        );
        observer.on_event(&Event::Warning { stage: STAGE, message });
    }
    Ok((evaluation, popularity))
}

/// At most `n` of some rows, evenly spread; all for 0.
pub(super) fn spread<T: Copy>(rows: &[T], n: usize) -> Vec<T> {
    if n == 0 || n >= rows.len() {
        return rows.to_vec();
    }
    (0..n).map(|i| rows[i * rows.len() / n]).collect()
}
