//! `recs recommend`: one customer's list.

use super::Context;
use crate::args::RecommendArgs;
use crate::error::Result;
use crate::output::Report;
use recs_serve::retriever::{Host, Request, Retriever};
use recs_serve::workers::Workers;
use serde_json::json;
use std::sync::Arc;

pub(super) async fn run(context: &Context, args: RecommendArgs) -> Result<Report> {
    let artifact = context.model(&args.model).await?;
    let host = Host::new(Workers::new(context.config.serve.threads)?);
    let retriever = Retriever::new(Arc::new(artifact), host)?;
    let request = Request {
        customer_id: args.customer,
        city: args.city,
        revenue: args.revenue,
        timestamp: args.timestamp,
        k: args.k,
        exclude_purchased: args.exclude_purchased,
        ..Request::default()
    };
    let answer = retriever.recommend(&request)?;
    let mut report = Report::default();
    report.line(format!("customer {}, model {}", request.customer_id, retriever.metadata().model_version));
    for item in &answer.items {
        let product = retriever.number(item.product_id).and_then(|number| retriever.product(number));
        let name = product.map_or("", |product| product.name);
        let reason = json!(item.reason);
        let reason = reason.as_str().unwrap_or_default();
        report.line(format!(
            "  {:>3}. {:<12} {:>8.4}  {reason:<13} {name}",
            item.rank, item.product_id, item.score
        ));
    }
    report.set("customer_id", request.customer_id.clone());
    report.set("model_version", retriever.metadata().model_version.clone());
    report.set("recommendations", json!(answer.items));
    Ok(report)
}
