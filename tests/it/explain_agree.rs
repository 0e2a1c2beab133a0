//! Explained decisions equal routed ones: generated events are routed to generated subscriptions, and each
//! pair is then explained from the stream, by a router that keeps no delivery log which could say what
//! became of it. `make explain-agree` runs it with 100,000 pairs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::support::{
    NatsServer, RouterProcess, SECRET, Setup, Sink, WAIT_MAX, eventually, jetstream,
};

/// Pairs, unless `PAIRS` says another number.
const PAIRS: usize = 5_000;
/// From so many pairs on, there are more subscriptions.
const MANY_PAIRS: usize = 20_000;
/// Shadows that an installation may have.
const SHADOWS_MAX: usize = 20;
/// Types of events: those that most generated subscriptions have.
const EVENT_TYPES: &str = "avi:jira:created:issue,avi:jira:updated:issue,avi:jira:commented:issue";
/// Events that are explained again after modules changed.
const AGAIN: usize = 3;

/// A subscription with its own endpoint, so that it shares no delivery.
struct Subscribed {
    app: String,
    installation: String,
    key: String,
    is_paused: bool,
    has_shadow: bool,
}

impl Subscribed {
    fn id(&self) -> String {
        format!("{}/{}", self.installation, self.key)
    }
}

/// An event and a subscription: sequence, and `<installation>/<key>`.
type Pair = (u64, String);

fn pairs() -> usize {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
    let named = std::env::var("PAIRS").ok();
    named.map_or(PAIRS, |text| text.parse().expect("PAIRS is a number"))
}

/// Runs a generator of `tests/tools`; returns its lines.
fn generated(tool: &str, count: usize, arguments: &[&str]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(tool);
    let run = Command::new("python3")
        .arg(script)
        .args(["--n", &count.to_string(), "--seed", "16", "--tenants", "1"])
        .args(["--confluence-share", "0", "--missing-rate", "0.2", "--self-rate", "0.3"])
        .args(["--apps", "5", "--only", EVENT_TYPES])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("python3 generates cases and cannot be started: {error}"));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// Changes a generated module so that each condition and each `onError` occurs often. A new condition of
/// triggers gets its cases here.
fn varied(number: usize, mut data: Value) -> Value {
    let endpoint = format!("e-{number}");
    data["endpoint"] = json!(endpoint);
    let Some(filter) = data.get_mut("filter") else { return data };
    if number.is_multiple_of(3)
        && let Some(expression) = filter["expression"].as_str()
    {
        // Without the guards, it fails on events that lack a member.
        filter["expression"] = json!(expression.replace("?.", "."));
    }
    let on_error = ["IGNORE", "IGNORE_AND_LOG", "RECEIVE", "RECEIVE_AND_LOG"][number % 4];
    filter["onError"] = json!(on_error);
    filter["ignoreSelf"] = json!(number.is_multiple_of(2));
    filter["appIsLicensed"] = json!(number.is_multiple_of(5));
    data
}

/// The shadow of some generated modules: other events, or the opposite filter.
fn shadow_of(number: usize, data: &Value) -> Option<Value> {
    let mut filter = data.get("filter")?.clone();
    match number % 10 {
        4 => Some(json!({ "events": ["avi:jira:updated:issue"] })),
        9 => {
            filter["expression"] = json!(format!("!({})", filter["expression"].as_str()?));
            Some(json!({ "filter": filter }))
        }
        _ => None,
    }
}

/// Registers generated subscriptions at a site, pauses some, and gives some a shadow; returns them.
async fn subscribe(router: &RouterProcess, sink: &Sink, count: usize) -> (String, Vec<Subscribed>) {
    let jira = |one: &Value| !one["data"]["events"].to_string().contains("avi:confluence:");
    let lines = generated("gen_filters.py", count + count / 5, &[]);
    let lines: Vec<Value> = lines.into_iter().filter(jira).take(count).collect();
    assert_eq!(lines.len(), count, "enough subscriptions are generated");
    let mut apps: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (number, line) in lines.iter().enumerate() {
        let url = sink.url(&format!("/{number}"));
        let endpoint = json!({ "key": format!("e-{number}"), "url": url, "secret": SECRET });
        apps.entry(text(line, "appId")).or_default().push(endpoint);
    }
    for (app, endpoints) in &apps {
        let spec = json!({ "kind": "forge", "functions": ["main"], "endpoints": endpoints });
        router.put(&format!("/admin/v1/apps/{app}"), spec).await;
    }
    let (mut known, mut shadows_of) = (BTreeSet::new(), BTreeMap::new());
    let mut subscribed = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let (app, installation) = (text(line, "appId"), text(line, "installationId"));
        let path = format!("/admin/v1/installations/{installation}");
        if known.insert(installation) {
            let licensed = known.len() % 2 == 0;
            let spec = json!({ "app": app, "cloudId": line["cloudId"], "product": "jira",
                "licensed": licensed, "environment": "PRODUCTION", "state": "enabled" });
            router.put(&path, spec).await;
        }
        let key = text(line, "key");
        let data = varied(number, line["data"].clone());
        let shadows = shadows_of.entry(installation).or_insert(0);
        let shadow = shadow_of(number, &data).filter(|_| *shadows < SHADOWS_MAX);
        *shadows += usize::from(shadow.is_some());
        let module = json!({ "type": "trigger", "data": data });
        router.put(&format!("{path}/modules/{key}"), module).await;
        let is_paused = number % 7 == 3;
        if is_paused {
            switch(router, &format!("{installation}/{key}"), "pause").await;
        }
        let (app, installation, has_shadow) =
            (app.to_owned(), installation.to_owned(), shadow.is_some());
        let one = Subscribed { app, installation, key: key.to_owned(), is_paused, has_shadow };
        if let Some(shadow) = shadow {
            router.put(&shadow_path(&one.id()), shadow).await;
        }
        subscribed.push(one);
    }
    (text(&lines[0], "cloudId").to_owned(), subscribed)
}

fn shadow_path(id: &str) -> String {
    format!("/admin/v1/subscriptions/{}/shadow", id.replace('/', "%2F"))
}

/// What was counted of the shadow of a subscription: events that both deliver, the shadow alone, the filter alone.
async fn counted(router: &RouterProcess, id: &str, limit: Duration) -> [u64; 3] {
    let path = shadow_path(id);
    eventually(limit, "every event is compared", || async {
        let shadow = router.get(&path).await.ok()?;
        let count = |name: &str| shadow[name].as_u64().expect("a number");
        (shadow["upToDate"] == true).then(|| ["both", "gained", "lost"].map(count))
    })
    .await
}

async fn switch(router: &RouterProcess, id: &str, action: &str) {
    let path = format!("/admin/v1/subscriptions/{}/{action}", id.replace('/', "%2F"));
    router.api.send(Method::POST, &path, &[], &Value::Null).await.expect("the state is changed");
}

/// Publishes generated events of the site; returns how many.
async fn publish(nats: &NatsServer, subscribed: &[Subscribed], count: usize) -> u64 {
    let context = jetstream(nats.client().await);
    let apps: BTreeSet<&str> = subscribed.iter().map(|one| one.app.as_str()).collect();
    let apps: Vec<&str> = apps.into_iter().collect();
    let mut published = 0;
    for (number, line) in generated("gen_events.py", count, &[]).iter().enumerate() {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in line["headers"].as_object().expect("headers") {
            headers.insert(name.as_str(), value.as_str().expect("a text"));
        }
        // Apps of these subscriptions cause every third event.
        if number % 3 == 0 {
            headers.insert("ce-originapp", apps[number / 3 % apps.len()]);
        }
        let body = line["data"].to_string();
        let subject = text(line, "subject").to_owned();
        let sent = context.publish_with_headers(subject, headers, body.into()).await;
        published = sent.expect("sent").await.expect("stored").sequence;
    }
    published
}

/// Waits until all events are acknowledged and, if `nothing_parked`, no delivery waits.
async fn until_settled(nats: &NatsServer, limit: Duration, nothing_parked: bool) {
    let context = nats.context().await;
    eventually(limit, "every event is settled", || async {
        let stream = context.get_stream("SW_EVENTS").await.ok()?;
        let router: async_nats::jetstream::consumer::PullConsumer =
            stream.get_consumer("router").await.ok()?;
        let info = router.cached_info();
        let is_settled = info.num_pending == 0 && info.num_ack_pending == 0;
        let parked = context.get_stream("SW_PARKED").await.ok()?.cached_info().state.messages;
        (is_settled && (parked == 0 || !nothing_parked)).then_some(())
    })
    .await;
}

/// What explanations said.
#[derive(Default)]
struct Explained {
    matched: BTreeSet<Pair>,
    /// How many decisions each stage made; matches by `matched`, those after an error by `received`.
    stages: BTreeMap<String, usize>,
    decisions: usize,
    /// Of each subscription with a shadow: events that both deliver, the shadow alone, the filter alone.
    shadows: BTreeMap<String, [u64; 3]>,
}

impl Explained {
    async fn add(&mut self, router: &RouterProcess, site: &str, sequence: u64) {
        let body = json!({ "site": site, "sequence": sequence });
        let sent = router.api.send(Method::POST, "/admin/v1/explain", &[], &body).await;
        let answer = sent.expect("an explanation");
        assert!(!answer["hints"].to_string().contains("left out"), "{}", answer["hints"]);
        let events = answer["events"].as_array().expect("events");
        assert_eq!(events.len(), 1, "{}", answer["hints"]);
        for decision in events[0]["decisions"].as_array().expect("decisions") {
            self.decisions += 1;
            let because = text(decision, "because");
            if let Some(shadow) = decision.get("shadow") {
                let id = text(decision, "subscription").to_owned();
                let is_matched = text(decision, "decision") == "matched";
                let counts = self.shadows.entry(id).or_default();
                match (is_matched, text(shadow, "decision") == "would be delivered") {
                    (true, true) => counts[0] += 1,
                    (false, true) => counts[1] += 1,
                    (true, false) => counts[2] += 1,
                    (false, false) => {}
                }
            }
            let stage = match text(decision, "decision") {
                "matched" => {
                    let id = text(decision, "subscription").to_owned();
                    self.matched.insert((sequence, id));
                    if because.contains(" failed: ") { "received" } else { "matched" }
                }
                "not delivered" => text(decision, "stage"),
                other => panic!("{other}: {decision}"),
            };
            *self.stages.entry(stage.to_owned()).or_default() += 1;
        }
    }
}

fn routed(sink: &Sink) -> BTreeSet<Pair> {
    let received = sink.received();
    let pair = |one: &crate::support::Received| {
        let sequence = one.header("switchyard-sequence").parse().expect("a number");
        let (installation, key) =
            (one.header("switchyard-installation"), one.header("switchyard-module-key"));
        (sequence, format!("{installation}/{key}"))
    };
    received.iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explained_decisions_equal_routed_ones() {
    let pairs = pairs();
    let subscriptions = if pairs < MANY_PAIRS { 100 } else { 250 };
    let limit = WAIT_MAX + Duration::from_millis(10) * u32::try_from(pairs).expect("a number");
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_DELIVERY__LOG", "false")
        .with("SWITCHYARD_LOG__FILTER", "error");
    let router = setup.start().await;
    let (site, subscribed) = subscribe(&router, &sink, subscriptions).await;
    let last = publish(&nats, &subscribed, pairs.div_ceil(subscriptions)).await;
    until_settled(&nats, limit, false).await;

    let mut explained = Explained::default();
    for sequence in 1..=last {
        explained.add(&router, &site, sequence).await;
    }
    assert_eq!(explained.decisions, subscribed.len() * usize::try_from(last).expect("a number"));
    assert!(explained.decisions >= pairs, "{}", explained.decisions);
    for stage in
        ["event", "appIsLicensed", "ignoreSelf", "filter", "onError", "received", "matched"]
    {
        assert!(explained.stages.contains_key(stage), "no case of {stage}: {:?}", explained.stages);
    }
    let paused: BTreeSet<String> =
        subscribed.iter().filter(|one| one.is_paused).map(Subscribed::id).collect();
    let held = explained.matched.iter().filter(|(_, id)| paused.contains(id)).count();
    assert!(held > 0, "no case of a paused subscription");
    assert!(routed(&sink).iter().all(|(_, id)| !paused.contains(id)), "paused ones wait");

    for id in &paused {
        switch(&router, id, "resume").await;
    }
    until_settled(&nats, limit, true).await;
    let expected = explained.matched.len();
    eventually(limit, "what is explained as a match is delivered", || async {
        (routed(&sink).len() >= expected).then_some(())
    })
    .await;
    let routed = routed(&sink);
    let differences: Vec<_> = routed.symmetric_difference(&explained.matched).take(5).collect();
    assert_eq!(differences, Vec::<&Pair>::new(), "pairs that are only routed, or only explained");

    // What shadows would deliver, as it is explained, is what is counted.
    let mut sum = [0; 3];
    for one in subscribed.iter().filter(|one| one.has_shadow) {
        let counts = counted(&router, &one.id(), limit).await;
        assert_eq!(explained.shadows.remove(&one.id()), Some(counts), "{}", one.id());
        sum = std::array::from_fn(|at| sum[at] + counts[at]);
    }
    assert!(explained.shadows.is_empty(), "{:?}", explained.shadows);
    assert!(sum.iter().all(|count| *count > 0), "no case of each: {sum:?}");

    // By the revisions of then, since these modules changed.
    let mut again = Explained::default();
    for sequence in 1..=AGAIN as u64 {
        again.add(&router, &site, sequence).await;
    }
    let first = explained.matched.iter().filter(|(sequence, _)| *sequence <= AGAIN as u64);
    assert!(first.eq(&again.matched), "the same as before");
    let (pairs, stages) = (explained.decisions, &explained.stages);
    println!("{pairs} pairs, {expected} delivered ({held} paused), 0 differences: {stages:?}");
}
