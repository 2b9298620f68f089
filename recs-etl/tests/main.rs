//! Integration tests of recs-etl, one binary.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod bad_files;
mod conformance;
mod dataset;
mod engine;
mod extract_oracle;
mod formats;
mod journey;
mod postgres;
mod round_trips;
