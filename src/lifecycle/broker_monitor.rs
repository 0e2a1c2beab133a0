//! The broker monitor: asks the broker every second, publishes readiness, creates lost objects again.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use metrics::{counter, gauge};

use super::broker::Broker;
use super::readiness::{CheckState, Readiness};
use super::skew::{SkewChange, SkewWatch};
use crate::api::BrokerAnswers;
use crate::api::health::{CheckView, Health};
use crate::bus::broker_probe::{BrokerProbe, Check, Observation, ProbeRound};
use crate::bus::{Connections, PullSubscription, Subjects, streams};
use crate::clock;
use crate::config::Config;
use crate::recovery::doctor::BROKER_UNREACHABLE;

/// Pause between two rounds. With the time limit of an answer, a failure shows within three seconds.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time limit for creating lost objects again, after which the broker is asked again.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the broker until it is stopped.
pub(super) struct BrokerMonitor {
    probe: BrokerProbe,
    connections: Connections,
    subjects: Subjects,
    config: Config,
    health: Arc<Health>,
    answers: Arc<BrokerAnswers>,
    readiness: Readiness,
    skew: SkewWatch,
}

impl BrokerMonitor {
    /// Returns a monitor that publishes to `health` and `answers`, after a first round that anchors the broker's
    /// clock: nothing may compute a due time before.
    pub(super) async fn start(
        broker: &Broker,
        config: &Config,
        health: &Arc<Health>,
        answers: &Arc<BrokerAnswers>,
    ) -> Self {
        let (connections, subjects) = (&broker.connections, &broker.subjects);
        let mut monitor = Self {
            probe: BrokerProbe::new(connections.clone(), subjects.clone(), config.delivery.log),
            connections: connections.clone(),
            subjects: subjects.clone(),
            config: config.clone(),
            health: Arc::clone(health),
            answers: Arc::clone(answers),
            readiness: Readiness::new(clock::uptime_ms()),
            skew: SkewWatch::default(),
        };
        monitor.round().await;
        monitor
    }

    /// Asks until the future is dropped.
    pub(super) async fn run(mut self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.round().await;
        }
    }

    /// Asks once, and anchors the broker's clock.
    async fn round(&mut self) {
        let ProbeRound { results, time } = self.probe.round().await;
        if let Some(time) = time {
            clock::anchor(&time);
        }
        let passed = |check| results.contains(&(check, Observation::Passed));
        if passed(Check::Broker) {
            self.answers.record(passed(Check::Write), passed(Check::EventWrites));
        }
        if let Some(skew) = clock::skew() {
            gauge!("switchyard_clock_skew_seconds").set(skew.as_secs_f64());
            self.skew.step(skew).into_iter().for_each(log_skew);
        }
        let was_ready = self.readiness.is_ready();
        let repair = self.readiness.step(&results, clock::uptime_ms());
        self.publish(was_ready);
        if !repair.missing.is_empty() {
            let repaired = tokio::time::timeout(REPAIR_TIMEOUT, self.create(&repair.missing)).await;
            if repaired.is_err() {
                tracing::error!("missing streams and consumers not created in time");
            }
        }
    }

    fn publish(&self, was_ready: bool) {
        let is_ready = self.readiness.is_ready();
        gauge!("switchyard_broker_up").set(if is_ready { 1.0 } else { 0.0 });
        for state in self.readiness.states() {
            let failing = if state.is_failing() { 1.0 } else { 0.0 };
            gauge!("switchyard_broker_check_failing", "check" => state.check.label()).set(failing);
        }
        let views: Vec<CheckView> =
            self.readiness.states().iter().map(|state| self.view(state)).collect();
        if was_ready != is_ready {
            let failing: Vec<&str> = views.iter().filter_map(|view| view.failing()).collect();
            if is_ready {
                tracing::info!("broker checks passed: ready");
            } else {
                tracing::warn!(?failing, "broker check failed: not ready");
            }
        }
        self.health.set_checks(views);
    }

    fn view(&self, state: &CheckState) -> CheckView {
        let object = self.probe.object(state.check);
        let (name, text) = match (state.observation, state.check) {
            (Observation::Passed, _) => ("passed", None),
            (Observation::NotChecked, _) => ("not_checked", None),
            (Observation::Missing, _) => ("failing", Some(format!("{object} missing"))),
            (Observation::Unavailable, Check::Broker) => {
                ("failing", Some(BROKER_UNREACHABLE.to_owned()))
            }
            (
                Observation::Unavailable,
                Check::Write
                | Check::EventWrites
                | Check::ParkedWrites
                | Check::DeadLetterWrites
                | Check::LogWrites,
            ) => ("failing", Some(format!("{object} not confirmed"))),
            (Observation::Unavailable, _) => ("failing", Some(format!("{object} unavailable"))),
        };
        let ago_ms = clock::uptime_ms().saturating_sub(state.since_ms);
        let since = clock::broker_now() - SignedDuration::from_millis(ago_ms);
        CheckView { check: state.check.label(), state: name, since, failure: text }
    }

    /// Creates missing streams and consumers again, with the declared configuration.
    async fn create(&self, missing: &[Check]) {
        let (nats, events) = (&self.config.nats, &self.config.events);
        let (control, delivery) = (&self.connections.control, &self.config.delivery);
        let ensured = streams::ensure(control, &self.subjects, nats, events, delivery).await;
        if let Err(error) = ensured {
            tracing::error!(%error, "missing streams not created again");
            return;
        }
        for check in missing {
            let object = self.probe.object(*check);
            if matches!(check, Check::RouterConsumer | Check::DueConsumer) {
                tracing::error!(%object, "was deleted; created again");
                continue;
            }
            counter!("switchyard_streams_recreated_total", "stream" => check.label()).increment(1);
            tracing::error!(
                %object,
                "was deleted; created again with the declared configuration, its messages are lost"
            );
        }
        let events = PullSubscription::events(&self.connections, &self.subjects, events, 1);
        let due = PullSubscription::due(&self.connections, &self.subjects, &self.config.events);
        for consumer in [events, due] {
            if let Err(error) = consumer.ensure().await {
                tracing::error!(%error, "consumer not created again");
            }
        }
    }
}

fn log_skew(change: SkewChange) {
    match change {
        SkewChange::Wrong(skew) => {
            counter!("switchyard_clock_skew_changes_total").increment(1);
            tracing::warn!(
                skew_s = skew.as_secs_f64(),
                "wall clock of this machine differs from the broker's; tokens and signatures use it"
            );
        }
        SkewChange::Corrected => tracing::info!("wall clock agrees with the broker's again"),
    }
}
