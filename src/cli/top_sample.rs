//! What `top` shows: two answers of the router, and the rates between them.

use std::collections::HashMap;
use std::time::Duration;

use clap::ValueEnum;
use hyper::Method;
use serde_json::{Value, json};

use super::client::ApiClient;
use super::pages::query;
use super::table::{Column, Tone, Toned, bad_unless_zero, plain};

/// The counts that have a rate, with the name of the rate.
const RATES: [(&str, &str); 6] = [
    ("steps", "stepsPerSecond"),
    ("matched", "matchedPerSecond"),
    ("delivered", "deliveredPerSecond"),
    ("errors", "errorsPerSecond"),
    ("failedAttempts", "failedPerSecond"),
    ("dead", "deadPerSecond"),
];
/// Characters of the last failure.
const FAILURE_CHARS_MAX: usize = 60;

/// Columns of the table.
pub(super) const COLUMNS: [Column; 9] = [
    Column::text("SUBSCRIPTION", 0),
    Column::number("MATCH/S", 1),
    Column::number("STEPS/S", 2),
    Column::number("OK/S", 4),
    Column::number("ERR/S", 1),
    Column::number("FAIL/S", 1),
    Column::number("PARKED", 3),
    Column::number("DEAD", 3),
    Column::text("LAST FAILURE", 5),
];

/// Pause between two samples.
pub(super) const REFRESH: Duration = Duration::from_secs(1);

/// What subscriptions are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum Rank {
    /// Evaluation steps of their filters
    #[default]
    Cost,
    /// Failed evaluations, failed attempts and dead letters
    Failures,
    /// Matched events
    Volume,
    /// Parked deliveries
    Backlog,
}

impl Rank {
    /// Returns its name in the operator API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Failures => "failures",
            Self::Volume => "volume",
            Self::Backlog => "backlog",
        }
    }

    /// Returns the next one, after the last one the first.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Cost => Self::Failures,
            Self::Failures => Self::Volume,
            Self::Volume => Self::Backlog,
            Self::Backlog => Self::Cost,
        }
    }
}

/// Asks the router for its busiest subscriptions.
///
/// # Errors
/// The router does not answer.
pub(super) async fn fetch(client: &ApiClient, by: Rank, limit: u16) -> anyhow::Result<Value> {
    let parameters = [("by", Some(by.name().to_owned())), ("limit", Some(limit.to_string()))];
    let path = format!("/admin/v1/top{}", query(&parameters));
    client.send(Method::GET, &path, &[], &Value::Null).await
}

/// The last answer, with rates since the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    answer: Value,
    /// Counts of the subscriptions, and of all, in the answer before.
    before: HashMap<String, Value>,
    before_ms: Option<i64>,
}

impl Sample {
    /// Takes the next answer and computes the rates since the last one.
    pub(super) fn update(&mut self, mut answer: Value) {
        let time_ms = answer.get("timeMs").and_then(Value::as_i64);
        let elapsed_s = match (self.before_ms, time_ms) {
            (Some(before_ms), Some(time_ms)) => seconds(time_ms.saturating_sub(before_ms)),
            _ => None,
        };
        let mut counts = HashMap::new();
        if let Some(totals) = answer.get_mut("totals") {
            add_rates(totals, self.before.get(""), elapsed_s);
            counts.insert(String::new(), totals.clone());
        }
        for item in answer.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            let id = text(item, "id").to_owned();
            add_rates(item, self.before.get(&id), elapsed_s);
            counts.insert(id, item.clone());
        }
        (self.answer, self.before, self.before_ms) = (answer, counts, time_ms);
    }

    /// Returns the subscriptions whose id, app or last failure has `filter`, sorted by their rates, and then by
    /// their counts.
    pub(super) fn items(&self, by: Rank, filter: &str) -> Vec<Value> {
        let all = self.answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let has = |item: &Value| {
            let members = ["id", "app", "lastFailure", "lastError", "cloudId"];
            members.into_iter().any(|name| text(item, name).contains(filter))
        };
        let mut items: Vec<Value> = all.iter().filter(|item| has(item)).cloned().collect();
        // A stable sort: equal rates keep the order of the router, which is that of the counts.
        items.sort_by(|one, other| rank_of(other, by).total_cmp(&rank_of(one, by)));
        items
    }

    /// Returns the lines above the table.
    pub(super) fn header(&self) -> Vec<String> {
        let answer = &self.answer;
        let number = |pointer: &str| answer.pointer(pointer).and_then(Value::as_u64);
        let rate = |name: &str| answer.pointer(&format!("/totals/{name}")).and_then(Value::as_f64);
        let said = |rate: Option<f64>| rate.map_or("-".to_owned(), said_rate);
        let replica = answer.get("replica").unwrap_or(&Value::Null);
        let broker = match answer.get("ready") {
            Some(Value::Bool(true)) => "ready".to_owned(),
            _ => {
                let failing = answer.get("failing").and_then(Value::as_array).into_iter().flatten();
                let failing: Vec<_> = failing.filter_map(Value::as_str).collect();
                format!("NOT READY: {}", failing.join("; "))
            }
        };
        let lag = number("/input/lagSeconds").map_or("-".to_owned(), |lag| format!("{lag} s"));
        vec![
            format!(
                "{}  {broker}  lag {lag}  pending {}  {} subscriptions",
                text(replica, "name"),
                number("/input/pending").map_or("-".to_owned(), |pending| pending.to_string()),
                number("/subscriptions").unwrap_or_default(),
            ),
            format!(
                "matched {}/s  delivered {}/s  failed {}/s  filter errors {}/s  parked {}  dead letters {}",
                said(rate("matchedPerSecond")),
                said(rate("deliveredPerSecond")),
                said(rate("failedPerSecond")),
                said(rate("errorsPerSecond")),
                number("/parked").unwrap_or_default(),
                number("/deadLetters").unwrap_or_default(),
            ),
        ]
    }

    /// Returns the cells of a subscription, one for each of [`COLUMNS`].
    pub(super) fn cells(item: &Value) -> Vec<Toned> {
        let rate = |name: &str| {
            let rate = item.get(name).and_then(Value::as_f64);
            rate.map_or("-".to_owned(), said_rate)
        };
        let bad_rate = |name: &str| {
            let is_bad = item.get(name).and_then(Value::as_f64).is_some_and(|rate| rate > 0.0);
            (rate(name), if is_bad { Tone::Bad } else { Tone::Dim })
        };
        let count = |name: &str| item.get(name).and_then(Value::as_u64).unwrap_or_default();
        let parked = count("parked");
        let failure = [text(item, "lastFailure"), text(item, "lastError")];
        let failure = failure.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        vec![
            plain(text(item, "id")),
            plain(rate("matchedPerSecond")),
            plain(rate("stepsPerSecond")),
            plain(rate("deliveredPerSecond")),
            bad_rate("errorsPerSecond"),
            bad_rate("failedPerSecond"),
            (parked.to_string(), if parked > 0 { Tone::Warning } else { Tone::Dim }),
            bad_unless_zero(count("dead")),
            plain(failure.chars().take(FAILURE_CHARS_MAX).collect::<String>()),
        ]
    }

    /// Returns the answer with `items`, for scripts.
    pub(super) fn document(&self, items: &[Value]) -> Value {
        let mut document = self.answer.clone();
        if let Some(members) = document.as_object_mut() {
            members.insert("items".to_owned(), json!(items));
        }
        document
    }
}

fn rank_of(item: &Value, by: Rank) -> f64 {
    let number = |name: &str| item.get(name).and_then(Value::as_f64).unwrap_or_default();
    match by {
        Rank::Cost => number("stepsPerSecond"),
        Rank::Failures => {
            number("errorsPerSecond") + number("failedPerSecond") + number("deadPerSecond")
        }
        Rank::Volume => number("matchedPerSecond"),
        Rank::Backlog => number("parked"),
    }
}

/// Adds the rates of counts since `before`; none if the router started again between, and counts from 0.
fn add_rates(counts: &mut Value, before: Option<&Value>, elapsed_s: Option<f64>) {
    let (Some(before), Some(elapsed_s)) = (before, elapsed_s) else { return };
    let Some(members) = counts.as_object_mut() else { return };
    for (count, name) in RATES {
        let of = |value: Option<&Value>| value.and_then(Value::as_u64);
        let now = of(members.get(count));
        let then = of(before.get(count));
        if let Some(more) = now.zip(then).and_then(|(now, then)| now.checked_sub(then)) {
            members.insert(name.to_owned(), json!(per_second(more, elapsed_s)));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: u64, elapsed_s: f64) -> f64 {
    (count as f64 / elapsed_s * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "seconds")]
fn seconds(ms: i64) -> Option<f64> {
    (ms > 0).then(|| ms as f64 / 1_000.0)
}

/// A rate with one digit below ten, else without.
fn said_rate(rate: f64) -> String {
    if rate == 0.0 {
        "0".to_owned()
    } else if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(time_ms: i64, matched: [u64; 2]) -> Value {
        let item = |id: &str, matched: u64| {
            json!({"id": id, "matched": matched, "steps": matched * 100, "errors": 0,
                "failedAttempts": 0, "delivered": matched, "dead": 0, "parked": 0,
                "lastFailure": if id == "b/k" { "timeout" } else { "" }})
        };
        let total = matched[0] + matched[1];
        json!({"timeMs": time_ms, "ready": true, "subscriptions": 2, "parked": 3, "deadLetters": 1,
            "replica": {"name": "host/1"}, "input": {"lagSeconds": 2, "pending": 9},
            "totals": {"matched": total, "delivered": total, "steps": 0, "errors": 0,
                "failedAttempts": 0, "dead": 0},
            "items": [item("a/k", matched[0]), item("b/k", matched[1])]})
    }

    fn ids(items: &[Value]) -> Vec<&str> {
        items.iter().map(|item| text(item, "id")).collect()
    }

    #[test]
    fn rates_are_those_between_two_answers() {
        let mut sample = Sample::default();
        sample.update(answer(1_000, [1_000, 0]));
        assert_eq!(Sample::cells(&sample.items(Rank::Volume, "")[0])[1].0, "-", "one answer");
        sample.update(answer(3_000, [1_001, 40]));
        let items = sample.items(Rank::Volume, "");
        assert_eq!(ids(&items), ["b/k", "a/k"], "by the rate, not by the count");
        let cells: Vec<_> = Sample::cells(&items[0]).into_iter().map(|(text, _)| text).collect();
        assert_eq!(cells, ["b/k", "20", "2000", "20", "0", "0", "0", "0", "timeout"]);
        assert_eq!(Sample::cells(&items[1])[1].0, "0.5");
        let header = sample.header();
        assert_eq!(header[0], "host/1  ready  lag 2 s  pending 9  2 subscriptions");
        assert!(header[1].starts_with("matched 20/s  delivered 20/s  failed 0/s"), "{header:?}");
        assert_eq!(sample.document(&items)["items"][0]["id"], "b/k");
    }

    #[test]
    fn ranks_follow_each_other_in_a_circle() {
        let ranks = [Rank::Cost, Rank::Failures, Rank::Volume, Rank::Backlog];
        assert_eq!(ranks.map(Rank::name), ["cost", "failures", "volume", "backlog"]);
        assert_eq!(
            ranks.map(Rank::next).map(Rank::name),
            ["failures", "volume", "backlog", "cost"]
        );
    }

    #[test]
    fn filter_selects_by_id_and_failure() {
        let mut sample = Sample::default();
        sample.update(answer(1_000, [1, 1]));
        assert_eq!(ids(&sample.items(Rank::Cost, "a/")), ["a/k"]);
        assert_eq!(ids(&sample.items(Rank::Cost, "timeout")), ["b/k"]);
        assert!(sample.items(Rank::Cost, "nothing").is_empty());
    }

    #[test]
    fn router_that_started_again_has_no_rates() {
        let mut sample = Sample::default();
        sample.update(answer(1_000, [1_000, 1_000]));
        sample.update(answer(2_000, [1, 1]));
        assert_eq!(Sample::cells(&sample.items(Rank::Volume, "")[0])[1].0, "-");
    }
}
