//! Rows from a seed -> shards.
//!
//! Every row follows from its own number: shards can be written side by side, and their number changes nothing. Rows come in
//! no order of time, as an extraction writes them.

use crate::Failure;
use recs_benches::{DAYS, FIRST_SECOND, Purchase, Random, SEED, Shop, publish_metadata};
use recs_core::dataset::{Dataset, ShardInfo};
use recs_core::example::RowWriter;
use recs_core::hash::fingerprint64;
use recs_core::schema::Schema;
use recs_core::store::Store;
use recs_core::tfrecord::{DEFAULT_GZIP_LEVEL, RecordWriter, ShardPlan, shard_name};
use std::io::Write;
use std::ops::Range;
use tokio::task::JoinSet;

const SHOP: Shop = Shop { customers: 500_000, products: 20_000, cities: 300 };

/// The dataset of `plan` in `store`, written by `writers` threads. Memory: a few chunks for each.
pub(crate) async fn dataset(store: Store, plan: ShardPlan, writers: usize) -> Result<Dataset, Failure> {
    let mut tasks = JoinSet::new();
    for first in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut infos = Vec::new();
            for shard in (first..plan.shards()).step_by(writers) {
                infos.push((shard, write(&store, plan, shard).await?));
            }
            Ok::<_, recs_core::Error>(infos)
        });
    }
    let mut infos = Vec::new();
    while let Some(written) = tasks.join_next().await {
        infos.extend(written??);
    }
    infos.sort_by_key(|(shard, _)| *shard);
    let infos = infos.into_iter().map(|(_, info)| info).collect();
    Ok(publish_metadata(store, &Schema::retail(), infos).await?)
}

async fn write(store: &Store, plan: ShardPlan, shard: usize) -> recs_core::Result<ShardInfo> {
    let (file, rows) = (format!("raw_data/{}", shard_name(shard, plan.shards())), plan.rows(shard));
    let count = rows.end - rows.start;
    let ((), digest) = store.put_with(&file, move |into| fill(into, rows)).await?;
    Ok(ShardInfo { file, rows: count, digest })
}

fn fill(into: &mut (dyn Write + Send), rows: Range<u64>) -> recs_core::Result<()> {
    let writer = RowWriter::new(&Schema::retail());
    let mut file = RecordWriter::gzip(into, DEFAULT_GZIP_LEVEL)?;
    let mut record = Vec::new();
    for row in rows {
        record.clear();
        writer.write(&purchase(row).values(), &mut record)?;
        file.write(&record)?;
    }
    file.finish().map(drop)
}

fn purchase(row: u64) -> Purchase {
    let mut random = Random::new(fingerprint64(&row.to_le_bytes()) ^ SEED);
    let customer = SHOP.customer(&mut random);
    let minute = random.below(DAYS as usize * 1440) as i64;
    SHOP.purchase(customer, FIRST_SECOND + minute * 60, &mut random)
}
