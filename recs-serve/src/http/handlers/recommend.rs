//! `/recommend` and `/recommend-batch`.

use super::super::Problem;
use super::super::body::JsonBytes;
use super::super::json::{ITEM_BYTES, Json};
use super::super::request::{parse_batch, parse_request};
use super::super::router::Served;
use super::super::shadow;
use super::super::tenant::Loaded;
use super::super::together;
use super::{INLINE_BODY_BYTES, json_parts, json_response, milliseconds};
use crate::deploy::{Serving, Side, Version};
use crate::retriever::{IgnoredValue, Reason, Recommendations, Request};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use rayon::prelude::*;
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

#[derive(Serialize)]
struct Explanation<'a> {
    source: Reason,
    ignored: &'a [IgnoredValue],
}

/// Requests of a batch that one task writes.
const WRITE_ROWS: usize = 64;
/// So many bestsellers are gone through in less than a millisecond.
const INLINE_PRODUCTS: usize = 100_000;
/// Bytes of an answer beside its items.
const HEAD_BYTES: usize = 256;

/// Answers together with others that come at the same time where that is less work; otherwise where it was read when that stays
/// below a millisecond, and by the workers beyond.
pub(in super::super) async fn recommend(
    State(served): State<Served>,
    loaded: Loaded,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    if body.len() <= INLINE_BODY_BYTES && together::is_wanted(&served, &loaded) {
        let request = parse_request(&body)?;
        // Nobody else is to wait for that.
        if !may_take_long(&loaded, &request) {
            loaded.charge(&served, 1)?;
            return together::answer(&served, loaded, request, write).await.map(json_response);
        }
    }
    if loaded.serving.versions().any(|version| version.retriever().waits()) {
        let state = served.state.clone();
        let job = move || {
            let request = parse_request(&body)?;
            loaded.charge(&served, 1)?;
            answer(&served, &loaded, &request)
        };
        return state.run_waiting(job).await.map(json_response);
    }
    let costs = loaded.serving.versions().map(|version| version.retriever().search_cost());
    let fits = costs.max().unwrap_or(0) <= served.state.config().inline_multiply_adds;
    if body.len() > INLINE_BODY_BYTES || !fits {
        let (state, tenant) = (served.state.clone(), loaded.tenant.clone());
        let job = move || {
            let request = parse_request(&body)?;
            loaded.charge(&served, 1)?;
            answer(&served, &loaded, &request)
        };
        return state.run(&tenant, job).await.map(json_response);
    }
    let request = parse_request(&body)?;
    loaded.charge(&served, 1)?;
    if may_take_long(&loaded, &request) {
        let (state, tenant) = (served.state.clone(), loaded.tenant.clone());
        return state.run(&tenant, move || answer(&served, &loaded, &request)).await.map(json_response);
    }
    answer(&served, &loaded, &request).map(json_response)
}

/// True for a request that may follow a ranking to its end, which is no matter of a search: a cap on categories, and in a large
/// catalogue what a list of bestsellers has to be gone through for.
fn may_take_long(loaded: &Loaded, request: &Request) -> bool {
    let Request { pin, boost, allow, categories, .. } = request;
    let seeks = !(pin.is_empty() && boost.is_empty()) || allow.is_some() || categories.is_some();
    request.category_cap.is_some()
        || seeks && loaded.serving.versions().any(|version| version.retriever().products() > INLINE_PRODUCTS)
}

/// Answers together, by the workers.
pub(in super::super) async fn recommend_batch(
    State(served): State<Served>,
    loaded: Loaded,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let (state, tenant) = (served.state.clone(), loaded.tenant.clone());
    let waits = loaded.serving.versions().any(|version| version.retriever().waits());
    let job = move || {
        let requests = parse_batch(&body)?;
        loaded.charge(&served, requests.len())?;
        answer_batch(&served, &loaded, &requests)
    };
    match waits {
        true => state.run_waiting(job).await,
        false => state.run(&tenant, job).await,
    }
    .map(json_parts)
}

fn answer(served: &Served, loaded: &Loaded, request: &Request) -> Result<Bytes, Problem> {
    let started = Instant::now();
    let (version, side) = loaded.serving.of(&request.customer_id).ok_or_else(Problem::no_model)?;
    let found = version
        .answer_within(served.state.config().time_limit(), |retriever| retriever.recommend(request))?;
    write(served, loaded, request, (version, side), &found, started)
}

/// Writes a list, and has everybody know who wants to: metrics, monitor, shadow.
fn write(
    served: &Served,
    loaded: &Loaded,
    request: &Request,
    (version, side): (&Version, Side),
    found: &Recommendations<'_>,
    started: Instant,
) -> Result<Bytes, Problem> {
    served.state.metrics().listed(&loaded.tenant, side, [found]);
    let mut json = Json::with_capacity(HEAD_BYTES + found.items.len() * ITEM_BYTES);
    json.raw("{\"recommendations\":").items(&found.items);
    json.raw(",\"model_version\":").text(version.name());
    json.raw(",\"inference_time_ms\":").float(milliseconds(started));
    json.raw(",\"total_products\":").whole(version.retriever().products());
    notes(&mut json, request, found);
    loaded.slot.live.record(request, started);
    loaded.keep(
        (version, side),
        request,
        found,
        (started.elapsed(), served.state.host().clock.unix_seconds()),
    );
    if side == Side::Production {
        shadow::compare(served, loaded, request, found);
    }
    Ok(json.raw("}").take())
}

/// Present only where there is something to say.
fn notes(json: &mut Json, request: &Request, answer: &Recommendations<'_>) {
    json.member("shortfall", answer.shortfall.as_ref());
    if request.explain {
        json.member("explain", Some(&Explanation { source: answer.source, ignored: &answer.ignored }));
    }
}

/// A list, and the version that made it where that is not the one in production.
struct Found<'v> {
    list: Recommendations<'v>,
    other: Option<&'v Version>,
}

/// Runs on the workers, and splits the writing among them: a thousand lists are some megabytes.
fn answer_batch(served: &Served, loaded: &Loaded, requests: &[Request]) -> Result<Vec<Bytes>, Problem> {
    let started = Instant::now();
    let found = find_all(served, loaded, requests)?;
    if let (Some(request), Some(first)) =
        (requests.first(), found.first().filter(|first| first.other.is_none()))
    {
        shadow::compare(served, loaded, request, &first.list);
    }
    let total = milliseconds(started);
    let (each, now) =
        (started.elapsed() / requests.len().max(1) as u32, served.state.host().clock.unix_seconds());
    let from = loaded.watched.as_ref().map_or(0, |(monitor, _)| monitor.any_of(requests.len()));
    let rows = requests.iter().zip(&found).cycle().skip(from).take(requests.len());
    for (request, Found { list, other }) in rows {
        let by = other.map_or((&*loaded.version, Side::Production), |version| (version, Side::Canary));
        loaded.keep(by, request, list, (each, now));
    }
    // The batch's time shared out evenly: all are answered together.
    let each = total / requests.len().max(1) as f64;
    let write = |(requests, answers): (&[Request], &[Found<'_>])| {
        let items: usize = answers.iter().map(|answer| answer.list.items.len()).sum();
        let mut json = Json::with_capacity(requests.len() * HEAD_BYTES + items * ITEM_BYTES);
        for (request, Found { list, other }) in requests.iter().zip(answers) {
            json.raw(",{\"customer_id\":").text(&request.customer_id);
            json.raw(",\"recommendations\":").items(&list.items);
            json.raw(",\"inference_time_ms\":").float(each);
            json.member("model_version", other.map(Version::name).as_ref());
            notes(&mut json, request, list);
            json.raw("}");
        }
        json.take()
    };
    let mut parts = vec![Bytes::from_static(b"{\"results\":[")];
    parts.par_extend(requests.par_chunks(WRITE_ROWS).zip(found.par_chunks(WRITE_ROWS)).map(write));
    // The first result of all has none before it.
    if let Some(first) = parts.get_mut(1) {
        *first = first.slice(1..);
    }
    let mut json = Json::with_capacity(HEAD_BYTES);
    json.raw("],\"batch_size\":").whole(requests.len());
    json.raw(",\"total_inference_time_ms\":").float(total).raw(",\"avg_inference_time_ms\":").float(each);
    json.raw(",\"model_version\":").text(loaded.version.name());
    parts.push(json.raw(",\"processing_mode\":\"vectorised\"}").take());
    Ok(parts)
}

/// The lists in the order of the requests, each by the version that answers its customer.
fn find_all<'v>(
    served: &Served,
    loaded: &'v Loaded,
    requests: &[Request],
) -> Result<Vec<Found<'v>>, Problem> {
    let Loaded { serving, version, tenant, slot, .. } = loaded;
    if let Some(first) = requests.first() {
        slot.live.record(first, Instant::now());
    }
    let find = |version: &'v Arc<Version>, side, requests: &[Request]| {
        let limit = served.state.config().time_limit();
        let found = version.answer_within(limit, |retriever| retriever.recommend_batch(requests))?;
        served.state.metrics().listed(tenant, side, &found);
        Ok::<_, Problem>(found)
    };
    let Some(trial) = &serving.canary else {
        let found = find(version, Side::Production, requests)?.into_iter();
        return Ok(found.map(|list| Found { list, other: None }).collect());
    };
    let is_tried = |request: &Request| is_tried(serving, request);
    let (tried, others): (Vec<Request>, Vec<Request>) = requests.iter().cloned().partition(is_tried);
    let ask = |version, side, requests: &[Request]| match requests {
        [] => Ok(Vec::new()),
        requests => find(version, side, requests),
    };
    let mut tried = ask(&trial.version, Side::Canary, &tried)?.into_iter();
    let mut others = ask(version, Side::Production, &others)?.into_iter();
    let found = requests.iter().map(|request| match is_tried(request) {
        true => tried.next().map(|list| Found { list, other: Some(&*trial.version) }),
        false => others.next().map(|list| Found { list, other: None }),
    });
    found.collect::<Option<Vec<_>>>().ok_or_else(Problem::internal)
}

fn is_tried(serving: &Serving, request: &Request) -> bool {
    serving.of(&request.customer_id).is_some_and(|(_, side)| side == Side::Canary)
}
