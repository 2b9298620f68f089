//! Our side of `scripts/peers train` and `quality`: the work of `tfrs_train.py` and `tfrs_pipeline.py`, through public
//! API only. Prints one JSON line.
//!
//! | file | what |
//! |---|---|
//! | `args.rs` | the command line |
//! | `extract.rs` | Parquet -> records, with the names that the extract gives its columns |
//! | `memory.rs` | trains on the extract, as `tfrs_train.py` |
//! | `pipeline.rs` | shards on disk -> published artifact, as `tfrs_pipeline.py` |
#![allow(clippy::print_stdout, reason = "what it prints is its result")]

mod args;
mod extract;
mod memory;
mod pipeline;

use args::{Args, Work};
use clap::Parser;
use recs_benches::write_shards;
use recs_core::store::Store;
use serde_json::{Value, json};
use std::path::Path;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let result = match Args::parse().work {
        Work::Train { data, ranks, training } => memory::run(&data, ranks.as_deref(), &training).await?,
        Work::Shards { data, out, count } => shards(&data, &out, count).await?,
        Work::Pipeline { shards, out, training } => pipeline::run(&shards, &out, &training).await?,
    };
    println!("{result}");
    Ok(())
}

/// Writes the extract as a dataset.
async fn shards(data: &Path, out: &Path, count: usize) -> Result<Value, Failure> {
    std::fs::create_dir_all(out)?;
    let (schema, store) = (extract::schema()?, Store::local(out)?);
    let records = extract::records(data, &schema)?;
    let dataset = write_shards(store, &schema, &records, count).await?;
    Ok(json!({"rows": dataset.metadata().total_examples, "shards": count}))
}
