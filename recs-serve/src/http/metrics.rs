//! What the router counts, in the text format of Prometheus.

use super::metrics_watched::WatchedMetrics;
use crate::deploy::Side;
use crate::monitor::MonitorReport;
use crate::retriever::{Reason, Recommendations};
use axum::http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use recs_core::tenant::TenantId;
use std::time::Duration;

/// Seconds: from what a small catalogue takes to what nobody waits for.
const BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Shares from nothing to all.
const SHARES: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// Tenants and routes come from a fixed set, never from what a client wrote: the number of series is bounded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    tenant: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    tenant: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    tenant: String,
    side: &'static str,
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabels {
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShadowLabels {
    tenant: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job: &'static str,
}

/// Counters of one router; nothing global.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    lists: Family<SourceLabels, Counter>,
    shortfalls: Family<TenantLabels, Counter>,
    background_failures: Family<JobLabels, Counter>,
    shadowed: Family<ShadowLabels, Counter>,
    shadow_overlap: Family<TenantLabels, Histogram, fn() -> Histogram>,
    shadow_seconds: Family<TenantLabels, Histogram, fn() -> Histogram>,
    watched: WatchedMetrics,
    pub(super) in_flight: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let (mut registry, requests) = (Registry::with_prefix("recs"), Family::default());
        let seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let (lists, shortfalls, in_flight) = (Family::default(), Family::default(), Gauge::default());
        let (background_failures, shadowed) = (Family::default(), Family::default());
        let shadow_seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let shadow_overlap = Family::new_with_constructor((|| Histogram::new(SHARES)) as fn() -> Histogram);
        registry.register("http_requests", "Requests answered, refused ones too", Family::clone(&requests));
        let help = "Time from the head of a request to the head of its answer";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, Family::clone(&seconds));
        registry.register(
            "lists",
            "Lists of products, by who answered and what they began with",
            Family::clone(&lists),
        );
        let help = "Lists with fewer products than asked for";
        registry.register("shortfalls", help, Family::clone(&shortfalls));
        registry.register("http_requests_in_flight", "Requests under way", Gauge::clone(&in_flight));
        let help = "Failures of what runs beside the requests";
        registry.register("background_failures", help, Family::clone(&background_failures));
        let help = "Lists of the shadow, compared with production's";
        registry.register("shadow_lists", help, Family::clone(&shadowed));
        let help = "Share of production's products that the shadow lists too";
        registry.register("shadow_overlap", help, Family::clone(&shadow_overlap));
        let help = "Time of the shadow for a list";
        registry.register_with_unit("shadow_duration", help, Unit::Seconds, Family::clone(&shadow_seconds));
        Self {
            requests,
            seconds,
            lists,
            shortfalls,
            background_failures,
            shadowed,
            shadow_overlap,
            shadow_seconds,
            watched: WatchedMetrics::new(&mut registry),
            registry,
            in_flight,
        }
    }
}

impl Metrics {
    /// Counts an answer; `tenant` is None where no tenant was admitted.
    pub(super) fn answered(
        &self,
        tenant: Option<&TenantId>,
        route: &str,
        status: StatusCode,
        took: Duration,
    ) {
        let tenant = tenant.map(ToString::to_string).unwrap_or_default();
        let route = route.to_owned();
        self.seconds
            .get_or_create(&RouteLabels { tenant: tenant.clone(), route: route.clone() })
            .observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { tenant, route, status: status.as_u16() }).inc();
    }

    /// Counts lists.
    pub(super) fn listed<'a>(
        &self,
        tenant: &TenantId,
        side: Side,
        lists: impl IntoIterator<Item = &'a Recommendations<'a>>,
    ) {
        let side = side.name();
        let mut by_source = [0u64; SOURCES.len()];
        let mut short = 0;
        for list in lists {
            if let Some(at) = SOURCES.iter().position(|reason| *reason == list.source) {
                by_source[at] += 1;
            }
            short += u64::from(list.shortfall.is_some());
        }
        for (source, count) in SOURCES.iter().zip(by_source).filter(|(_, count)| *count > 0) {
            let labels = SourceLabels { tenant: tenant.to_string(), side, source: source.name() };
            self.lists.get_or_create(&labels).inc_by(count);
        }
        if short > 0 {
            self.shortfalls.get_or_create(&TenantLabels { tenant: tenant.to_string() }).inc_by(short);
        }
    }

    /// Counts a list of the shadow; `overlap` is None when it failed.
    pub(super) fn shadowed(&self, tenant: &TenantId, overlap: Option<f64>, took: Duration) {
        let (tenant, outcome) = (tenant.to_string(), if overlap.is_some() { "compared" } else { "failed" });
        self.shadowed.get_or_create(&ShadowLabels { tenant: tenant.clone(), outcome }).inc();
        if let Some(overlap) = overlap {
            let labels = TenantLabels { tenant };
            self.shadow_overlap.get_or_create(&labels).observe(overlap);
            self.shadow_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    pub(super) fn background_failed(&self, job: &'static str) {
        self.background_failures.get_or_create(&JobLabels { job }).inc();
    }

    /// All of it, as OpenMetrics text, with what each tenant's loaded versions take and its monitor knows.
    pub(super) fn text(&self, models: &[(TenantId, u64)], reports: &[(TenantId, MonitorReport)]) -> String {
        // One after the other: nobody is to see the gauges half set.
        let _one = self.watched.set_all(models, reports);
        let mut out = String::new();
        // Writing to memory does not fail.
        let written = text::encode(&mut out, &self.registry);
        debug_assert!(written.is_ok(), "metrics that cannot be written");
        out
    }
}

/// What a list may begin with.
const SOURCES: [Reason; 4] = [Reason::Model, Reason::FeaturesOnly, Reason::Segment, Reason::Popularity];
