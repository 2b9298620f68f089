//! `recs dataset`: an extracted table -> gzip TFRecord shards.

use super::Context;
use crate::args::DatasetArgs;
use crate::error::{Error, Result};
use crate::origin::{Snapshot, table};
use crate::output::Report;
use recs_core::artifact::DigestReader;
use recs_core::store::TenantRoot;
use recs_etl::dataset::{DatasetInput, write_dataset};
use recs_etl::engine::DataFusionEngine;
use recs_etl::source::{ParquetConfig, ParquetSource};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const TABLE: &str = "extract";

pub(super) async fn run(context: &Context, args: &DatasetArgs) -> Result<Report> {
    let started = Instant::now();
    let scratch = tempfile::tempdir().map_err(|source| Error::File { path: std::env::temp_dir(), source })?;
    let (path, snapshot) = match &args.input {
        Some(path) => (path.clone(), None),
        None => {
            let (path, snapshot) = fetch(&context.root, scratch.path()).await?;
            (path, Some(snapshot))
        }
    };
    let source = Arc::new(ParquetSource::new(ParquetConfig::file(TABLE, path))?);
    let (config, schema) = (&context.config.dataset, &context.schema);
    let engine = DataFusionEngine::new(&context.config.engine)?;
    let input =
        DatasetInput::from_table(source, TABLE, schema, config, Some(&engine), &context.cancel).await?;
    let input = match snapshot {
        Some(s) => input.with_origin(Some(s.period), s.filters, s.counts),
        None => input,
    };
    let run_id = args.run_id.clone().unwrap_or_else(|| context.name_by_time());
    let folder = context.root.dataset(&run_id)?;
    let written = write_dataset(&folder, input, schema, config, &*context.observer, &context.cancel).await?;
    context.root.dataset_log()?.push(json!({"run_id": run_id}).to_string().into()).await?;
    let (rows, seconds) = (written.total_examples, started.elapsed().as_secs_f64());
    let bytes: u64 = written.shards.iter().map(|s| s.digest.size_bytes).sum();
    let mut report = Report::default();
    report.line(format!(
        "dataset {run_id}: {rows} rows in {} shards, {bytes} bytes ({:.1} a row), {seconds:.1} s",
        written.shards.len(),
        bytes as f64 / rows.max(1) as f64
    ));
    report.line(format!("wrote {}", folder.url()));
    report.set("run_id", run_id);
    report.set("rows", rows);
    report.set("shards", written.shards.len());
    report.set("bytes", bytes);
    report.set("rows_per_s", rows as f64 / seconds);
    report.set("folder", folder.url());
    report.set("seconds", seconds);
    Ok(report)
}

/// The latest extracted table as a local file, its digest verified.
async fn fetch(root: &TenantRoot, scratch: &Path) -> Result<(PathBuf, Snapshot)> {
    let table = table(root)?;
    let snapshot = Snapshot::latest(&table).await?;
    let path = scratch.join("extract.parquet");
    let (to, shown) = (path.clone(), table.show(&snapshot.file));
    let expected = snapshot.digest.clone();
    let save = move |input: &mut (dyn std::io::Read + Send)| {
        let io = |e| recs_core::Error::io(&to, e);
        let mut counted = DigestReader::new(input);
        let mut file = std::fs::File::create(&to).map_err(io)?;
        std::io::copy(&mut counted, &mut file).map_err(io)?;
        expected.verify(&shown, &counted.finish().map_err(io)?)
    };
    table.get_with(&snapshot.file, save).await?;
    Ok((path, snapshot))
}

/// Name of the newest dataset.
pub(super) async fn latest(root: &TenantRoot) -> Result<String> {
    let entry = root.dataset_log()?.latest().await?;
    let entry: Option<serde_json::Value> = entry.and_then(|(_, json)| serde_json::from_slice(&json).ok());
    match entry.as_ref().and_then(|e| e["run_id"].as_str()) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Error::config("dataset", "there is none yet: run `recs dataset`")),
    }
}
