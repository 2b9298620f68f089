//! Which of what is measured people are told about.

use super::served::ServedReport;
use super::traffic::TrafficReport;
use recs_core::notify::{Alert, AlertState};
use recs_core::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Limits beyond which people are told; None: not about that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AlertConfig {
    /// Of the latest requests, the share that may fail by the server's fault.
    pub max_error_rate: Option<f64>,
    /// The time below which 99 % of those for a single list are answered, in milliseconds.
    pub max_p99_ms: Option<f64>,
    /// Stability index of any input against the training rows; above 0.25 is commonly read as another population.
    pub max_input_drift: Option<f64>,
    /// The same of the best scores.
    pub max_score_drift: Option<f64>,
    /// Below this, customers get too much the same lists.
    pub min_personalisation: Option<f64>,
    /// The least share of lists that the model makes, and not bestsellers.
    pub min_by_model: Option<f64>,
    /// Fewer requests say nothing about rates and times: those of the last minutes are taken together until there are so many.
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

/// Begins the names of the rules about inputs.
const INPUT_DRIFT: &str = "input_drift_";
const SCORE_DRIFT: &str = "score_drift";
const PERSONALISATION: &str = "personalisation";

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
        found.extend(above(format!("{INPUT_DRIFT}{input}"), &what, Some(*drift), config.max_input_drift));
    }
    found.extend(above(SCORE_DRIFT, "the drift of the scores", served.score_drift, config.max_score_drift));
    let what = "the personalisation of the lists";
    found.extend(below(PERSONALISATION, what, served.personalisation, config.min_personalisation));
    let by_model: u64 = ["model", "features_only"].iter().filter_map(|of| served.sources.get(of)).sum();
    let share = Some(by_model as f64 / served.lists.max(1) as f64);
    found.extend(below("by_model", "the share of lists that the model made", share, config.min_by_model));
    found
}

/// A rule that is broken.
#[derive(Debug)]
struct Broken {
    alert: Alert,
    /// Checks since at which it was not.
    whole: u32,
}

/// A rule is whole again when it was at so many checks: what sways about its limit is one alert.
const WHOLE: u32 = 2;
/// Alerts that wait for a notifier that does not take them, the latest.
const MAX_WAITING: usize = 100;

/// Which rules are broken, and what each notifier has still to be told.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    broken: BTreeMap<String, Broken>,
    waiting: Vec<VecDeque<Alert>>,
}

impl Alerts {
    pub(super) fn new(notifiers: usize) -> Self {
        Self { broken: BTreeMap::new(), waiting: vec![VecDeque::new(); notifiers] }
    }

    /// Compares what was measured with the limits; gives what has changed, which also waits for each notifier now.
    pub(super) fn check(
        &mut self,
        config: &AlertConfig,
        (tenant, at): (&TenantId, &str),
        traffic: &TrafficReport,
        served: Option<&ServedReport>,
    ) -> Vec<Alert> {
        let found = findings(config, traffic, served);
        let mut changes = Vec::new();
        for Finding { rule, value, limit, is_beyond, text } in &found {
            let alert = |state| Alert {
                tenant: tenant.clone(),
                rule: rule.clone(),
                state,
                value: *value,
                limit: *limit,
                text: text.clone(),
                at: at.to_owned(),
            };
            match (self.broken.get_mut(rule), is_beyond) {
                (Some(broken), true) => (broken.alert, broken.whole) = (alert(AlertState::Firing), 0),
                (None, true) => {
                    let alert = alert(AlertState::Firing);
                    self.broken.insert(rule.clone(), Broken { alert: alert.clone(), whole: 0 });
                    changes.push(alert);
                }
                (Some(broken), false) => {
                    broken.whole += 1;
                    if broken.whole >= WHOLE {
                        self.broken.remove(rule);
                        changes.push(alert(AlertState::Resolved));
                    }
                }
                (None, false) => {}
            }
        }
        changes.extend(self.forget_unmeasured(config, served, at));
        for waiting in &mut self.waiting {
            changes.iter().for_each(|alert| push(waiting, alert.clone()));
        }
        changes
    }

    /// What a version reads no more cannot drift, nor what is not measured of it. (About what too little can be said now stays as it
    /// was.)
    fn forget_unmeasured(
        &mut self,
        config: &AlertConfig,
        served: Option<&ServedReport>,
        at: &str,
    ) -> Vec<Alert> {
        let Some(served) = served.filter(|served| served.lists >= config.min_lists) else {
            return Vec::new();
        };
        let is_gone = |rule: &String| match rule.strip_prefix(INPUT_DRIFT) {
            Some(input) => !served.input_drift.contains_key(input),
            None => {
                rule == SCORE_DRIFT && served.score_drift.is_none()
                    || rule == PERSONALISATION && served.personalisation.is_none()
            }
        };
        let gone: Vec<String> = self.broken.keys().filter(|rule| is_gone(rule)).cloned().collect();
        let removed = gone.iter().filter_map(|rule| self.broken.remove(rule));
        removed
            .map(|broken| Alert { state: AlertState::Resolved, at: at.to_owned(), ..broken.alert })
            .collect()
    }

    /// What each notifier has still to be told, by its number, the oldest first.
    pub(super) fn waiting(&mut self) -> &mut [VecDeque<Alert>] {
        &mut self.waiting
    }

    /// Those that are on.
    pub(super) fn firing(&self) -> Vec<Alert> {
        self.broken.values().map(|broken| broken.alert.clone()).collect()
    }
}

/// An alert whose beginning was not told need not be told to have ended.
fn push(waiting: &mut VecDeque<Alert>, alert: Alert) {
    let before =
        waiting.iter().position(|other| other.rule == alert.rule && other.state == AlertState::Firing);
    match (alert.state, before) {
        (AlertState::Resolved, Some(at)) => drop(waiting.remove(at)),
        _ => waiting.push_back(alert),
    }
    if waiting.len() > MAX_WAITING {
        waiting.pop_front();
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
    fn an_alert_is_told_when_it_begins_and_when_it_ends() {
        let (config, tenant) = (AlertConfig::default(), TenantId::new("acme").unwrap());
        let mut alerts = Alerts::new(1);
        let mut check = |traffic, served: Option<&ServedReport>| {
            let changes = alerts.check(&config, (&tenant, "now"), &traffic, served);
            changes.into_iter().map(|alert| (alert.rule, alert.state)).collect::<Vec<_>>()
        };
        let error_rate = |state| vec![("error_rate".to_owned(), state)];
        assert_eq!(check(traffic(99, 1.0, 1.0), None), [], "too few");
        assert_eq!(check(traffic(100, 0.02, 1.0), None), error_rate(AlertState::Firing));
        assert_eq!(check(traffic(100, 0.02, 1.0), None), []);
        assert_eq!(check(traffic(3, 0.0, 1.0), None), [], "nothing can be said");
        assert_eq!(check(traffic(100, 0.0, 1.0), None), [], "once is not for good");
        assert_eq!(check(traffic(100, 0.02, 1.0), None), [], "it sways");
        assert_eq!(check(traffic(100, 0.0, 1.0), None), []);
        assert_eq!(check(traffic(100, 0.0, 1.0), None), error_rate(AlertState::Resolved));
        assert_eq!(check(traffic(100, 0.0, 300.0), None), [("p99_ms".to_owned(), AlertState::Firing)]);
        assert_eq!(check(traffic(0, 0.0, 0.0), Some(&served(999, 2.0))), []);
        let drift = |state| vec![("input_drift_city".to_owned(), state)];
        assert_eq!(check(traffic(0, 0.0, 0.0), Some(&served(1000, 2.0))), drift(AlertState::Firing));
        // The next version does not look at cities.
        let other = ServedReport { input_drift: BTreeMap::new(), ..served(1000, 0.0) };
        assert_eq!(check(traffic(0, 0.0, 0.0), Some(&other)), drift(AlertState::Resolved));
        let strange = ServedReport { score_drift: Some(3.0), ..other.clone() };
        let scores = |state| vec![("score_drift".to_owned(), state)];
        assert_eq!(check(traffic(0, 0.0, 0.0), Some(&strange)), scores(AlertState::Firing));
        // The one after that has too few customers for a usual score.
        let unknown = ServedReport { score_drift: None, ..other };
        assert_eq!(check(traffic(0, 0.0, 0.0), Some(&unknown)), scores(AlertState::Resolved));
        assert_eq!(alerts.firing().len(), 1);
        let waiting: Vec<_> = alerts.waiting()[0].iter().map(|alert| alert.rule.as_str()).collect();
        assert_eq!(waiting, ["p99_ms"], "what began and ended untold is not told");
    }

    #[test]
    fn lists_that_are_all_the_same_are_told_about() {
        let (config, tenant) = (AlertConfig::default(), TenantId::new("acme").unwrap());
        let same = ServedReport { personalisation: Some(0.0), sources: BTreeMap::new(), ..served(2000, 0.0) };
        let mut alerts = Alerts::default();
        let alerts = alerts.check(&config, (&tenant, "now"), &traffic(0, 0.0, 0.0), Some(&same));
        let rules: Vec<_> = alerts.iter().map(|alert| alert.rule.as_str()).collect();
        assert_eq!(rules, ["personalisation", "by_model"]);
        assert!(alerts[0].text.contains("least allowed is 0.02"), "{}", alerts[0].text);
    }
}
