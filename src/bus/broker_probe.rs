//! One round of questions to the broker: does it answer, does everything exist, is a write confirmed.
//!
//! The state of a TCP connection is no answer: a broker that is frozen, lost its quorum or has a full disk keeps
//! its connections. Each connection of the router asks at least one question.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Request};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::connect::Connections;
use super::subjects::{DUE_CONSUMER, ROUTER_CONSUMER, Subjects};
use super::write_outcomes;
use crate::clock::{self, BrokerTime};

/// Time limit of one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Key in the state bucket that is written in each round; one for all replicas.
const HEARTBEAT_KEY: &str = "heartbeat";
/// Size of the heartbeat: a page, so that each write needs space. A smaller one would still fit into the last page of
/// a file when the disk is full.
const HEARTBEAT_BYTES: usize = 4096;
/// Error codes of JetStream: no such stream, no such consumer.
const NOT_FOUND: [u32; 2] = [10_059, 10_014];

/// What a round checks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Check {
    /// JetStream answers.
    Broker,
    /// The event stream.
    Events,
    /// The parking stream.
    Parked,
    /// The dead-letter stream.
    DeadLetters,
    /// The stream of ids.
    Repeats,
    /// The stream of the delivery log; passes if the log is off.
    Log,
    /// The bucket of the registry.
    Registry,
    /// The bucket of floors and the heartbeat.
    State,
    /// The consumer of events.
    RouterConsumer,
    /// The consumer of due parked records.
    DueConsumer,
    /// A write into the state bucket is confirmed.
    Write,
    /// The last publishes into the event stream were confirmed.
    EventWrites,
    /// The last publishes into the parking stream were confirmed.
    ParkedWrites,
    /// The last publishes into the dead-letter stream were confirmed.
    DeadLetterWrites,
    /// The last publishes into the delivery log were confirmed.
    LogWrites,
}

impl Check {
    /// All checks, in the order in which they are shown.
    pub const ALL: [Self; 15] = [
        Self::Broker,
        Self::Events,
        Self::Parked,
        Self::DeadLetters,
        Self::Repeats,
        Self::Log,
        Self::Registry,
        Self::State,
        Self::RouterConsumer,
        Self::DueConsumer,
        Self::Write,
        Self::EventWrites,
        Self::ParkedWrites,
        Self::DeadLetterWrites,
        Self::LogWrites,
    ];

    /// Returns its name, also as metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Events => "stream_events",
            Self::Parked => "stream_parked",
            Self::DeadLetters => "stream_dlq",
            Self::Repeats => "stream_repeats",
            Self::Log => "stream_log",
            Self::Registry => "bucket_registry",
            Self::State => "bucket_state",
            Self::RouterConsumer => "consumer_router",
            Self::DueConsumer => "consumer_due",
            Self::Write => "write",
            Self::EventWrites => "writes_events",
            Self::ParkedWrites => "writes_parked",
            Self::DeadLetterWrites => "writes_dlq",
            Self::LogWrites => "writes_log",
        }
    }
}

/// The result of one check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observation {
    /// As it should be.
    Passed,
    /// The broker answers that it does not exist.
    Missing,
    /// No answer in time, or an error.
    Unavailable,
    /// Not asked, because the broker did not answer at all.
    NotChecked,
}

/// The results of one round.
#[derive(Clone, Debug)]
pub struct ProbeRound {
    /// The result of each check of [`Check::ALL`], in that order.
    pub results: Vec<(Check, Observation)>,
    /// The broker's clock, if it answered.
    pub time: Option<BrokerTime>,
}

/// Asks the broker.
#[derive(Clone, Debug)]
pub struct BrokerProbe {
    connections: Connections,
    subjects: Subjects,
    has_log: bool,
}

/// The members of an answer of the JetStream API, or of a publish, that the probe reads.
#[derive(Deserialize)]
struct Answer {
    ts: Option<String>,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    err_code: Option<u32>,
}

impl BrokerProbe {
    /// Returns a probe over all connections of the router; `has_log` says whether there is a delivery log.
    #[must_use]
    pub fn new(connections: Connections, subjects: Subjects, has_log: bool) -> Self {
        Self { connections, subjects, has_log }
    }

    /// Returns the name of what a check looks for, as an operator knows it.
    #[must_use]
    pub fn object(&self, check: Check) -> String {
        match check {
            Check::Broker => "broker".into(),
            Check::Events => format!("stream {}", self.subjects.events_stream()),
            Check::Parked => format!("stream {}", self.subjects.parked_stream()),
            Check::DeadLetters => format!("stream {}", self.subjects.dead_letter_stream()),
            Check::Repeats => format!("stream {}", self.subjects.repeats_stream()),
            Check::Log => format!("stream {}", self.subjects.log_stream()),
            Check::Registry => format!("stream {}", self.subjects.registry_stream()),
            Check::State => format!("stream {}", self.subjects.state_stream()),
            Check::RouterConsumer => format!("consumer {ROUTER_CONSUMER}"),
            Check::DueConsumer => format!("consumer {DUE_CONSUMER}"),
            Check::Write => "writes to the broker".into(),
            Check::EventWrites => format!("writes to {}", self.subjects.events_stream()),
            Check::ParkedWrites => format!("writes to {}", self.subjects.parked_stream()),
            Check::DeadLetterWrites => format!("writes to {}", self.subjects.dead_letter_stream()),
            Check::LogWrites => format!("writes to {}", self.subjects.log_stream()),
        }
    }

    /// Asks all questions; returns after at most twice [`ANSWER_TIMEOUT`].
    ///
    /// The first question decides whether the broker answers. Without an answer the others are not asked, so that
    /// an outage costs one request a round.
    pub async fn round(&self) -> ProbeRound {
        let control = &self.connections.control.client;
        let sent = clock::tick();
        let events = self.subjects.events_stream();
        let (events, jetstream) = tokio::join!(
            ask(control, stream_info(&events)),
            ask(control, "$JS.API.INFO".to_owned())
        );
        let time = events.as_ref().and_then(|answer| answer.time());
        let received = clock::tick();
        let broker = match &jetstream {
            Some(answer) => answer.observation(),
            None => observation(events.as_ref()),
        };
        let results = if broker == Observation::Passed {
            let others = self.others(observation(events.as_ref())).await;
            [(Check::Broker, broker)].into_iter().chain(others).collect()
        } else {
            let unavailable = (Check::Broker, Observation::Unavailable);
            let others = Check::ALL.into_iter().filter(|check| *check != Check::Broker);
            let others = others.map(|check| (check, Observation::NotChecked));
            [unavailable].into_iter().chain(others).collect()
        };
        ProbeRound { results, time: time.map(|time| BrokerTime { sent, received, time }) }
    }

    async fn others(&self, events: Observation) -> [(Check, Observation); 14] {
        let control = &self.connections.control.client;
        let intake = &self.connections.intake.client;
        let outbound = &self.connections.outbound.client;
        let stream =
            async |name: String| observation(ask(control, stream_info(&name)).await.as_ref());
        let consumer = async |stream: String, name: &str| {
            let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{name}");
            observation(ask(intake, subject).await.as_ref())
        };
        let heartbeat = format!("$KV.{}.{HEARTBEAT_KEY}", self.subjects.state_bucket());
        let log = async || match self.has_log {
            true => stream(self.subjects.log_stream()).await,
            false => Observation::Passed,
        };
        let (parked, dead_letters, repeats, log, registry, state, router, due, write) = tokio::join!(
            stream(self.subjects.parked_stream()),
            stream(self.subjects.dead_letter_stream()),
            stream(self.subjects.repeats_stream()),
            log(),
            stream(self.subjects.registry_stream()),
            stream(self.subjects.state_stream()),
            consumer(self.subjects.events_stream(), ROUTER_CONSUMER),
            consumer(self.subjects.parked_stream(), DUE_CONSUMER),
            ask_with(outbound, heartbeat, vec![b' '; HEARTBEAT_BYTES].into())
        );
        let written = |stream| match write_outcomes::are_confirmed(stream) {
            true => Observation::Passed,
            false => Observation::Unavailable,
        };
        [
            (Check::Events, events),
            (Check::Parked, parked),
            (Check::DeadLetters, dead_letters),
            (Check::Repeats, repeats),
            (Check::Log, log),
            (Check::Registry, registry),
            (Check::State, state),
            (Check::RouterConsumer, router),
            (Check::DueConsumer, due),
            (Check::Write, observation(write.as_ref())),
            (Check::EventWrites, written("events")),
            (Check::ParkedWrites, written("parked")),
            (Check::DeadLetterWrites, written("dlq")),
            (Check::LogWrites, written("log")),
        ]
    }
}

fn stream_info(stream: &str) -> String {
    format!("$JS.API.STREAM.INFO.{stream}")
}

/// Returns the answer to a request without a payload; `None` without an answer in time.
async fn ask(client: &Client, subject: String) -> Option<Answer> {
    ask_with(client, subject, Bytes::new()).await
}

/// Returns the answer to a request; `None` without an answer in time.
///
/// With an inbox of its own, because the client keeps an entry for each request to the shared inbox that is never
/// answered.
async fn ask_with(client: &Client, subject: String, payload: Bytes) -> Option<Answer> {
    if client.connection_state() != State::Connected {
        return None;
    }
    let request = Request::new().payload(payload).inbox(client.new_inbox());
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, client.send_request(subject, request));
    let message = answered.await.ok()?.ok()?;
    serde_json::from_slice(&message.payload).ok()
}

fn observation(answer: Option<&Answer>) -> Observation {
    answer.map_or(Observation::Unavailable, Answer::observation)
}

impl Answer {
    fn observation(&self) -> Observation {
        match &self.error {
            None => Observation::Passed,
            Some(error) if error.err_code.is_some_and(|code| NOT_FOUND.contains(&code)) => {
                Observation::Missing
            }
            Some(_) => Observation::Unavailable,
        }
    }

    fn time(&self) -> Option<Timestamp> {
        self.ts.as_ref()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(json: &str) -> Observation {
        observation(serde_json::from_str::<Answer>(json).ok().as_ref())
    }

    #[test]
    fn missing_objects_are_distinguished_from_failures() {
        assert_eq!(observed(r#"{"type":"x","ts":"2026-11-29T08:00:00.5Z"}"#), Observation::Passed);
        assert_eq!(observed(r#"{"stream":"KV_SW_STATE","seq":7}"#), Observation::Passed);
        for code in NOT_FOUND {
            let answer = format!(r#"{{"error":{{"code":404,"err_code":{code}}}}}"#);
            assert_eq!(observed(&answer), Observation::Missing);
        }
        let unavailable = r#"{"error":{"code":503,"err_code":10008,"description":"temporarily"}}"#;
        assert_eq!(observed(unavailable), Observation::Unavailable);
        assert_eq!(observed(""), Observation::Unavailable);
    }

    #[test]
    fn check_labels_are_unique() {
        let labels: std::collections::HashSet<_> = Check::ALL.map(Check::label).into();
        assert_eq!(labels.len(), Check::ALL.len());
    }
}
