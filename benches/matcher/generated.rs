//! Workload of the generators that the oracle uses (`tests/tools`): 100,000 triggers of 1,000
//! sites, one of which has 10,000, over all event types. The files are generated once, by Python.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use switchyard::bus::subjects::subject_attributes;
use switchyard::domain::InstallationId;
use switchyard::event::{Attributes, Decoder, HeaderLookup, RoutingKey};
use switchyard::matcher::{Matcher, Scratch, Subscription};
use switchyard::registry::offline::TriggerReader;

use crate::measure::{Outcome, allocations, compare};

/// A site has at most 100 modules of each app.
const WORLD: [&str; 6] = ["--tenants", "1000", "--apps", "100", "--seed", "7"];
const TRIGGERS: &str = "100000";
const EVENTS: &str = "5000";

#[derive(Deserialize)]
struct Line {
    subject: String,
    headers: HashMap<String, String>,
    data: Box<RawValue>,
}

struct Event {
    subject: String,
    headers: LineHeaders,
    body: Bytes,
}

struct LineHeaders(HashMap<String, String>);

impl HeaderLookup for LineHeaders {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Prints a row for all sites and one for the largest.
pub(crate) fn rows() {
    let triggers =
        std::fs::read_to_string(generated("gen_filters.py", TRIGGERS)).expect("triggers");
    let mut reader = TriggerReader::new().expect("a reader");
    let mut installations: HashMap<InstallationId, Vec<Arc<Subscription>>> = HashMap::new();
    let mut sites: HashMap<String, usize> = HashMap::new();
    for line in triggers.lines() {
        let subscription = reader.read(line).expect("an accepted trigger");
        *sites.entry(subscription.owner.cloud_id.as_str().to_owned()).or_default() += 1;
        installations.entry(subscription.owner.id.clone()).or_default().push(subscription);
    }
    let matcher = Matcher::default();
    matcher.replace_many(installations);
    let text = std::fs::read_to_string(generated("gen_events.py", EVENTS)).expect("events");
    let mut events: Vec<Event> = text.lines().map(read).collect();
    row(&format!("generated: {} sites, {TRIGGERS} filters", sites.len()), &matcher, &events);
    let (largest, filters) = sites.iter().max_by_key(|(_, filters)| **filters).expect("a site");
    events.retain(|event| event.headers.get("ce-cloudid") == Some(largest));
    row(&format!("generated: the site with {filters} filters"), &matcher, &events);
}

/// Returns the file of a generator; generates it if it does not exist.
fn generated(program: &str, lines: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}-{lines}.ndjson"));
    if !file.exists() {
        eprintln!("{program} writes {lines} lines, which takes up to three minutes once");
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(program);
        let mut python = Command::new("python3");
        let made = python.arg(tool).args(["--n", lines]).args(WORLD).output().expect("python3");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(&file, made.stdout).expect("a file to write to");
    }
    file
}

fn read(line: &str) -> Event {
    let line: Line = serde_json::from_str(line).expect("an envelope");
    let headers = line.headers.into_iter().map(|(name, value)| (name.to_lowercase(), value));
    let body = Bytes::copy_from_slice(line.data.get().as_bytes());
    Event { subject: line.subject, headers: LineHeaders(headers.collect()), body }
}

fn row(name: &str, matcher: &Matcher, events: &[Event]) {
    let mut decoder = Decoder::new(1 << 20, false);
    let mut scratch = Scratch::default();
    let (mut matches, mut candidates, mut wanted) = (0, 0, 0);
    let mut one = |event: &Event, count: bool| {
        let has_subscribers = |routing_key: RoutingKey<'_>| matcher.has_subscriptions(routing_key);
        let body = event.body.clone();
        let address = subject_attributes(&event.subject);
        let attributes = Attributes::read(&event.headers, address).expect("attributes");
        let decoded =
            decoder.decode_if_subscribed(attributes, body, 1, has_subscribers).expect("an event");
        if decoded.is_body_decoded() {
            let found = matcher.matches(decoded.routing_key(), &decoder, &mut scratch);
            if count {
                (wanted, matches) = (wanted + 1, matches + found.len());
                candidates += found.candidates;
            }
            black_box(found);
        }
    };
    events.iter().for_each(|event| one(event, true));
    let before = allocations();
    events.iter().for_each(|event| one(event, false));
    let allocated = allocations() - before;
    let of = |at: usize| &events[at % events.len()];
    let (v, ours) = compare(
        |at| {
            black_box(serde_json::from_slice::<serde::de::IgnoredAny>(&of(at).body).is_ok());
        },
        |at| one(of(at), false),
    );
    let outcome = Outcome {
        events: events.len(),
        bytes: events.iter().map(|event| event.body.len()).sum(),
        matches,
        candidates,
        allocations: allocated,
        v,
        ours,
        delivered: None,
    };
    let share = f64::from(wanted) / events.len() as f64 * 100.0;
    outcome.print(&format!("{name} ({share:.0} % of {} events wanted)", events.len()), None);
}
