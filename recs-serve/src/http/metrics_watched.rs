//! What the monitors of tenants know, as metrics.

use crate::deploy::Side;
use crate::monitor::{MonitorReport, ServedReport};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use recs_core::tenant::TenantId;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is measured, of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    tenant: String,
}

/// And of the version in production, or the one on trial.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SideLabels {
    tenant: String,
    side: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InputLabels {
    tenant: String,
    side: &'static str,
    input: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    tenant: String,
    version: String,
    outcome: &'static str,
}

type Share = Gauge<f64, AtomicU64>;

/// Gauges that are set when somebody asks.
#[derive(Debug, Default)]
pub(super) struct WatchedMetrics {
    coverage: Family<SideLabels, Share>,
    personalisation: Family<SideLabels, Share>,
    score_drift: Family<SideLabels, Share>,
    input_drift: Family<InputLabels, Share>,
    outcomes: Family<OutcomeLabels, Gauge>,
    kept: Family<Labels, Gauge>,
    lost: Family<Labels, Gauge>,
    firing: Family<Labels, Gauge>,
    model_bytes: Family<Labels, Gauge>,
    asked: Mutex<()>,
}

impl WatchedMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let all = Self::default();
        let help = "Share of the catalogue that is in the lists sampled lately";
        registry.register("coverage", help, Family::clone(&all.coverage));
        let help = "0 when everybody gets the same list, 1 when no two lists share a product";
        registry.register("personalisation", help, Family::clone(&all.personalisation));
        let help = "Stability index of the best scores against the version's own customers";
        registry.register("score_drift", help, Family::clone(&all.score_drift));
        let help = "Stability index of an input against the training rows";
        registry.register("input_drift", help, Family::clone(&all.input_drift));
        let help = "Events that came to this server";
        registry.register("outcomes", help, Family::clone(&all.outcomes));
        registry.register("predictions_kept", "Lists that were sampled", Family::clone(&all.kept));
        registry.register("predictions_lost", "Sampled lists that were lost", Family::clone(&all.lost));
        registry.register("alerts_firing", "Limits that are broken", Family::clone(&all.firing));
        let help = "Bytes of the versions that are loaded, in memory or in mapped files";
        registry.register("model_bytes", help, Family::clone(&all.model_bytes));
        all
    }

    /// Sets all of them, until what is given back is dropped. What is not known any more is not told: a gauge that stands still says
    /// what is not true.
    pub(super) fn set_all(
        &self,
        models: &[(TenantId, u64)],
        reports: &[(TenantId, MonitorReport)],
    ) -> MutexGuard<'_, ()> {
        let one = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        self.coverage.clear();
        self.personalisation.clear();
        self.score_drift.clear();
        self.input_drift.clear();
        self.outcomes.clear();
        for family in [&self.kept, &self.lost, &self.firing, &self.model_bytes] {
            family.clear();
        }
        for (tenant, bytes) in models {
            self.model_bytes.get_or_create(&Labels { tenant: tenant.to_string() }).set(whole(*bytes));
        }
        reports.iter().for_each(|(tenant, report)| self.set(tenant, report));
        one
    }

    fn set(&self, tenant: &TenantId, report: &MonitorReport) {
        let labels = Labels { tenant: tenant.to_string() };
        for (side, served) in [(Side::Production, &report.served), (Side::Canary, &report.canary)] {
            served.iter().for_each(|served| self.set_side(tenant, side.name(), served));
        }
        for (version, outcomes) in &report.outcomes {
            let counts =
                [("shown", outcomes.shown), ("clicked", outcomes.clicked), ("bought", outcomes.bought)];
            for (outcome, count) in counts {
                let labels = OutcomeLabels { tenant: tenant.to_string(), version: escaped(version), outcome };
                self.outcomes.get_or_create(&labels).set(whole(count));
            }
        }
        self.kept.get_or_create(&labels).set(whole(report.predictions_kept));
        self.lost.get_or_create(&labels).set(whole(report.predictions_lost));
        self.firing.get_or_create(&labels).set(whole(report.alerts.len() as u64));
    }

    fn set_side(&self, tenant: &TenantId, side: &'static str, served: &ServedReport) {
        let labels = SideLabels { tenant: tenant.to_string(), side };
        let shares = [
            (&self.coverage, served.coverage),
            (&self.personalisation, served.personalisation),
            (&self.score_drift, served.score_drift),
        ];
        for (family, value) in shares {
            if let Some(value) = value {
                family.get_or_create(&labels).set(value);
            }
        }
        for (input, drift) in &served.input_drift {
            let labels = InputLabels { tenant: tenant.to_string(), side, input: escaped(input) };
            self.input_drift.get_or_create(&labels).set(*drift);
        }
    }
}

/// The text of a label: the library writes it as it is.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
