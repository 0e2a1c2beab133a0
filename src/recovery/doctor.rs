//! The doctor: what is wrong with the broker and the router, or may go wrong, each with what to do.
//!
//! [`BrokerInspector`] reads facts, [`examine`] makes findings of them. Pure, except for the reading.

mod finding;
mod of_router;
mod subject;

use futures_util::future::BoxFuture;
use serde::Serialize;

pub use finding::{Finding, Severity};
pub use of_router::{
    BROKER_UNREACHABLE, BusiestSite, DoctorSubscription, NOT_CONFIRMED, OpenBreaker, RouterFacts,
    findings_of_replica,
};
pub use subject::{Subject, SubjectKind};

/// Share of a stream that refuses messages when it is full, from which on it is reported.
const STREAM_SHARE_MAX: f64 = 0.8;
/// Share of the account's storage from which on it is reported.
const STORAGE_SHARE_MAX: f64 = 0.9;
/// Replicas that survive the loss of a server.
const REPLICAS_SAFE: usize = 3;

/// Reads what the broker says of itself; implemented by `bus`.
pub trait BrokerInspector: Send + Sync {
    /// Returns what the broker says of itself and of the streams of this router.
    ///
    /// # Errors
    /// The broker does not answer; one sentence.
    fn facts(&self) -> BoxFuture<'_, Result<BrokerFacts, String>>;
}

/// What the broker says of itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerFacts {
    /// Version of the server that the router is connected to.
    pub version: String,
    /// Name of that server.
    pub server: String,
    /// Bytes that the account stores in files.
    pub storage_used: u64,
    /// Bytes that it may store; none without a limit.
    pub storage_max: Option<u64>,
    /// The streams of this router.
    pub streams: Vec<StreamFacts>,
}

/// One stream.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamFacts {
    /// Its name.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// Messages that it stores.
    pub messages: u64,
    /// Bytes that it stores.
    pub bytes: u64,
    /// Bytes that it may store; none without a limit.
    pub bytes_max: Option<u64>,
    /// Whether it refuses messages when it is full, instead of deleting old ones.
    pub refuses_when_full: bool,
    /// Copies of each message.
    pub replicas: usize,
    /// Servers with a copy that are offline or behind.
    pub replicas_behind: usize,
    /// Whether it is stored in files.
    pub is_durable: bool,
}

/// The checks, in the order in which they are listed.
pub const CHECKS: [&str; 10] = [
    "broker",
    "streams",
    "storage",
    "clock",
    "input",
    "dead_letters",
    "subscriptions",
    "endpoints",
    "registry",
    "config",
];

/// Makes findings of what was read, the worst first.
#[must_use]
pub fn examine(broker: &Result<BrokerFacts, String>, router: &RouterFacts) -> Vec<Finding> {
    let mut findings = match broker {
        Ok(facts) => {
            let mut found: Vec<_> = facts.streams.iter().flat_map(of_stream).collect();
            found.extend(of_copies(facts));
            found.extend(of_storage(facts));
            found
        }
        Err(reason) => vec![of_router::unreachable(&router.broker, Some(reason))],
    };
    // In a cluster another server may be the one that confirms nothing.
    let alone = |facts: &&BrokerFacts| facts.streams.iter().all(|stream| stream.replicas <= 1);
    let server = broker.as_ref().ok().filter(alone).map(|facts| facts.server.as_str());
    let mut of_replica = of_router::findings(router, server);
    if broker.is_err() {
        // It is said already, with the reason.
        let said = of_router::unreachable(&router.broker, None);
        of_replica.retain(|one| *one != said);
    }
    findings.extend(of_replica);
    findings.extend(router.configuration.iter().cloned());
    findings.sort_by_key(|one| (std::cmp::Reverse(one.severity), one.check));
    findings
}

fn of_stream(stream: &StreamFacts) -> Vec<Finding> {
    let found = findings_of_stream(stream).into_iter();
    found.map(|one| one.about(SubjectKind::Stream, &stream.name)).collect()
}

fn findings_of_stream(stream: &StreamFacts) -> Vec<Finding> {
    let name = &stream.name;
    if !stream.exists {
        return vec![Finding::new(
            Severity::Critical,
            "streams",
            format!("stream {name} does not exist"),
            "restart a router: it creates the streams that it needs",
        )];
    }
    let mut found = Vec::new();
    if !stream.is_durable {
        found.push(Finding::new(
            Severity::Critical,
            "streams",
            format!("stream {name} is stored in memory: it is lost when the server stops"),
            format!("`nats stream rm {name}` while no router runs, then start one: it creates it in files"),
        ));
    }
    if stream.replicas_behind > 0 {
        found.push(Finding::new(
            Severity::Warning,
            "streams",
            format!("{} copies of stream {name} are offline or behind", stream.replicas_behind),
            format!("`nats stream info {name}` names the servers; bring them back"),
        ));
    }
    if let Some(max) = stream.bytes_max.filter(|_| stream.refuses_when_full) {
        let share = part(stream.bytes, max);
        if share >= STREAM_SHARE_MAX {
            found.push(Finding::new(
                Severity::Warning,
                "streams",
                format!("stream {name} is {:.0} % full, and refuses messages when it is full", share * 100.0),
                "see `switchyard dlq ls`, `switchyard endpoints ls --failing` and the lag; raise the limit of the \
                 stream in the configuration if the amount is right",
            ));
        }
    }
    found
}

fn of_copies(facts: &BrokerFacts) -> Option<Finding> {
    let few = facts.streams.iter().filter(|one| one.exists && one.replicas < REPLICAS_SAFE);
    let names: Vec<_> = few.map(|one| one.name.as_str()).collect();
    let message = format!(
        "a lost server loses messages, since less than {REPLICAS_SAFE} have a copy: {}",
        names.join(", ")
    );
    let fix = "run three servers as a cluster and set nats.replicas = 3";
    (!names.is_empty()).then(|| {
        let finding = Finding::new(Severity::Note, "streams", message, fix);
        names.iter().fold(finding, |finding, name| finding.about(SubjectKind::Stream, *name))
    })
}

fn of_storage(facts: &BrokerFacts) -> Option<Finding> {
    let max = facts.storage_max?;
    let share = part(facts.storage_used, max);
    let message = format!("the account uses {:.0} % of its storage", share * 100.0);
    let fix = "raise the storage limit of the account, or lower events.max_bytes and delivery.log_bytes_max";
    (share >= STORAGE_SHARE_MAX).then(|| {
        let finding = Finding::new(Severity::Warning, "storage", message, fix);
        finding.about(SubjectKind::Broker, &facts.server)
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn part(used: u64, max: u64) -> f64 {
    if max == 0 { 0.0 } else { used as f64 / max as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StreamFacts {
        StreamFacts {
            name: "SW_EVENTS".into(),
            exists: true,
            replicas: 3,
            is_durable: true,
            refuses_when_full: true,
            bytes: 10,
            bytes_max: Some(100),
            ..StreamFacts::default()
        }
    }

    fn named(id: &str) -> DoctorSubscription {
        DoctorSubscription { id: id.into(), count: 7, cause: "its filter fails".into() }
    }

    fn checks(
        broker: Result<BrokerFacts, String>,
        router: &RouterFacts,
    ) -> Vec<(Severity, String)> {
        let found = examine(&broker, router);
        found.into_iter().map(|one| (one.severity, one.message)).collect()
    }

    #[test]
    fn a_healthy_router_has_no_finding() {
        let facts = BrokerFacts {
            streams: vec![stream()],
            storage_used: 10,
            storage_max: Some(100),
            ..BrokerFacts::default()
        };
        let router = RouterFacts { skew_ms: Some(2), lag_s: Some(0), ..RouterFacts::default() };
        assert_eq!(checks(Ok(facts), &router), []);
    }

    #[test]
    fn each_fault_is_named_with_a_fix_and_the_worst_comes_first() {
        let streams = vec![
            StreamFacts { bytes: 85, replicas: 1, replicas_behind: 1, ..stream() },
            StreamFacts { name: "M".into(), is_durable: false, ..stream() },
            StreamFacts { name: "GONE".into(), exists: false, ..stream() },
            StreamFacts { name: "LOG".into(), bytes: 99, refuses_when_full: false, ..stream() },
        ];
        let facts = BrokerFacts {
            streams,
            storage_used: 95,
            storage_max: Some(100),
            server: "n1".into(),
            ..BrokerFacts::default()
        };
        let router = RouterFacts {
            broker: "nats://n1".into(),
            failing: vec![
                "stream SW_DLQ missing".into(),
                "writes to SW_EVENTS not confirmed".into(),
            ],
            degraded: vec!["registry documents that cannot be read: 1".into()],
            skew_ms: Some(5_000),
            lag_s: Some(61),
            busiest_site: Some(BusiestSite { site: "site-1".into(), percent: 90 }),
            dead_letters: 3,
            most_dead: Some(named("first/a")),
            failing_subscriptions: vec![named("first/a")],
            failing_count: 3,
            flooding: vec![named("first/b")],
            open_breakers: vec![OpenBreaker {
                installation: "first".into(),
                id: Some("first/ep_1".into()),
                endpoint: "https://a.example/".into(),
                scope: "endpoint",
                cause: "timeout",
            }],
            configuration: vec![Finding::new(Severity::Note, "config", "a", "b")],
        };
        let found = examine(&Ok(facts), &router);
        assert_eq!(found.len(), 17, "{found:#?}");
        assert!(found.iter().all(|one| !one.fix.is_empty() && CHECKS.contains(&one.check)));
        assert!(found.is_sorted_by_key(|one| std::cmp::Reverse(one.severity)));
        assert!(!found.iter().any(|one| one.message.contains("LOG")), "it deletes old records");
        assert_eq!(found.iter().filter(|one| one.severity == Severity::Critical).count(), 4);
        for named in [
            "the disk of the server that leads the stream is full",
            "90 % of the events since the start are of the site site-1",
            "7 since the start of this replica are of first/a",
            "first/a: its filter fails",
            "2 more subscriptions fail",
            "first/b has more deliveries than its share",
            "https://a.example/ of installation first: the breaker of the endpoint is open, last cause timeout",
        ] {
            assert!(found.iter().any(|one| one.message.contains(named)), "{named}: {found:#?}");
        }
        for (message, kind, id) in [
            ("SW_EVENTS is 85 % full", SubjectKind::Stream, "SW_EVENTS"),
            ("writes to SW_EVENTS not confirmed", SubjectKind::Stream, "SW_EVENTS"),
            ("writes to SW_EVENTS not confirmed", SubjectKind::Broker, "nats://n1"),
            ("stream SW_DLQ missing", SubjectKind::Stream, "SW_DLQ"),
            ("are of the site site-1", SubjectKind::Site, "site-1"),
            ("are of first/a", SubjectKind::Subscription, "first/a"),
            ("first/a: its filter fails", SubjectKind::Subscription, "first/a"),
            ("first/b has more deliveries", SubjectKind::Subscription, "first/b"),
            ("first/b has more deliveries", SubjectKind::Installation, "first"),
            ("breaker of the endpoint is open", SubjectKind::Endpoint, "first/ep_1"),
        ] {
            let one = found.iter().find(|one| one.message.contains(message)).expect(message);
            let subject = Subject::new(kind, id);
            assert!(one.subjects.contains(&subject), "{message}: {:?}", one.subjects);
        }
    }

    #[test]
    fn broker_that_does_not_answer_is_said_once_and_first() {
        let router = RouterFacts {
            broker: "nats://n1".into(),
            failing: vec!["broker stores no deliveries".into(), BROKER_UNREACHABLE.into()],
            failing_subscriptions: vec![named("first/a")],
            failing_count: 1,
            ..RouterFacts::default()
        };
        let said = |found: &[Finding]| {
            let is_it = |one: &&Finding| one.message.contains("nats://n1 does not answer");
            (found.iter().filter(is_it).count(), found[0].message.contains("does not answer"))
        };
        assert_eq!(said(&examine(&Err("timed out".into()), &router)), (1, true));
        let found = findings_of_replica(&router);
        assert_eq!((said(&found), found.len()), ((1, true), 3), "{found:?}");
        assert_eq!(found[0].subjects, [Subject::new(SubjectKind::Broker, "nats://n1")]);
    }

    #[test]
    fn broker_that_does_not_answer_is_critical() {
        let router = RouterFacts { broker: "nats://n1".into(), ..RouterFacts::default() };
        let found = checks(Err("timed out".into()), &router);
        assert_eq!(
            found,
            [(Severity::Critical, "the broker at nats://n1 does not answer: timed out".to_owned())]
        );
    }
}
