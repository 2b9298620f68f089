//! Which of what is measured people are told about.

use super::served::ServedReport;
use super::traffic::TrafficReport;
use recs_core::notify::{Alert, AlertState};
use recs_core::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Limits beyond which people are told; None: not about that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AlertConfig {
    /// Of the requests of the last check's time, the share that may fail by the server's fault.
    pub max_error_rate: Option<f64>,
    /// The time below which 99 % of them are answered, in milliseconds.
    pub max_p99_ms: Option<f64>,
    /// Stability index of any input against the training rows; above 0.25 is commonly read as another population.
    pub max_input_drift: Option<f64>,
    /// The same of the best scores.
    pub max_score_drift: Option<f64>,
    /// Below this, customers get too much the same lists.
    pub min_personalisation: Option<f64>,
    /// The least share of lists that the model makes, and not bestsellers.
    pub min_by_model: Option<f64>,
    /// Fewer requests say nothing about rates and times.
    pub min_requests: u64,
    /// Fewer lists say nothing about drift and personalisation.
    pub min_lists: u64,
}

impl Default for AlertConfig {
    fn default() -> Self {
        Self {
            max_error_rate: Some(0.01),
            max_p99_ms: Some(250.0),
            max_input_drift: Some(0.25),
            max_score_drift: Some(0.25),
            min_personalisation: Some(0.02),
            min_by_model: Some(0.5),
            min_requests: 100,
            min_lists: 1000,
        }
    }
}

/// A rule, what was measured, and what is allowed.
struct Finding {
    rule: String,
    value: f64,
    limit: f64,
    is_beyond: bool,
    text: String,
}

fn above(rule: impl Into<String>, what: &str, value: Option<f64>, limit: Option<f64>) -> Option<Finding> {
    let (value, limit) = (value?, limit?);
    let text = format!("{what} is {value:.3}, allowed is {limit}");
    Some(Finding { rule: rule.into(), value, limit, is_beyond: value > limit, text })
}

fn below(rule: &str, what: &str, value: Option<f64>, limit: Option<f64>) -> Option<Finding> {
    let found = above(rule, what, value, limit)?;
    let text = format!("{what} is {:.3}, the least allowed is {}", found.value, found.limit);
    Some(Finding { is_beyond: found.value < found.limit, text, ..found })
}

fn findings(config: &AlertConfig, traffic: &TrafficReport, served: Option<&ServedReport>) -> Vec<Finding> {
    let mut found = Vec::new();
    if traffic.requests >= config.min_requests {
        let rate = Some(traffic.error_rate);
        found.extend(above("error_rate", "the share of failed requests", rate, config.max_error_rate));
        found.extend(above(
            "p99_ms",
            "the 99th percentile of the answer times in ms",
            traffic.p99_ms,
            config.max_p99_ms,
        ));
    }
    let Some(served) = served.filter(|served| served.lists >= config.min_lists) else { return found };
    for (input, drift) in &served.input_drift {
        let what = format!("the drift of input {input}");
        found.extend(above(format!("input_drift_{input}"), &what, Some(*drift), config.max_input_drift));
    }
    found.extend(above("score_drift", "the drift of the scores", served.score_drift, config.max_score_drift));
    let what = "the personalisation of the lists";
    found.extend(below("personalisation", what, served.personalisation, config.min_personalisation));
    let by_model: u64 = ["model", "features_only"].iter().filter_map(|of| served.sources.get(of)).sum();
    let share = Some(by_model as f64 / served.lists.max(1) as f64);
    found.extend(below("by_model", "the share of lists that the model made", share, config.min_by_model));
    found
}

/// What people have been told.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    firing: BTreeMap<String, Alert>,
}

impl Alerts {
    /// What has changed: rules that are broken now, and those that are not any more. Nothing is taken as told before
    /// [`Alerts::told`].
    pub(super) fn changes(
        &self,
        config: &AlertConfig,
        (tenant, at): (&TenantId, &str),
        traffic: &TrafficReport,
        served: Option<&ServedReport>,
    ) -> Vec<Alert> {
        let found = findings(config, traffic, served);
        let alert = |finding: &Finding, state| Alert {
            tenant: tenant.clone(),
            rule: finding.rule.clone(),
            state,
            value: finding.value,
            limit: finding.limit,
            text: finding.text.clone(),
            at: at.to_owned(),
        };
        // A rule about which nothing can be said stays as it was.
        let changed =
            found.iter().filter(|finding| finding.is_beyond != self.firing.contains_key(&finding.rule));
        changed
            .map(|finding| match finding.is_beyond {
                true => alert(finding, AlertState::Firing),
                false => alert(finding, AlertState::Resolved),
            })
            .collect()
    }

    /// People know of this.
    pub(super) fn told(&mut self, alert: Alert) {
        match alert.state {
            AlertState::Firing => drop(self.firing.insert(alert.rule.clone(), alert)),
            AlertState::Resolved => drop(self.firing.remove(&alert.rule)),
        }
    }

    /// Those that are on.
    pub(super) fn firing(&self) -> Vec<Alert> {
        self.firing.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(requests: u64, error_rate: f64, p99_ms: f64) -> TrafficReport {
        let failed = (requests as f64 * error_rate) as u64;
        let quantile = Some(p99_ms);
        TrafficReport {
            seconds: 60.0,
            requests,
            failed,
            error_rate,
            p50_ms: quantile,
            p95_ms: quantile,
            p99_ms: quantile,
        }
    }

    fn served(lists: u64, drift: f64) -> ServedReport {
        ServedReport {
            model_version: "v1".into(),
            lists,
            sources: BTreeMap::from([("model", lists)]),
            short: 0,
            coverage: Some(0.5),
            personalisation: Some(0.9),
            input_drift: BTreeMap::from([("city".into(), drift)]),
            score_drift: Some(0.01),
        }
    }

    #[test]
    fn an_alert_is_told_once_and_once_more_when_it_ends() {
        let (config, tenant) = (AlertConfig::default(), TenantId::new("acme").unwrap());
        let mut alerts = Alerts::default();
        let mut check = |traffic, served: Option<&ServedReport>, is_told: bool| {
            let changes = alerts.changes(&config, (&tenant, "now"), &traffic, served);
            let rules: Vec<_> = changes.iter().map(|alert| (alert.rule.clone(), alert.state)).collect();
            changes.into_iter().filter(|_| is_told).for_each(|alert| alerts.told(alert));
            rules
        };
        let error_rate = |state| vec![("error_rate".to_owned(), state)];
        assert_eq!(check(traffic(99, 1.0, 1.0), None, true), [], "too few");
        assert_eq!(check(traffic(100, 0.02, 1.0), None, false), error_rate(AlertState::Firing));
        assert_eq!(
            check(traffic(100, 0.02, 1.0), None, true),
            error_rate(AlertState::Firing),
            "nobody was told"
        );
        assert_eq!(check(traffic(100, 0.02, 1.0), None, true), []);
        assert_eq!(check(traffic(3, 0.0, 1.0), None, true), [], "nothing can be said");
        assert_eq!(check(traffic(100, 0.0, 1.0), None, true), error_rate(AlertState::Resolved));
        assert_eq!(check(traffic(100, 0.0, 300.0), None, true), [("p99_ms".to_owned(), AlertState::Firing)]);
        assert_eq!(check(traffic(0, 0.0, 0.0), Some(&served(999, 2.0)), true), []);
        let drift = |state| vec![("input_drift_city".to_owned(), state)];
        assert_eq!(check(traffic(0, 0.0, 0.0), Some(&served(1000, 2.0)), true), drift(AlertState::Firing));
        assert_eq!(check(traffic(0, 0.0, 0.0), Some(&served(1000, 0.1)), true), drift(AlertState::Resolved));
    }

    #[test]
    fn lists_that_are_all_the_same_are_told_about() {
        let (config, tenant) = (AlertConfig::default(), TenantId::new("acme").unwrap());
        let same = ServedReport { personalisation: Some(0.0), sources: BTreeMap::new(), ..served(2000, 0.0) };
        let alerts = Alerts::default().changes(&config, (&tenant, "now"), &traffic(0, 0.0, 0.0), Some(&same));
        let rules: Vec<_> = alerts.iter().map(|alert| alert.rule.as_str()).collect();
        assert_eq!(rules, ["personalisation", "by_model"]);
        assert!(alerts[0].text.contains("least allowed is 0.02"), "{}", alerts[0].text);
    }
}
