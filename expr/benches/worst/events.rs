//! Events of up to 1 MiB with different shapes and common names, so that all sources fit all
//! events.

use std::time::Duration;

use switchyard_expr::{Tape, TapeLimits};

use crate::fastest;

/// The size from which on an event counts as one of 1 MiB.
pub(crate) const LARGE_BYTES: usize = (1 << 20) - 4096;
const RUNS: usize = 9;

pub(crate) struct Event {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) tape: Tape,
    /// The time of parsing it to a `Value`.
    pub(crate) parse: Duration,
}

impl Event {
    fn new(name: &'static str, bulk: &str) -> Event {
        let numbers: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        let members: Vec<String> = (0..63).map(|at| format!("\"field_{at:02}\":{at}")).collect();
        let text = format!(
            r#"{{"ys":[{}],"m":{{{}}},"t":"The quick brown fox","p":"(a|b)*c","j":"[1,[2,{{\"a\":3}}]]","d":"2020-01-31T10:00:00Z","n":12.5,{bulk}}}"#,
            numbers.join(","),
            members.join(","),
        );
        let mut tape = Tape::new();
        let limits = TapeLimits { nodes: u32::MAX, ..TapeLimits::default() };
        if tape.parse(text.as_bytes(), &limits).is_err() {
            tape = Tape::new();
        }
        let mut event = Event { name, text, tape, parse: Duration::ZERO };
        event.parse = event.parse_time(RUNS);
        event
    }

    /// The shortest of `runs` times of parsing it to a `Value`.
    pub(crate) fn parse_time(&self, runs: usize) -> Duration {
        fastest(runs, || drop(serde_json::from_str::<serde_json::Value>(&self.text)))
    }
}

pub(crate) fn all() -> Vec<Event> {
    let room = (1 << 20) - 2200;
    let text = |unit: &str, bytes: usize| {
        format!(r#""s":"{}","xs":["a","b"]"#, unit.repeat(bytes / unit.len()))
    };
    let list = |item: &str, bytes: usize| {
        let items = vec![item; bytes / (item.len() + 1)].join(",");
        format!(r#""s":"ab","xs":[{items}]"#)
    };
    vec![
        Event::new("small", r#""s":"a text","xs":["a","b",3]"#),
        Event::new("one text", &text("a", room)),
        Event::new("one text of spaces", &text(" ", room)),
        Event::new("one text beyond ASCII", &text("\u{e9}", room)),
        Event::new("text of 16 KiB", &text("ab c", 16 << 10)),
        Event::new("text of 1 KiB beyond ASCII", &text("\u{130}b", 1 << 10)),
        Event::new("list of long texts", &list(&format!("\"{}\"", "x".repeat(4000)), room)),
        Event::new("list of short texts", &list("\"ab\"", 32 << 10)),
        Event::new("list of maps", &list("{\"k\":1,\"v\":\"x\"}", 64 << 10)),
    ]
}
