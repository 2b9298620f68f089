//! Lists for all customers at once, as Parquet in the store.
//!
//! ```text
//! {root}/warehouse/predictions/bulk-{run}/part-00000-{digest}.parquet ...   _parts/NNNNNN.json   metadata.json (last)
//! ```
//! A row a request, in their order: `customer_id`, `source`, and the lists `product_ids`, `scores`, `reasons`, the best first.
//!
//! A run is made of parts. Each is written whole and then noted in the numbered log `_parts/`; a run that was killed is called
//! again with the same requests, passes over what is noted, and ends with the same bytes as one that nobody disturbed. Readers
//! go by `metadata.json`: files that it does not name are what a killed process left.
//!
//! | file | what |
//! |---|---|
//! | `asked.rs` | [`all_customers`], `json_lines`: who is asked for |
//! | `part.rs` | requests -> one Parquet file |
//! | `state.rs` | what is noted of a run, and its `metadata.json` |

mod asked;
mod part;
mod state;

pub use asked::all_customers;
#[cfg(feature = "http")]
pub use asked::json_lines;
pub use state::{BULK_METADATA_FILE, BulkMetadata, BulkPart};

use crate::error::{Error, Result};
use crate::retriever::{Request, Retriever};
use part::Part;
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::store::TenantRoot;
use state::{Run, Settings};
use std::sync::Arc;
use std::time::Instant;

const STAGE: &str = "recommend-all";

/// How a run is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkConfig {
    /// Requests of a part, 1 to 1,000,000: so many are in memory at a time with their lists, and are answered again after a kill.
    /// A thousand with lists of 100 take about 2 MB.
    pub part_requests: usize,
}

impl Default for BulkConfig {
    fn default() -> Self {
        Self { part_requests: 20_000 }
    }
}

/// What a call did.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkReport {
    /// What the finished run says about itself.
    pub metadata: BulkMetadata,
    /// Parts that earlier calls had done.
    pub resumed: usize,
    /// Wall time of this call.
    pub seconds: f64,
}

/// The requests of a run, in their order; each time the same ones.
pub type Asked = Box<dyn Iterator<Item = Result<Request>> + Send>;

/// Answers `requests` and writes the lists into the folder of `run`. Requests without a timestamp are answered as of the moment
/// at which the run was first called.
///
/// Cost: batches of 1,000 requests on the retriever's workers; the files are encoded on a thread that stands back behind those
/// who answer. Memory see [`BulkConfig::part_requests`].
///
/// # Errors
/// [`Error::Config`] for a setting out of range, and for a run that was begun with another version, other settings or other
/// requests; those of `requests`, [`Retriever::recommend_batch`] and the store; [`recs_core::Error::AlreadyExists`] for a run
/// that is finished, or that another process is at; `Cancelled`. What is noted stays, to go on from.
pub async fn recommend_all(
    root: &TenantRoot,
    run: &str,
    retriever: Arc<Retriever>,
    mut requests: Asked,
    config: &BulkConfig,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<BulkReport> {
    if !(1..=1_000_000).contains(&config.part_requests) {
        let reason = format!("is {}, allowed are 1 to 1,000,000", config.part_requests);
        return Err(Error::config("part_requests", reason));
    }
    let began = Instant::now();
    let model_version = retriever.metadata().model_version.clone();
    let settings =
        Settings { model_version, timestamp: retriever.now(), part_requests: config.part_requests };
    let mut run = Run::open(root, run, settings).await?;
    let resumed = run.parts().len();
    observer.on_event(&Event::Started { stage: STAGE, total: None, unit: "requests" });
    for number in 0.. {
        cancel.check()?;
        let workers = retriever.workers().clone();
        let (part, retriever, settings) =
            (run.parts().get(number).cloned(), retriever.clone(), run.settings());
        let (made, rest) = workers
            .aside("recommending to all customers", move || {
                let made = match part {
                    Some(part) => Part::pass_over(&mut requests, &settings, &part)?,
                    None => Part::make(&mut requests, &settings, &retriever)?,
                };
                Ok((made, requests))
            })
            .await?;
        requests = rest;
        match made {
            Part::Empty => break,
            Part::Known => {}
            Part::Made { rows, items, asked, file } => run.keep(rows, items, asked, file).await?,
        }
        observer.on_event(&Event::Progress { stage: STAGE, done: run.requests(number + 1) });
    }
    let metadata = run.finish().await?;
    let seconds = began.elapsed().as_secs_f64();
    observer.on_event(&Event::Finished { stage: STAGE, seconds });
    Ok(BulkReport { metadata, resumed, seconds })
}
