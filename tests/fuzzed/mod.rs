//! The properties of any bytes as an event: the body of the fuzz target, also run on its committed
//! corpus.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use switchyard::event::{Attributes, DecodeError, Decoder, HeaderLookup, RoutingKey, surrogates};
use switchyard::matcher::{Matcher, Scratch, Subscription};
use switchyard::registry::offline::TriggerReader;
use switchyard_expr::reference::Tree;
use switchyard_expr::{CheckProfile, Env, Value as Outcome, View, limits};

const SITE: &str = "site";
const INSTALLATION: &str = "installation";
const EVENT_TYPE: &str = "avi:jira:updated:issue";

/// Filters for each kind of access and for values that are easily decoded wrong: broken paths,
/// nulls, repeated and escaped names, texts, lists, ranges.
const FILTERS: [&str; 25] = [
    "event.issue.fields.project.key == 'P1'",
    "event.issue.fields.project.key != 'P1'",
    "['P1', 'P2', 'é'].includes(event.issue.fields.project.key)",
    "event.issue.fields.priority.name == 'High' && event.issue.fields.project.key == 'P1'",
    "event.issue.fields.priority?.name == 'High' || event.issue.fields.project.key == 'P2'",
    "event.issue.fields.assignee == null",
    "event.issue.fields.assignee?.accountId == event.issue.fields.reporter?.accountId",
    "event.issue.fields.points > 5",
    "event.issue.fields.points != null && event.issue.fields.points <= 2.5",
    "event.issue.fields.points == 9007199254740993",
    "event.issue.fields.points == -5 || event.issue.fields.points == - 0",
    "[-1, 5, -2.5, -9007199254740993, 7, -(8)].includes(event.issue.fields.points)",
    "event.issue.fields.points >= -2.5 && event.issue.fields.points < 0",
    "event.issue.fields.labels.includes('a')",
    "event.issue.fields.labels.length > 1",
    "event.issue.fields.labels?.includes(1)",
    "event.issue.fields.summary.includes('a\"b')",
    "event.issue.fields.summary == ''",
    "event.changelog.items.some(i => i.field == 'status' && i.toString == 'Done')",
    "event.changelog?.items.some(i => i.field == 'status')",
    "event.changelog.items.every(i => i.field != null)",
    "!(event.issue.key == 'A-1') && event.issue.id == 1",
    "event.issue.fields.flag == true || event.issue.fields.flag == false",
    "event.issue.fields.status.name",
    "event.selfGenerated == false && event.issue.fields.status.name != 'Done'",
];

struct Envelope;

impl HeaderLookup for Envelope {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "ce-cloudid" => Some(SITE),
            "ce-type" => Some(EVENT_TYPE),
            "ce-id" => Some("1"),
            _ => None,
        }
    }
}

fn attributes() -> Attributes<'static> {
    Attributes::from_headers(&Envelope).expect("attributes")
}

thread_local! {
    static FIXTURE: Fixture = Fixture::new();
}

struct Fixture {
    matcher: Matcher,
    trees: Vec<Tree>,
}

impl Fixture {
    fn new() -> Self {
        let mut reader = TriggerReader::new().expect("a reader");
        let subscription = |(at, text): (usize, &&str)| {
            let trigger = json!({
                "installationId": INSTALLATION, "cloudId": SITE, "appId": "app",
                "key": at.to_string(), "type": "trigger",
                "data": {
                    "events": [EVENT_TYPE], "function": "main", "filter": {"expression": text},
                },
            });
            reader.read(&trigger.to_string()).expect("a trigger")
        };
        let matcher = Matcher::default();
        let subscriptions = FILTERS.iter().enumerate().map(subscription).collect();
        matcher.replace_installation(&INSTALLATION.into(), subscriptions);
        let tree = |text: &&str| Tree::parse(text, CheckProfile::Filter).expect("a filter");
        Self { matcher, trees: FILTERS.iter().map(tree).collect() }
    }

    /// Numbers of the filters that match, and of those that fail.
    fn matched(&self, decoder: &Decoder, routing_key: RoutingKey<'_>) -> [Vec<usize>; 2] {
        let number = |subscription: &Subscription| {
            subscription.key.as_str().parse::<usize>().expect("a number")
        };
        let mut scratch = Scratch::default();
        let outcome = self.matcher.matches(routing_key, decoder, &mut scratch);
        let mut holding: Vec<usize> =
            outcome.matched_subscriptions().map(|one| number(one)).collect();
        let failed = outcome.failures.iter();
        let mut failed: Vec<usize> = failed.map(|failure| number(&failure.subscription)).collect();
        holding.sort_unstable();
        failed.sort_unstable();
        [holding, failed]
    }

    /// The same result by the naive evaluator, one filter after the other.
    fn expected(&self, view: &impl View) -> [Vec<usize>; 2] {
        let env = Env { now_ms: 0, steps_max: limits::STEPS_MAX };
        let (mut holding, mut failed) = (Vec::new(), Vec::new());
        for (at, tree) in self.trees.iter().enumerate() {
            match tree.eval(view, &env).0 {
                Ok(Outcome::Bool(true)) => holding.push(at),
                Ok(Outcome::Bool(false)) => {}
                _ => failed.push(at),
            }
        }
        [holding, failed]
    }
}

/// Asserts that the bytes, with U+FFFD for half surrogate pairs, are an event exactly if `serde_json`
/// parses them as an object, and that they match what the naive evaluator matches on the value that
/// `serde_json` parsed.
pub(crate) fn event(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let parsed = parsed(&surrogates::repaired(&body));
    let mut decoder = Decoder::new(1 << 20, false);
    let decoded = match decoder.decode_if_subscribed(attributes(), body, 1, |_| true) {
        Ok(decoded) => decoded,
        Err(DecodeError::Utf8 { .. } | DecodeError::Json { .. }) => {
            return assert!(parsed.is_none(), "rejected, although it is JSON: {parsed:?}");
        }
        // Limits, and values that are no object.
        Err(_) => return,
    };
    let parsed = parsed.expect("accepted, although it is no JSON");
    assert!(parsed.is_object());
    // Serialized again: each name once, with the fewest escapes.
    let canonical = Bytes::from(parsed.to_string());
    let mut plain = Decoder::new(2 << 20, false);
    plain.decode(attributes(), canonical, 1).expect("an event");
    FIXTURE.with(|fixture| {
        let expected = fixture.expected(&plain.view(false));
        assert_eq!(fixture.matched(&decoder, decoded.routing_key()), expected);
    });
}

fn parsed(body: &[u8]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    reader.disable_recursion_limit();
    let value = Value::deserialize(&mut reader).ok()?;
    reader.end().ok().map(|()| value)
}
