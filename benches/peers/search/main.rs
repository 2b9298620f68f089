//! Our side of `scripts/peers search`: vectors are read and indexed once; then each line of standard input names a setting, all
//! queries are asked one after the other on one thread, and a JSON object says how fast and how well.
//!
//! ```text
//! peer-search --items ITEMS.f32 --queries QUERIES.f32 --truth TRUTH.u32 --dim 64 --k 100
//! exact | int8 | build | hnsw EF | filtered EF SHARE
//! ```
#![allow(clippy::print_stdout, reason = "a program that answers on standard output")]

use clap::Parser;
use ndarray::Array2;
use recs_benches::{Random, SEED};
use recs_core::observe::CancelToken;
use recs_serve::index::{
    BitSet, ExactIndex, Filter, Hit, HnswConfig, HnswIndex, Int8Index, Scratch, VectorIndex,
};
use serde_json::{Value, json};
use std::error::Error;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

#[derive(Parser)]
struct Args {
    /// Candidates: little-endian f32, end to end.
    #[arg(long)]
    items: PathBuf,
    /// Queries, likewise.
    #[arg(long)]
    queries: PathBuf,
    /// The k best of each query by number: little-endian u32.
    #[arg(long)]
    truth: PathBuf,
    /// Numbers of a vector.
    #[arg(long)]
    dim: usize,
    /// Hits asked for.
    #[arg(long, default_value_t = 100)]
    k: usize,
}

type Failed = Box<dyn Error>;

struct Bench {
    items: Array2<f32>,
    queries: Array2<f32>,
    truth: Vec<u32>,
    k: usize,
    exact: ExactIndex,
    int8: Int8Index,
    hnsw: Option<HnswIndex>,
}

fn main() -> Result<(), Failed> {
    let args = Args::parse();
    let (items, queries) = (read(&args.items, args.dim)?, read(&args.queries, args.dim)?);
    let truth = std::fs::read(&args.truth)?.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let (exact, int8) = (ExactIndex::new(items.clone())?, Int8Index::new(items.clone())?);
    let mut bench = Bench { items, queries, truth, k: args.k, exact, int8, hnsw: None };
    for line in std::io::stdin().lock().lines() {
        println!("{}", bench.answer(&line?)?);
    }
    Ok(())
}

fn read(path: &Path, dim: usize) -> Result<Array2<f32>, Failed> {
    let bytes = std::fs::read(path)?;
    let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok(Array2::from_shape_vec((numbers.len() / dim, dim), numbers)?)
}

impl Bench {
    fn answer(&mut self, line: &str) -> Result<Value, Failed> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let open = Filter::default();
        match words.as_slice() {
            ["exact"] => self.ask(&self.exact, &open, &self.truth),
            ["int8"] => self.ask(&self.int8, &open, &self.truth),
            ["build"] => {
                let begin = Instant::now();
                let index =
                    HnswIndex::build(self.items.clone(), &HnswConfig::default(), &CancelToken::new())?;
                let seconds = begin.elapsed().as_secs_f64();
                let bytes = index.bytes().len();
                self.hnsw = Some(index);
                Ok(json!({"build_s": seconds, "bytes": bytes}))
            }
            ["hnsw", ef] => {
                let index = self.hnsw.as_ref().ok_or("build first")?.with_ef_search(ef.parse()?)?;
                self.ask(&index, &open, &self.truth)
            }
            ["filtered", ef, share] => {
                let index = self.hnsw.as_ref().ok_or("build first")?.with_ef_search(ef.parse()?)?;
                self.filtered(&index, share.parse()?)
            }
            _ => Err(format!("unknown: {line}").into()),
        }
    }

    /// A share of the candidates, drawn by chance, may be returned.
    fn filtered(&self, index: &dyn VectorIndex, share: f64) -> Result<Value, Failed> {
        let mut random = Random::new(SEED);
        let passes: Vec<bool> = (0..index.len()).map(|_| random.unit() < share).collect();
        let filter = Filter::default().within(Arc::new(BitSet::from_fn(index.len(), |i| passes[i])));
        let truth = self.find(&self.exact, &filter)?.0;
        self.ask(index, &filter, &truth)
    }

    fn ask(&self, index: &dyn VectorIndex, filter: &Filter, truth: &[u32]) -> Result<Value, Failed> {
        let (found, seconds) = self.find(index, filter)?;
        let lists = found.chunks(self.k).zip(truth.chunks(self.k));
        let right: usize = lists.map(|(got, best)| got.iter().filter(|&g| best.contains(g)).count()).sum();
        let qps = self.queries.nrows() as f64 / seconds;
        Ok(json!({"qps": qps, "recall": right as f64 / truth.len() as f64}))
    }

    /// The hits of all queries, and the seconds that they took.
    fn find(&self, index: &dyn VectorIndex, filter: &Filter) -> Result<(Vec<u32>, f64), Failed> {
        let (mut scratch, mut hits, mut found) = (Scratch::default(), Vec::<Hit>::new(), Vec::new());
        let begin = Instant::now();
        for query in self.queries.rows() {
            let query = query.to_slice().unwrap_or_default();
            index.search(query, self.k, filter, &mut scratch, &mut hits)?;
            found.extend(hits.iter().map(|h| h.index));
        }
        Ok((found, begin.elapsed().as_secs_f64()))
    }
}
