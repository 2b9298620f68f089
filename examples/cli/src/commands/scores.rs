//! How good a model is, for people and for programs.

use crate::output::{Report, percent};
use recs_train::Evaluation;
use recs_train::trainer::{Slice, SliceTable};
use serde_json::json;

/// What is served, the towers alone and popularity side by side; then how sure that is, and the slices.
pub(super) fn lines(report: &mut Report, model: &Evaluation, popularity: &Evaluation) {
    let (towers, model) = (model, model.served());
    let title = format!("  {:<12} {:>9} {:>13} {:>11}", "", "served", "towers alone", "popularity");
    report.line(format!("{title}   ({} test rows)", model.rows));
    let rows = [
        ("Recall@5", model.recall_at_5, towers.recall_at_5, popularity.recall_at_5),
        ("Recall@10", model.recall_at_10, towers.recall_at_10, popularity.recall_at_10),
        ("Recall@50", model.recall_at_50, towers.recall_at_50, popularity.recall_at_50),
        ("Recall@100", model.recall_at_100, towers.recall_at_100, popularity.recall_at_100),
        ("NDCG@100", model.ndcg_at_100, towers.ndcg_at_100, popularity.ndcg_at_100),
        ("MRR", model.mrr, towers.mrr, popularity.mrr),
        ("coverage", model.coverage, towers.coverage, popularity.coverage),
        ("personalised", model.personalisation, towers.personalisation, popularity.personalisation),
    ];
    for (name, served, towers, theirs) in rows {
        let (served, towers, theirs) = (percent(served), percent(towers), percent(theirs));
        report.line(format!("  {name:<12} {served:>9} {towers:>13} {theirs:>11}"));
    }
    let bits = |novelty: Option<f64>| novelty.map_or_else(|| "-".into(), |bits| format!("{bits:.2}"));
    let (served, towers, theirs) = (bits(model.novelty), bits(towers.novelty), bits(popularity.novelty));
    report.line(format!("  {:<12} {served:>9} {towers:>13} {theirs:>11}", "novelty bits"));
    if model.rows_left_out > 0 {
        report.line(format!("  left out: {} rows of products that were bought before", model.rows_left_out));
    }
    if let Some(bootstrap) = &model.bootstrap {
        let (low, high) = (bootstrap.recall_at_100.low, bootstrap.recall_at_100.high);
        report.line(format!(
            "  Recall@100 served: {} to {} with 95 % confidence ({} samples of {} customers)",
            percent(Some(low)),
            percent(Some(high)),
            bootstrap.samples,
            bootstrap.customers
        ));
    }
    for (table, theirs) in model.slices.iter().zip(&popularity.slices) {
        slices(report, table, theirs);
    }
}

/// One table of slices, Recall@100 with its standard error, beside popularity's.
fn slices(report: &mut Report, table: &SliceTable, popularity: &SliceTable) {
    report.line(format!(
        "  {:<18} {:>8} {:>10} {:>11} {:>9} {:>9} {:>9} {:>11}",
        table.by, "rows", "Recall@10", "Recall@100", "+-", "NDCG@100", "MRR", "popularity"
    ));
    let filled = |(slice, _): &(&Slice, &Slice)| slice.rows > 0;
    for (slice, theirs) in table.slices.iter().zip(&popularity.slices).filter(filled) {
        report.line(format!(
            "  {:<18} {:>8} {:>10} {:>11} {:>9} {:>9} {:>9} {:>11}",
            slice.name,
            slice.rows,
            percent(slice.recall_at_10),
            percent(slice.recall_at_100),
            percent(slice.standard_error),
            percent(slice.ndcg_at_100),
            percent(slice.mrr),
            percent(theirs.recall_at_100)
        ));
    }
}

/// The same for programs.
pub(super) fn keys(report: &mut Report, model: &Evaluation, popularity: &Evaluation) {
    report.set("recall_at_100", json!(model.served().recall_at_100));
    report.set("towers_recall_at_100", json!(model.recall_at_100));
    report.set("popularity_recall_at_100", json!(popularity.recall_at_100));
    report.set("test", json!(model));
    report.set("popularity", json!(popularity));
}
