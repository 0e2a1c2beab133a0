//! The doctor: what is wrong with the broker and the router, or may go wrong, each with what to do.
//!
//! [`BrokerInspector`] reads facts, [`examine`] makes findings of them. Pure, except for the reading.

use futures_util::future::BoxFuture;
use serde::Serialize;

/// Share of a stream that refuses messages when it is full, from which on it is reported.
const STREAM_SHARE_MAX: f64 = 0.8;
/// Share of the account's storage from which on it is reported.
const STORAGE_SHARE_MAX: f64 = 0.9;
/// Age of the oldest event that is not acknowledged from which on it is reported, in seconds.
const LAG_S_MAX: u64 = 60;
/// Difference of the clocks from which on it is reported, in milliseconds.
const SKEW_MS_MAX: u64 = 1_000;
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

/// What the router knows of itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RouterFacts {
    /// Checks of readiness that fail, as the probes name them.
    pub failing: Vec<String>,
    /// What is degraded although the router is ready.
    pub degraded: Vec<String>,
    /// Difference of the clocks of this machine and of the broker, in milliseconds; none before it is known.
    pub skew_ms: Option<u64>,
    /// Age of the oldest event that is not acknowledged, in seconds; none before it was measured.
    pub lag_s: Option<u64>,
    /// Dead letters that are stored.
    pub dead_letters: u64,
    /// Endpoints whose breaker is open here: installation and address.
    pub open_endpoints: Vec<(String, String)>,
    /// Findings about the configuration, made at the start.
    pub configuration: Vec<Finding>,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FindingSeverity)]
pub enum Severity {
    /// Advice.
    Note,
    /// Something will fail, or fails for some.
    Warning,
    /// Events are not routed, or can be lost.
    Critical,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The check: `broker`, `streams`, `storage`, `clock`, `input`, `dead_letters`, `endpoints`,
    /// `registry` or `config`.
    pub check: &'static str,
    /// What is wrong, one sentence.
    pub message: String,
    /// What to do, one sentence.
    pub fix: String,
}

impl Finding {
    /// Creates a finding.
    #[must_use]
    pub fn new(
        severity: Severity,
        check: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { severity, check, message: message.into(), fix: fix.into() }
    }
}

/// The checks, in the order in which they are listed.
pub const CHECKS: [&str; 9] = [
    "broker",
    "streams",
    "storage",
    "clock",
    "input",
    "dead_letters",
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
        Err(reason) => vec![Finding::new(
            Severity::Critical,
            "broker",
            format!("the broker does not answer: {reason}"),
            "start nats-server, and check nats.url, nats.credentials_file and the network between them",
        )],
    };
    findings.extend(of_router(router));
    findings.extend(router.configuration.iter().cloned());
    findings.sort_by_key(|one| (std::cmp::Reverse(one.severity), one.check));
    findings
}

fn of_stream(stream: &StreamFacts) -> Vec<Finding> {
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
    (!names.is_empty()).then(|| Finding::new(Severity::Note, "streams", message, fix))
}

fn of_storage(facts: &BrokerFacts) -> Option<Finding> {
    let max = facts.storage_max?;
    let share = part(facts.storage_used, max);
    let message = format!("the account uses {:.0} % of its storage", share * 100.0);
    let fix = "raise the storage limit of the account, or lower events.max_bytes and delivery.log_bytes_max";
    (share >= STORAGE_SHARE_MAX).then(|| Finding::new(Severity::Warning, "storage", message, fix))
}

fn of_router(router: &RouterFacts) -> Vec<Finding> {
    let mut found: Vec<_> = router.failing.iter().map(|text| failing(text)).collect();
    found.extend(router.degraded.iter().map(|text| {
        Finding::new(
            Severity::Warning,
            "registry",
            text.clone(),
            "`GET /admin/v1/problems` names them with the reasons",
        )
    }));
    if let Some(skew_ms) = router.skew_ms.filter(|skew_ms| *skew_ms > SKEW_MS_MAX) {
        found.push(Finding::new(
            Severity::Warning,
            "clock",
            format!("the clocks of this machine and of the broker differ by {skew_ms} ms"),
            "run NTP on both: receivers refuse signatures with a wrong time",
        ));
    }
    if let Some(lag_s) = router.lag_s.filter(|lag_s| *lag_s > LAG_S_MAX) {
        found.push(Finding::new(
            Severity::Warning,
            "input",
            format!("the oldest event that is not acknowledged waits for {lag_s} s"),
            "`switchyard top` names the costly subscriptions; add routers if all are busy",
        ));
    }
    if router.dead_letters > 0 {
        found.push(Finding::new(
            Severity::Warning,
            "dead_letters",
            format!("{} dead letters are stored", router.dead_letters),
            "`switchyard dlq ls` lists them by reason, `switchyard dlq redrive` delivers them again",
        ));
    }
    found.extend(router.open_endpoints.iter().map(|(installation, address)| {
        Finding::new(
            Severity::Warning,
            "endpoints",
            format!("the breaker of {address} of installation {installation} is open"),
            format!("`switchyard endpoints ls -i {installation}` has the last cause"),
        )
    }));
    found
}

fn failing(text: &str) -> Finding {
    let fix = match text {
        "starting" => "wait until the router has loaded the registry",
        "draining" => "the router is stopping: start it again, or ask another replica",
        _ => {
            "see `journalctl` or the log of the router, and `nats stream ls`; docs/runbook.md has the steps"
        }
    };
    Finding::new(Severity::Critical, "broker", format!("the router is not ready: {text}"), fix)
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
            ..BrokerFacts::default()
        };
        let router = RouterFacts {
            failing: vec!["stream SW_DLQ missing".into()],
            degraded: vec!["registry documents that cannot be read: 1".into()],
            skew_ms: Some(5_000),
            lag_s: Some(61),
            dead_letters: 3,
            open_endpoints: vec![("first".into(), "https://a.example/".into())],
            configuration: vec![Finding::new(Severity::Note, "config", "a", "b")],
        };
        let found = examine(&Ok(facts), &router);
        assert_eq!(found.len(), 13, "{found:#?}");
        assert!(found.iter().all(|one| !one.fix.is_empty() && CHECKS.contains(&one.check)));
        assert!(found.is_sorted_by_key(|one| std::cmp::Reverse(one.severity)));
        assert!(!found.iter().any(|one| one.message.contains("LOG")), "it deletes old records");
        assert_eq!(found.iter().filter(|one| one.severity == Severity::Critical).count(), 3);
    }

    #[test]
    fn broker_that_does_not_answer_is_critical() {
        let found = checks(Err("timed out".into()), &RouterFacts::default());
        assert_eq!(
            found,
            [(Severity::Critical, "the broker does not answer: timed out".to_owned())]
        );
    }
}
