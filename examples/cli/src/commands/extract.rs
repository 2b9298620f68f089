//! `recs extract`: source tables -> the extracted table.

use super::Context;
use crate::args::ExtractArgs;
use crate::error::{Error, Result};
use crate::origin::{Snapshot, table};
use crate::output::Report;
use arrow::array::RecordBatch;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use recs_core::artifact::Digest;
use recs_core::store::Store;
use recs_etl::engine::{DataFusionEngine, Rows};
use recs_etl::extract::extract;
use serde_json::json;
use std::io::Write;
use std::time::Instant;
use tokio::sync::mpsc;

const FEW: usize = 4;

pub(super) async fn run(context: &Context, args: &ExtractArgs) -> Result<Report> {
    let started = Instant::now();
    let (config, tables) = (&context.config, context.config.tables()?);
    let engine = DataFusionEngine::new(&config.engine)?;
    let extraction = extract(&engine, &tables, &config.extract, &*context.observer, &context.cancel).await?;
    let (counts, period, filters) =
        (extraction.counts.to_metadata(), extraction.period(), extraction.filters());
    let (rows, table) = (extraction.total_rows(), table(&context.root)?);
    let file = format!("data/{}.parquet", context.name_by_time());
    let digest = write(&table, &file, extraction.rows).await?;
    if let Some(path) = &args.output {
        copy(&table, &file, path).await?;
    }
    let snapshot = Snapshot { file: file.clone(), rows, digest, period, filters, counts };
    let number = snapshot.publish(&table).await?;
    let seconds = started.elapsed().as_secs_f64();
    let mut report = Report::default();
    report.line(format!(
        "extracted {rows} rows of {} to {}",
        snapshot.period.first_day, snapshot.period.last_day
    ));
    for stage in &snapshot.counts {
        report.line(format!(
            "  {:<17} {:>10} rows {:>8} customers {:>8} products {:>16}",
            stage.stage, stage.rows, stage.customers, stage.products, stage.revenue
        ));
    }
    report.line(format!("wrote {} (snapshot {number}) in {seconds:.1} s", table.show(&file)));
    report.set("rows", rows);
    report.set("period", json!(snapshot.period));
    report.set("counts", json!(snapshot.counts));
    report.set("file", table.show(&file));
    report.set("seconds", seconds);
    Ok(report)
}

/// Streams rows into a Parquet file of the store; nothing of it is visible until its last byte is there.
async fn write(table: &Store, file: &str, rows: Rows) -> Result<Digest> {
    let (sender, mut receiver) = mpsc::channel::<RecordBatch>(FEW);
    let (schema, shown) = (rows.schema.clone(), table.show(file));
    let encode = move |out: &mut (dyn Write + Send)| {
        let fault = |e: parquet::errors::ParquetError| recs_core::Error::document(&shown, e.to_string());
        let zstd = Compression::ZSTD(ZstdLevel::default());
        let properties =
            WriterProperties::builder().set_compression(zstd).set_created_by("recs".into()).build();
        let mut writer = ArrowWriter::try_new(out, schema, Some(properties)).map_err(fault)?;
        let mut ended = false;
        while let Some(batch) = receiver.blocking_recv() {
            // An empty batch is the end; without it the reader failed and the file must not be.
            ended = batch.num_rows() == 0;
            writer.write(&batch).map_err(fault)?;
        }
        if !ended {
            return Err(recs_core::Error::Cancelled);
        }
        writer.close().map_err(fault)?;
        Ok(())
    };
    let end = RecordBatch::new_empty(rows.schema.clone());
    let feed = async move {
        let mut batches = rows.batches;
        while let Some(batch) = batches.try_next().await? {
            if batch.num_rows() > 0 && sender.send(batch).await.is_err() {
                return Ok(());
            }
        }
        let _ = sender.send(end).await;
        Ok::<(), Error>(())
    };
    let (fed, written) = tokio::join!(feed, table.put_with(file, encode));
    fed?;
    Ok(written?.1)
}

/// Copies a file of the store to a local path, under a temporary name first.
async fn copy(table: &Store, file: &str, to: &std::path::Path) -> Result<()> {
    let fail = |source| Error::File { path: to.into(), source };
    let partial = to.with_extension("partial");
    let (path, shown) = (partial.clone(), partial.clone());
    let save = move |input: &mut (dyn std::io::Read + Send)| {
        let io = |e| recs_core::Error::io(&path, e);
        let mut file = std::fs::File::create(&path).map_err(io)?;
        std::io::copy(input, &mut file).map_err(io)?;
        file.sync_all().map_err(io)
    };
    let saved = table.get_with(file, save).await;
    if saved.is_err() {
        let _ = std::fs::remove_file(&shown);
    }
    saved?;
    std::fs::rename(&partial, to).map_err(fail)
}
