//! `recs recommend-all`: everybody's list, as Parquet in the store.

use super::{Context, serve};
use crate::args::{ModelChoice, RecommendAllArgs};
use crate::error::Result;
use crate::output::Report;
use recs_core::artifact::ModelArtifact;
use recs_serve::bulk::{Asked, BulkConfig, all_customers, json_lines, recommend_all};
use recs_serve::deploy::Deployer;
use recs_serve::registry::Registry;
use recs_serve::retriever::{Host, Request, Retriever};
use recs_serve::workers::Workers;
use serde_json::json;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

pub(super) async fn run(context: &Context, args: RecommendAllArgs) -> Result<Report> {
    let model = match &args.model.model {
        // What customers are served is what they are to find in the file.
        None => ModelChoice { model: Registry::new(&context.root)?.current().await?.1.production },
        Some(_) => args.model.clone(),
    };
    let version = match model.model {
        Some(version) => version,
        None => ModelArtifact::latest_version(&context.root).await?,
    };
    let host = Host::new(Workers::new(context.config.serve.threads)?);
    // As servers load it: mapped, with the index that it brings along.
    let deployer = Deployer::new(&context.root, Arc::default(), host, serve::deploy_config(context))?;
    let retriever = deployer.load(&version).await?;
    let asked = asked(&args, &retriever)?;
    let (observer, cancel) = (&*context.observer, &context.cancel);
    let config = BulkConfig::default();
    let done = recommend_all(&context.root, &args.run, retriever, asked, &config, observer, cancel).await?;
    let (metadata, folder) =
        (done.metadata, context.root.table("predictions", &format!("bulk-{}", args.run))?);
    let mut report = Report::default();
    report.line(format!(
        "{} lists, {} products, by {}",
        metadata.requests, metadata.items, metadata.model_version
    ));
    report.line(format!(
        "{} files in {}, {} of them from before",
        metadata.parts.len(),
        folder.url(),
        done.resumed
    ));
    report.set("run", args.run);
    report.set("folder", folder.url());
    report.set("resumed", json!(done.resumed));
    report.set("seconds", json!(done.seconds));
    report.set("metadata", json!(metadata));
    Ok(report)
}

fn asked(args: &RecommendAllArgs, retriever: &Arc<Retriever>) -> Result<Asked> {
    let Some(path) = &args.requests else {
        let like = Request {
            k: args.k,
            exclude_purchased: args.exclude_purchased,
            available_only: args.available_only,
            ..Request::default()
        };
        return Ok(all_customers(Arc::clone(retriever), like));
    };
    let file = File::open(path).map_err(|source| recs_core::Error::io(path, source))?;
    Ok(json_lines(BufReader::new(file), &path.display().to_string()))
}
