//! The command line of recs: a host application like any other, built on the crates' public API.
//!
//! Configured by one `recs.toml` ; each command prints what it did, and with `--json` one JSON object
//! as the last line of standard output. Progress goes to standard error when that is a terminal.

mod args;
mod commands;
mod config;
mod error;
mod origin;
mod output;
mod progress;
mod schema;

pub use error::{Error, Result};

use clap::Parser;
use std::ffi::OsString;

/// Runs the command line `arguments` (the first one is the program's name) and gives the exit code: 0 for success, 1
/// for a failure that standard error explains, 2 for a command line that was not understood.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let parsed = match args::Args::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(e) => {
            let _ = e.print();
            return u8::try_from(e.exit_code()).unwrap_or(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return output::fail(&Error::Runtime(e), parsed.json),
    };
    let json = parsed.json;
    match runtime.block_on(commands::run(parsed)) {
        Ok(report) => output::succeed(&report, json),
        Err(e) => output::fail(&e, json),
    }
}
