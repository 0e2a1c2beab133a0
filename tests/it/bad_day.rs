//! The bad day of an operator: six incidents, each with a real router and broker. Two commands name the culprit and the
//! cause, the series that its alert reads moves with the label of the culprit, the operator API has the culprit for a link, and the
//! table of the runbook says so.
//!
//! `make check-metrics` causes the same incidents and has a real Prometheus fire the alerts.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NEVER, NatsServer, RouterProcess, Setup, Sink, SmallDisk, WAIT_MAX, eventually,
    publish,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";
const SITE: &str = "site-1";
/// What a line of the table leaves out.
const GAP: &str = " .. ";

/// An incident as the runbook has it. In what commands say, addresses are `HANDLER` and `BROKER`, and a number is `N`.
struct Incident {
    name: &'static str,
    /// Commands, each with the line that names the culprit or the cause.
    commands: [(&'static str, &'static str); 2],
    alert: &'static str,
    /// The series that the alert reads, with the labels that name the culprit.
    series: &'static str,
    /// Kind and id of the culprit, as the operator API links it; an id that ends with `_` is the beginning of one.
    subject: (&'static str, &'static str),
}

const HANDLER_HANGS: Incident = Incident {
    name: "a handler hangs",
    commands: [
        (
            "doctor",
            "no attempts at HANDLER/hangs of installation hanging: the breaker of the endpoint is open, last cause timeout",
        ),
        ("endpoints ls --failing", "hanging/ep_ .. open .. ago timeout: .. HANDLER/hangs"),
    ],
    alert: "EndpointBreakerOpen",
    series: "switchyard_endpoint_breaker_open{app=\"app-hanging\",installation=\"hanging\",endpoint=\"HANDLER/hangs\",\
        scope=\"endpoint\",cause=\"timeout\"}",
    subject: ("endpoint", "hanging/ep_"),
};

const FIELD_MISSPELT: Incident = Incident {
    name: "a filter reads a misspelt field",
    commands: [
        (
            "doctor",
            "misspelt/urgent: its filter fails: Type null does not have any properties at `event.issue.fields.priorty.name`",
        ),
        (
            "subscriptions show misspelt/urgent",
            "last error N s ago: Type null does not have any properties at `event.issue.fields.priorty.name`",
        ),
    ],
    alert: "FilterFailing",
    series: "switchyard_subscription_errors_total{app=\"app-misspelt\",installation=\"misspelt\",key=\"urgent\"}",
    subject: ("subscription", "misspelt/urgent"),
};

const DEAD_LETTERS: Incident = Incident {
    name: "a handler rejects everything",
    commands: [
        (
            "doctor",
            "N dead letters are stored; N since the start of this replica are of rejecting/urgent, the most",
        ),
        ("dlq ls", "rejected_N .. rejecting/urgent .. ago .. status N"),
    ],
    alert: "SubscriptionDeadLetters",
    series: "switchyard_subscription_dead_total{app=\"app-rejecting\",installation=\"rejecting\",key=\"urgent\"}",
    subject: ("subscription", "rejecting/urgent"),
};

const TENANT_FLOODS: Incident = Incident {
    name: "a tenant floods its handler",
    commands: [
        (
            "doctor",
            "flooding/urgent has more deliveries than its share of the attempts takes: N wait, others are not affected",
        ),
        ("top --once --by backlog", "flooding/urgent"),
    ],
    alert: "TenantFloods",
    series: "switchyard_subscription_over_share_total{app=\"app-flooding\",installation=\"flooding\",key=\"urgent\"}",
    subject: ("subscription", "flooding/urgent"),
};

const BROKER_STOPPED: Incident = Incident {
    name: "the broker stopped",
    commands: [
        ("doctor", "the broker at BROKER does not answer"),
        ("health", "critical: broker unreachable"),
    ],
    alert: "BrokerDown",
    series: "switchyard_broker_up",
    subject: ("broker", "BROKER"),
};

const DISK_FULL: Incident = Incident {
    name: "the disk of the broker is full",
    commands: [
        (
            "doctor",
            "not confirmed, although the broker answers: the disk of the server solo is full, or its cluster has no quorum",
        ),
        ("health", "critical: .. writes to .. not confirmed"),
    ],
    alert: "BrokerNotWriting",
    series: "switchyard_broker_check_failing{check=\"write\"}",
    subject: ("broker", "BROKER"),
};

const INCIDENTS: [Incident; 6] =
    [HANDLER_HANGS, FIELD_MISSPELT, DEAD_LETTERS, TENANT_FLOODS, BROKER_STOPPED, DISK_FULL];

/// A router with a culprit, and a subscription that is well.
struct Day {
    router: RouterProcess,
    sink: Sink,
    // Ends after the router.
    nats: NatsServer,
}

impl Day {
    async fn start(nats: NatsServer, settings: &[(&str, &str)]) -> Self {
        let sink = Sink::start().await;
        let with = |setup: Setup, (name, value): &(&str, &str)| setup.with(name, value);
        let setup = Setup::new(&nats.url(), nats.folder().join("router"));
        let router = settings.iter().fold(setup, with).start().await;
        let day = Self { router, sink, nats };
        day.subscribe("healthy", "event.issue.fields.project.key == 'XXX'").await;
        day
    }

    /// Provisions an app, an installation and the trigger `urgent`, whose handler is the path of this name.
    async fn subscribe(&self, installation: &str, filter: &str) {
        let handler = self.sink.url(&format!("/{installation}"));
        let path = if installation == "hanging" { self.sink.url("/hangs") } else { handler };
        self.router.provision(&format!("app-{installation}"), installation, SITE, &path).await;
        let data =
            json!({"endpoint": "hook", "events": [EVENT_TYPE], "filter": {"expression": filter}});
        let module = format!("/admin/v1/installations/{installation}/modules/urgent");
        self.router.put(&module, json!({"type": "trigger", "data": data})).await;
    }

    async fn publish(&self, numbers: std::ops::Range<u64>) {
        let client = self.nats.client().await;
        for number in numbers {
            publish(&client, SITE, number, "XXX").await;
        }
    }

    /// Runs a command; returns what it prints, with words in place of addresses and numbers.
    async fn run(&self, command: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(command.split(' '))
            .env("SWITCHYARD_SERVER", self.router.api.base())
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .kill_on_drop(true)
            .output()
            .await
            .expect("the command runs");
        let text = [output.stdout, output.stderr].concat();
        self.in_words(&String::from_utf8(text).expect("a text"))
    }

    fn in_words(&self, text: &str) -> String {
        let handler = self.sink.url("");
        let text = text.replace(&handler, "HANDLER").replace(&self.nats.url(), "BROKER");
        let mut words = String::new();
        for character in text.chars() {
            match character {
                '0'..='9' if words.ends_with('N') => {}
                '0'..='9' => words.push('N'),
                ' ' if words.ends_with(' ') => {}
                other => words.push(other),
            }
        }
        words
    }

    /// Waits until both commands name the culprit and the cause, and the series of the alert has `is_moved`.
    async fn hold(&self, incident: &Incident, is_moved: impl Fn(f64) -> bool) {
        for (command, said) in incident.commands {
            let last = std::sync::Mutex::new(String::new());
            let found = tokio::time::timeout(WAIT_MAX, async {
                loop {
                    let text = self.run(command).await;
                    if text.lines().any(|line| says(line, said)) {
                        return;
                    }
                    *last.lock().expect("a text") = text;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            });
            let found = found.await;
            assert!(
                found.is_ok(),
                "`{command}` does not say `{said}`:\n{}",
                last.lock().expect("a text")
            );
        }
        self.links_the_culprit(incident).await;
        let series = incident.series.replace("HANDLER", &self.sink.url(""));
        eventually(WAIT_MAX, incident.series, || async {
            is_moved(self.router.metric(&series).await).then_some(())
        })
        .await;
    }
}

impl Day {
    /// Waits until a sentence of the doctor, and one of the problems, names the culprit for a link.
    async fn links_the_culprit(&self, incident: &Incident) {
        let said = incident.commands[0].1;
        for (path, list, sentence) in
            [("/admin/v1/doctor", "findings", "message"), ("/admin/v1/problems", "items", "reason")]
        {
            let what = format!("{path} names {:?}", incident.subject);
            eventually(WAIT_MAX, &what, || async {
                let found = self.router.get(path).await.ok()?;
                let items = found[list].as_array()?.iter();
                // The doctor says the sentence of the command; problems are found without asking the broker for its name.
                let of_incident = items.filter(|one| {
                    let text = self.in_words(one[sentence].as_str().unwrap_or_default());
                    list == "items" || says(&text, said)
                });
                let mut linked = of_incident.filter(|one| self.is_about(one, incident.subject));
                let item = linked.next()?;
                assert!(!item["fix"].as_str()?.is_empty(), "{item}");
                Some(())
            })
            .await;
        }
    }

    fn is_about(&self, item: &Value, (kind, id): (&str, &str)) -> bool {
        let subjects = item["subjects"].as_array().into_iter().flatten();
        let mut ids =
            subjects.filter(|one| one["kind"] == kind).filter_map(|one| one["id"].as_str());
        ids.any(|found| {
            let found = self.in_words(found);
            found == id || (id.ends_with('_') && found.starts_with(id))
        })
    }
}

/// Whether a line has the parts of a text in their order.
fn says(line: &str, said: &str) -> bool {
    let mut rest = line;
    said.split(GAP).all(|part| {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
        true
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handler_that_hangs_is_named_by_two_commands_and_its_alert() {
    let settings = [("SWITCHYARD_DELIVERY__TIMEOUT_MS", "300")];
    let day = Day::start(NatsServer::start().await, &settings).await;
    day.sink.answer("/hangs", NEVER, None);
    day.subscribe("hanging", "true").await;
    day.publish(0..12).await;
    day.hold(&HANDLER_HANGS, |open| open > 0.5).await;
    day.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misspelt_field_of_a_filter_is_named_by_two_commands_and_its_alert() {
    let day = Day::start(NatsServer::start().await, &[]).await;
    day.subscribe("misspelt", "event.issue.fields.priorty.name == 'High'").await;
    day.publish(0..5).await;
    day.hold(&FIELD_MISSPELT, |errors| errors > 4.5).await;
    day.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_named_by_two_commands_and_their_alert() {
    let day = Day::start(NatsServer::start().await, &[]).await;
    day.sink.answer("/rejecting", 404, None);
    day.subscribe("rejecting", "true").await;
    day.publish(0..3).await;
    day.hold(&DEAD_LETTERS, |dead| dead > 2.5).await;
    day.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_that_floods_is_named_by_two_commands_and_its_alert() {
    let settings = [
        ("SWITCHYARD_DELIVERY__CONCURRENCY", "16"),
        ("SWITCHYARD_DELIVERY__ENDPOINT_CONCURRENCY", "1"),
    ];
    let day = Day::start(NatsServer::start().await, &settings).await;
    day.sink.hold("/flooding");
    day.subscribe("flooding", "true").await;
    day.publish(0..400).await;
    day.hold(&TENANT_FLOODS, |over_share| over_share > 100.0).await;
    let all = day.sink.received_at("/healthy").len();
    assert_eq!(all, 400, "another subscription to the same events is not affected");
    day.sink.release("/flooding");
    day.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_broker_is_named_by_two_commands_and_its_alert() {
    let mut day = Day::start(NatsServer::start().await, &[]).await;
    assert!(day.router.metric(BROKER_STOPPED.series).await > 0.5);
    day.nats.kill();
    day.hold(&BROKER_STOPPED, |up| up < 0.5).await;
    let doctor = day.router.get("/admin/v1/doctor").await.expect("an answer without the broker");
    let problems =
        day.router.get("/admin/v1/problems").await.expect("an answer without the broker");
    for first in [&doctor["findings"][0]["message"], &problems["items"][0]["reason"]] {
        let first = day.in_words(first.as_str().expect("a sentence"));
        assert!(first.starts_with("the broker at BROKER does not answer"), "{first}");
    }
    day.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_of_the_broker_is_named_by_two_commands_and_its_alert() {
    let Some(disk) = SmallDisk::mount("24m") else { return };
    let folder = tempfile::tempdir_in(disk.path()).expect("a folder");
    let day = Day::start(NatsServer::start_in(folder).await, &[]).await;
    disk.fill(&day.nats).await;
    day.hold(&DISK_FULL, |failing| failing > 0.5).await;
    day.router.kill().await;
}

#[test]
fn runbook_has_the_incidents_as_they_are() {
    let read = |path: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file")
    };
    let (runbook, rules) = (read("docs/runbook.md"), read("deploy/prometheus/rules.yml"));
    for incident in INCIDENTS {
        let said =
            incident.commands.map(|(command, said)| format!("`switchyard {command}`: {said}"));
        let alert = incident.alert;
        let link = format!("[{alert}](#{})", alert.to_lowercase());
        let row = format!("| {} | {} | {} | {link} |", incident.name, said[0], said[1]);
        assert!(runbook.contains(&row), "docs/runbook.md has no row\n{row}");
        assert!(runbook.contains(&format!("\n## {alert}\n")), "a section {alert}");
        let rule = rules.split("- alert: ").find(|rule| rule.starts_with(&format!("{alert}\n")));
        let (family, _) = incident.series.split_once('{').unwrap_or((incident.series, ""));
        assert!(rule.is_some_and(|rule| rule.contains(family)), "{alert} reads {family}");
    }
}
