//! How fast are gzip TFRecord shards written and read, and how large are they?
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use recs_benches::{PurchaseLog, beside};
use recs_core::example::{RowReader, RowWriter};
use recs_core::schema::Schema;
use recs_core::tfrecord::{RecordReader, RecordWriter};
use std::hint::black_box;

const ROWS: usize = 50_000;

fn write(log: &PurchaseLog, level: u32) -> Vec<u8> {
    let rows = RowWriter::new(&Schema::retail());
    let mut file = RecordWriter::gzip(Vec::new(), level).unwrap();
    let mut record = Vec::new();
    for row in &log.rows {
        record.clear();
        rows.write(&row.values(), &mut record).unwrap();
        file.write(&record).unwrap();
    }
    file.finish().unwrap()
}

/// Decompresses, verifies both checksums of every record, and decodes it as a row.
fn read(file: &[u8]) -> usize {
    let mut rows = RowReader::new(&Schema::retail(), "bench");
    let mut records = RecordReader::new(file, "bench").unwrap();
    let mut read = 0;
    while let Some((at, record)) = records.read().unwrap() {
        let mut row = Vec::new();
        rows.read(record, at, &mut row).unwrap();
        read += black_box(row).len();
    }
    read
}

fn tfrecord(c: &mut Criterion) {
    let log = PurchaseLog::new(ROWS);
    let mut group = c.benchmark_group(format!("tfrecord/{ROWS}_rows_one_thread"));
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
    for level in [1, 6] {
        let file = write(&log, level);
        beside(&format!("tfrecord/gzip_level_{level}"), file.len() as f64 / ROWS as f64, "bytes a row");
        group.bench_function(format!("write_gzip_level_{level}"), |b| b.iter(|| write(&log, level)));
        group.bench_function(format!("read_gzip_level_{level}"), |b| b.iter(|| read(&file)));
    }
    group.finish();
}

criterion_group!(benches, tfrecord);
criterion_main!(benches);
