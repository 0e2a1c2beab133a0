//! What a router knows of itself, and what the doctor finds in it: each finding names the culprit.

use super::finding::{Finding, Severity};
use super::subject::SubjectKind;
use crate::domain::SubscriptionId;

/// Age of the oldest event that is not acknowledged from which on it is reported, in seconds.
const LAG_S_MAX: u64 = 60;
/// Difference of the clocks from which on it is reported, in milliseconds.
const SKEW_MS_MAX: u64 = 1_000;
/// How a check of readiness that found an unconfirmed write ends.
pub const NOT_CONFIRMED: &str = " not confirmed";
/// How it begins if the write was to a stream.
const WRITES_TO: &str = "writes to ";
/// How a check of readiness that looks for a stream begins.
const STREAM: &str = "stream ";

/// The check of readiness that fails while the broker does not answer.
pub const BROKER_UNREACHABLE: &str = "broker unreachable";

/// What the router knows of itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RouterFacts {
    /// Addresses of the broker, without passwords.
    pub broker: String,
    /// Checks of readiness that fail, as the probes name them.
    pub failing: Vec<String>,
    /// What is degraded although the router is ready.
    pub degraded: Vec<String>,
    /// Difference of the clocks of this machine and of the broker, in milliseconds; none before it is known.
    pub skew_ms: Option<u64>,
    /// Age of the oldest event that is not acknowledged, in seconds; none before it was measured.
    pub lag_s: Option<u64>,
    /// The site with most events since the start; none without events.
    pub busiest_site: Option<BusiestSite>,
    /// Dead letters that are stored.
    pub dead_letters: u64,
    /// The subscription with most dead letters since the start; none without any.
    pub most_dead: Option<DoctorSubscription>,
    /// Subscriptions whose filter or handler fails now, those that fail most first; a bounded number of them.
    pub failing_subscriptions: Vec<DoctorSubscription>,
    /// How many fail.
    pub failing_count: u64,
    /// Subscriptions with parked deliveries because a share of the attempts was used up, a bounded number of them.
    pub flooding: Vec<DoctorSubscription>,
    /// Endpoints whose breaker is open here, a bounded number of them.
    pub open_breakers: Vec<OpenBreaker>,
    /// Findings about the configuration, made at the start.
    pub configuration: Vec<Finding>,
}

/// A subscription that is named.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DoctorSubscription {
    /// `<installation>/<key>`.
    pub id: String,
    /// What counts: failures, dead letters, or parked deliveries.
    pub count: u64,
    /// What is wrong in a few words, with the last cause.
    pub cause: String,
}

/// A site, and its part of the events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BusiestSite {
    /// Its id.
    pub site: String,
    /// Percent of the events of the busiest sites.
    pub percent: u64,
}

/// An endpoint whose breaker is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenBreaker {
    /// Its id; none if no subscription has it any more.
    pub id: Option<String>,
    /// Its installation.
    pub installation: String,
    /// Its address, without what may be secret.
    pub endpoint: String,
    /// What the breaker protects: the endpoint, its app at the host, or the host.
    pub scope: &'static str,
    /// Class of the failure that opened it.
    pub cause: &'static str,
}

/// Makes findings of what this replica knows without asking the broker, the worst first.
#[must_use]
pub fn findings_of_replica(router: &RouterFacts) -> Vec<Finding> {
    let mut found = findings(router, None);
    let first = unreachable(&router.broker, None);
    found.sort_by_key(|one| (std::cmp::Reverse(one.severity), *one != first));
    found
}

/// Makes findings of what a router knows; `server` is the name of the only server of the broker, none if there are more.
pub(super) fn findings(router: &RouterFacts, server: Option<&str>) -> Vec<Finding> {
    let checks = router.failing.iter();
    let mut found: Vec<_> = checks.map(|text| failing(text, router, server)).collect();
    found.extend(router.degraded.iter().map(|text| {
        Finding::new(
            Severity::Warning,
            "registry",
            text.clone(),
            "`GET /admin/v1/problems` names them with the reasons",
        )
    }));
    found.extend(of_clock(router.skew_ms));
    found.extend(of_input(router));
    found.extend(of_dead_letters(router));
    found.extend(of_subscriptions(router));
    found.extend(router.open_breakers.iter().map(|one| {
        let OpenBreaker { id, installation, endpoint, scope, cause } = one;
        let finding = Finding::new(
            Severity::Warning,
            "endpoints",
            format!(
                "no attempts at {endpoint} of installation {installation}: the breaker of the {scope} is open, last \
                 cause {cause}"
            ),
            format!("`switchyard endpoints ls -i {installation}` has the last failure and the next probe"),
        );
        let finding = match id {
            Some(id) => finding.about(SubjectKind::Endpoint, id),
            None => finding,
        };
        finding.about(SubjectKind::Installation, installation)
    }));
    found
}

/// Returns the finding of a broker that does not answer.
pub(super) fn unreachable(address: &str, reason: Option<&str>) -> Finding {
    let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
    Finding::new(
        Severity::Critical,
        "broker",
        format!("the broker at {address} does not answer{reason}"),
        "start nats-server, and check nats.url, nats.credentials_file and the network between them",
    )
    .about(SubjectKind::Broker, address)
}

/// A broker that answers and confirms nothing has no space, as a rule: it reports a full disk to no client.
fn failing(text: &str, router: &RouterFacts, server: Option<&str>) -> Finding {
    if text == BROKER_UNREACHABLE {
        return unreachable(&router.broker, None);
    }
    let finding = unready(text, server).about(SubjectKind::Broker, &router.broker);
    match stream_of(text) {
        Some(stream) => finding.about(SubjectKind::Stream, stream),
        None => finding,
    }
}

/// Returns the stream that a check of readiness names.
fn stream_of(check: &str) -> Option<&str> {
    let named = check.strip_prefix(WRITES_TO).or_else(|| check.strip_prefix(STREAM))?;
    // "writes to the broker" names none.
    named.split(' ').next().filter(|name| *name != "the")
}

fn unready(text: &str, server: Option<&str>) -> Finding {
    let message = format!("the router is not ready: {text}");
    if text.ends_with(NOT_CONFIRMED) {
        let (whose, fix) = match server {
            Some(server) => (
                format!("the server {server}"),
                "free space on its disk, then restart this nats-server: it does not write again by itself",
            ),
            None => (
                "the server that leads the stream".to_owned(),
                "`nats stream info` names the leader of each stream; free space on its disk, then restart that nats-server: it does not write again by itself",
            ),
        };
        let message = format!(
            "{message}, although the broker answers: the disk of {whose} is full, or its cluster has no quorum"
        );
        return Finding::new(Severity::Critical, "storage", message, fix);
    }
    let fix = match text {
        "starting" => "wait until the router has loaded the registry",
        "draining" => "the router is stopping: start it again, or ask another replica",
        _ => {
            "see `journalctl` or the log of the router, and `nats stream ls`; docs/runbook.md has the steps"
        }
    };
    Finding::new(Severity::Critical, "broker", message, fix)
}

fn of_clock(skew_ms: Option<u64>) -> Option<Finding> {
    let skew_ms = skew_ms.filter(|skew_ms| *skew_ms > SKEW_MS_MAX)?;
    Some(Finding::new(
        Severity::Warning,
        "clock",
        format!("the clocks of this machine and of the broker differ by {skew_ms} ms"),
        "run NTP on both: receivers refuse signatures with a wrong time",
    ))
}

fn of_input(router: &RouterFacts) -> Option<Finding> {
    let lag_s = router.lag_s.filter(|lag_s| *lag_s > LAG_S_MAX)?;
    let busiest = router.busiest_site.as_ref();
    let site = busiest.map(|BusiestSite { site, percent }| {
        format!("; {percent} % of the events since the start are of the site {site}")
    });
    let finding = Finding::new(
        Severity::Warning,
        "input",
        format!(
            "the oldest event that is not acknowledged waits for {lag_s} s{}",
            site.unwrap_or_default()
        ),
        "`switchyard top` names the costly subscriptions; add routers if all are busy",
    );
    Some(match busiest {
        Some(busiest) => finding.about(SubjectKind::Site, &busiest.site),
        None => finding,
    })
}

fn of_dead_letters(router: &RouterFacts) -> Option<Finding> {
    let count = router.dead_letters;
    let most = router.most_dead.as_ref().map(|DoctorSubscription { id, count, .. }| {
        format!("; {count} since the start of this replica are of {id}, the most")
    });
    let message = format!("{count} dead letters are stored{}", most.unwrap_or_default());
    let fix = "`switchyard dlq ls` lists them with their errors, `switchyard dlq redrive` delivers them again";
    (count > 0).then(|| {
        let finding = Finding::new(Severity::Warning, "dead_letters", message, fix);
        match &router.most_dead {
            Some(most) => about_subscription(finding, &most.id),
            None => finding,
        }
    })
}

/// Adds a subscription and its installation to what a finding speaks of.
fn about_subscription(finding: Finding, id: &str) -> Finding {
    let finding = finding.about(SubjectKind::Subscription, id);
    match SubscriptionId::parse(id) {
        Some(id) => finding.about(SubjectKind::Installation, id.installation.as_str()),
        None => finding,
    }
}

fn of_subscriptions(router: &RouterFacts) -> Vec<Finding> {
    let fails = |DoctorSubscription { id, cause, .. }: &DoctorSubscription| {
        let fix = format!(
            "`switchyard subscriptions show {id}` has its filter, its counts and its last failures"
        );
        let message = format!("{id}: {cause}");
        about_subscription(Finding::new(Severity::Warning, "subscriptions", message, fix), id)
    };
    let mut found: Vec<_> = router.failing_subscriptions.iter().map(fails).collect();
    let named = router.failing_subscriptions.len() as u64;
    if router.failing_count > named {
        let message = format!("{} more subscriptions fail", router.failing_count - named);
        let fix = "`switchyard subscriptions ls --failing` lists all";
        found.push(Finding::new(Severity::Warning, "subscriptions", message, fix));
    }
    found.extend(router.flooding.iter().map(|DoctorSubscription { id, count, .. }| {
        let message = format!(
            "{id} has more deliveries than its share of the attempts takes: {count} wait, others are not affected"
        );
        let fix = "`switchyard top --once --by backlog` has its rate and its handler's failures; \
            docs/runbook.md#tenantfloods has the steps";
        about_subscription(Finding::new(Severity::Warning, "subscriptions", message, fix), id)
    }));
    found
}
