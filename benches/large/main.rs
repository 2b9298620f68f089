//! Trains on more rows than memory has room for and says how much memory each stage took. `scripts/soak` runs it with 50
//! million rows under hard limits.
//!
//!     train-large --folder DIR [--rows 50000000] [--until generate|vocabulary|load|train]
//!
//! | file | what |
//! |---|---|
//! | `args.rs` | the command line |
//! | `generate.rs` | rows from a seed -> shards, a few chunks in memory at a time |
//! | `stages.rs` | shards -> vocabulary -> mapped rows -> model -> its artifact |
//! | `meter.rs` | peaks of the resident memory and seconds of each stage |
//!
//! What is in the folder already is not made again: the shards, the vocabulary and the encoded rows.
#![allow(clippy::print_stdout, reason = "what it prints is its result")]

mod args;
mod generate;
mod meter;
mod stages;

use args::Args;
use clap::Parser;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let report = stages::run(&args).await?;
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
