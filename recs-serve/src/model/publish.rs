//! A model's version together with what servers map of it.

use super::ServingModel;
use crate::error::Result;
use crate::index::{Index, IndexConfig};
use crate::workers::Workers;
use recs_core::artifact::{Attachment, Manifest, ModelArtifact};
use recs_core::observe::CancelToken;
use recs_core::store::TenantRoot;
use std::sync::Arc;

/// What [`ServingModel::write`] wrote, as a file of a version.
pub(crate) const SERVED_FILE: &str = "index.recs";
/// The graph of its products' vectors, where they are too many to look at each.
pub(crate) const GRAPH_FILE: &str = "index.hnsw";

/// As [`ModelArtifact::publish`], together with the model as it is served and its index: a [`Deployer`](crate::deploy::Deployer)
/// with a cache copies these two files to its disk and maps them, reads nothing else, and builds no graph. Without them every
/// server makes them for itself.
///
/// Cost: the graph of a large catalogue, once, by `workers`; the version takes about twice the room.
///
/// # Errors
/// Those of [`ModelArtifact::publish`], [`ServingModel::new`] and [`Index::auto`].
pub async fn publish(
    artifact: &ModelArtifact,
    root: &TenantRoot,
    created_at: &str,
    index: &IndexConfig,
    workers: &Workers,
) -> Result<Manifest> {
    let (copy, index, pool) = (artifact.clone(), index.clone(), workers.clone());
    let made = move || pool.install(|| attachments(copy, &index));
    let attachments = workers.aside("indexing a model", made).await?;
    Ok(artifact.publish_with(root, created_at, attachments).await?)
}

fn attachments(artifact: ModelArtifact, config: &IndexConfig) -> Result<Vec<Attachment>> {
    let model = ServingModel::new(Arc::new(artifact))?.prepared(config)?;
    let graph = match model.has_graph(config) {
        true => Some(model.index(config, &CancelToken::new())?),
        false => None,
    };
    let mut attachments = vec![Attachment::new(SERVED_FILE, move |mut out| {
        model.write_all(&mut out).map_err(|e| recs_core::Error::io(SERVED_FILE, e))
    })];
    if let Some(Index::Hnsw(graph)) = graph {
        attachments.push(Attachment::new(GRAPH_FILE, move |out| {
            out.write_all(graph.bytes()).map_err(|e| recs_core::Error::io(GRAPH_FILE, e))
        }));
    }
    Ok(attachments)
}
