//! `recs refresh`: a model version with another list of products -> a published model version.

use super::Context;
use crate::args::RefreshArgs;
use crate::error::{Error, Result};
use crate::output::Report;
use recs_core::artifact::{Product, RefreshOptions, Refreshed, refresh_candidates};
use serde_json::json;
use std::time::Instant;

pub(super) async fn run(context: &Context, args: &RefreshArgs) -> Result<Report> {
    let started = Instant::now();
    let artifact = context.model(&args.model).await?;
    let version = args.version.clone().unwrap_or_else(|| context.name_by_time());
    let options = RefreshOptions { missing: args.missing.unwrap_or_default(), ..RefreshOptions::default() };
    let (name, path) = (version.clone(), args.products.clone());
    let refreshing = tokio::task::spawn_blocking(move || {
        let from = artifact.metadata.model_version.clone();
        let bytes = std::fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        let shown = path.display().to_string();
        let products = Product::read_parquet(bytes.into(), &artifact.config.schema, &shown)?;
        let refreshed = refresh_candidates(&artifact, &products, &name, &options)?;
        Ok::<_, Error>((from, products.len(), refreshed))
    });
    let (from, listed, refreshed) = refreshing.await.map_err(|_| Error::Worker { doing: "refreshing" })??;
    let Refreshed { artifact, changes } = refreshed;
    context.publish(&artifact).await?;
    let mut report = Report::default();
    report.line(format!("model {from} with {listed} listed products:"));
    report.line(format!(
        "  {} new (like their subcategory {}, category {}, all {}; known before {}), {} updated, {} not listed",
        changes.added,
        changes.from_subcategory,
        changes.from_category,
        changes.from_all,
        changes.returned,
        changes.updated,
        changes.missing
    ));
    report.line(format!("published {}", context.root.model(&version)?.url()));
    report.set("refreshed_from", from);
    report.set("model_version", version);
    report.set("products", artifact.candidates.len());
    report.set("changes", json!(changes));
    report.set("seconds", started.elapsed().as_secs_f64());
    Ok(report)
}
