//! `switchyard match`: matches a file of events against a file of triggers, without a server.
//!
//! Uses the matcher of the router. Tests compare its output with an independent oracle, and it
//! measures matching without a broker.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::io::{Output, print_error, print_line, read_file};
use crate::bus::subjects::subject_attributes;
use crate::clock;
use crate::domain::InstallationId;
use crate::event::{Attributes, Decoder, HeaderLookup};
use crate::matcher::{FilterFailure, Match, Matcher, Scratch, Subscription};
use crate::registry::offline::{RejectedTrigger, TriggerReader};

/// Events claimed by a thread at a time.
const CHUNK: usize = 256;
/// Maximum event body, as in the router.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Matches a file of events against a file of triggers; no server needed
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  switchyard match --triggers triggers.ndjson --events events.ndjson --threads 2"
)]
pub struct MatchArgs {
    /// Triggers, one registration a line
    #[arg(long, value_name = "FILE")]
    pub triggers: PathBuf,
    /// Events, one envelope {"subject","headers","data"} a line
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// Number of matching threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
    /// Repeats the matching for timing; the output is printed once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub repeat: u16,
    /// Step budget of one evaluation
    #[arg(long, value_name = "N", default_value_t = switchyard_expr::limits::STEPS_MAX)]
    pub steps: u32,
    /// Output format; only JSON lines are supported
    #[arg(short, long, value_enum, default_value = "jsonl")]
    pub output: Output,
}

/// Matches all events and prints one line per event to stdout, and a summary line to stderr.
///
/// # Errors
/// A file cannot be read. Rejected triggers and invalid event lines are part of the output.
pub fn run(args: &MatchArgs) -> anyhow::Result<ExitCode> {
    let resident_before = resident_bytes();
    let build_start = clock::tick();
    let matcher = Matcher::new(args.steps);
    let (triggers, rejected) = load_triggers(&args.triggers, &matcher)?;
    let build = clock::since(build_start);
    let resident = resident_bytes().saturating_sub(resident_before);

    let text = read_file(&args.events)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let inputs: Vec<Input<'_>> = lines.iter().map(|line| Input::read(line)).collect();
    let (answers, matched, first) = matching_pass(&matcher, &inputs, args.threads)?;
    for answer in answers {
        print_line(&answer)?;
    }
    let mut passes = vec![first];
    for _ in 1..args.repeat {
        passes.push(timing_pass(&matcher, &inputs, args.threads));
    }
    passes.sort();
    let median = passes.get(passes.len() / 2).copied().unwrap_or(first).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "counts of lines in a file")]
    let events_per_second = inputs.len() as f64 / median.max(f64::MIN_POSITIVE);
    let summary = Summary {
        triggers,
        events: inputs.len(),
        matches: matched,
        build_seconds: build.as_secs_f64(),
        match_seconds: median,
        events_per_second,
        bytes_per_trigger: resident.checked_div(triggers).unwrap_or(0),
        rejected,
    };
    print_error(&serde_json::to_string(&summary)?);
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    triggers: usize,
    events: usize,
    matches: usize,
    build_seconds: f64,
    match_seconds: f64,
    events_per_second: f64,
    bytes_per_trigger: usize,
    rejected: Vec<RejectedLine>,
}

#[derive(Debug, Serialize)]
struct RejectedLine {
    line: usize,
    code: String,
    message: String,
}

fn load_triggers(path: &Path, matcher: &Matcher) -> anyhow::Result<(usize, Vec<RejectedLine>)> {
    let mut installations: HashMap<InstallationId, Vec<std::sync::Arc<Subscription>>> =
        HashMap::new();
    let mut reader = TriggerReader::new()?;
    let mut rejected = Vec::new();
    let mut triggers = 0;
    for (at, line) in read_file(path)?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match reader.read(line) {
            Ok(subscription) => {
                triggers += 1;
                let of = installations.entry(subscription.owner.id.clone()).or_default();
                of.push(subscription);
            }
            Err(RejectedTrigger { code, message }) => {
                rejected.push(RejectedLine { line: at + 1, code, message });
            }
        }
    }
    matcher.replace_many(installations);
    Ok((triggers, rejected))
}

/// One line of the event file, parsed before the measurement starts.
enum Input<'a> {
    Event { id: Option<Cow<'a, str>>, subject: Cow<'a, str>, headers: LineHeaders<'a>, body: Bytes },
    Bad(String),
}

#[derive(Deserialize)]
struct EventLine<'a> {
    #[serde(borrow, default)]
    subject: Cow<'a, str>,
    #[serde(borrow, default)]
    headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

struct LineHeaders<'a>(Vec<(String, Cow<'a, str>)>);

impl HeaderLookup for LineHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

impl<'a> Input<'a> {
    fn read(line: &'a str) -> Self {
        let line: EventLine<'a> = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(error) => return Self::Bad(format!("not an envelope line: {error}")),
        };
        let headers = line.headers.into_iter();
        let headers =
            LineHeaders(headers.map(|(name, value)| (name.to_lowercase(), value)).collect());
        let id = headers.get("ce-id").map(|id| Cow::Owned(id.to_owned()));
        let body = Bytes::copy_from_slice(line.data.get().as_bytes());
        Self::Event { id, subject: line.subject, headers, body }
    }
}

#[derive(Serialize)]
struct MatchLine<'a> {
    line: usize,
    id: Option<&'a str>,
    matches: Vec<String>,
    errors: Vec<String>,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    line: usize,
    id: Option<&'a str>,
    error: &'a str,
}

/// Matches all inputs once and returns the output lines in input order.
fn matching_pass(
    matcher: &Matcher,
    inputs: &[Input<'_>],
    threads: u16,
) -> serde_json::Result<(Vec<String>, usize, Duration)> {
    let (mut answers, elapsed) = in_chunks(inputs, threads, |worker, at, input| {
        (at, output_line(at + 1, input, worker.match_one(matcher, input)))
    });
    answers.sort_by_key(|(at, _)| *at);
    let (mut lines, mut matched) = (Vec::with_capacity(answers.len()), 0);
    for (_, answer) in answers {
        let (line, count) = answer?;
        lines.push(line);
        matched += count;
    }
    Ok((lines, matched, elapsed))
}

fn timing_pass(matcher: &Matcher, inputs: &[Input<'_>], threads: u16) -> Duration {
    in_chunks(inputs, threads, |worker, _, input| {
        std::hint::black_box(worker.match_one(matcher, input)).is_ok()
    })
    .1
}

/// Matches and filter failures of one event.
struct MatchOutcome {
    matches: Vec<Match>,
    failures: Vec<FilterFailure>,
}

struct Worker {
    decoder: Decoder,
    scratch: Scratch,
}

impl Worker {
    fn match_one(&mut self, matcher: &Matcher, input: &Input<'_>) -> Result<MatchOutcome, String> {
        match input {
            Input::Bad(error) => Err(error.clone()),
            Input::Event { subject, headers, body, .. } => {
                let event = Attributes::read(headers, subject_attributes(subject))
                    .and_then(|attributes| self.decoder.decode(attributes, body.clone(), 0))
                    .map_err(|error| error.to_string())?;
                let routing_key = event.envelope.routing_key();
                let outcome = matcher.matches(routing_key, &self.decoder, &mut self.scratch);
                let matches = outcome.take_matches(routing_key, &self.decoder);
                Ok(MatchOutcome { matches, failures: std::mem::take(&mut outcome.failures) })
            }
        }
    }
}

/// Runs `each` on every input with `threads` threads; the results are unordered.
fn in_chunks<T: Send>(
    inputs: &[Input<'_>],
    threads: u16,
    each: impl Fn(&mut Worker, usize, &Input<'_>) -> T + Sync,
) -> (Vec<T>, Duration) {
    let next = AtomicUsize::new(0);
    let start = clock::tick();
    let work = || {
        let mut worker =
            Worker { decoder: Decoder::new(EVENT_BYTES_MAX, false), scratch: Scratch::default() };
        let mut results = Vec::new();
        loop {
            let from = next.fetch_add(CHUNK, Relaxed);
            let Some(rest) = inputs.get(from..).filter(|rest| !rest.is_empty()) else { break };
            for (offset, input) in rest.iter().take(CHUNK).enumerate() {
                results.push(each(&mut worker, from + offset, input));
            }
        }
        results
    };
    let results = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    (results, clock::since(start))
}

fn output_line(
    line: usize,
    input: &Input<'_>,
    outcome: Result<MatchOutcome, String>,
) -> serde_json::Result<(String, usize)> {
    let id = match input {
        Input::Event { id, .. } => id.as_deref(),
        Input::Bad(_) => None,
    };
    let matches = match outcome {
        Err(error) => {
            let bad = ErrorLine { line, id: None, error: &error };
            return Ok((serde_json::to_string(&bad)?, 0));
        }
        Ok(matches) => matches,
    };
    let mut matched: Vec<String> =
        matches.matches.iter().map(|m| m.subscription.id().to_string()).collect();
    let mut errors: Vec<String> =
        matches.failures.iter().map(|f| f.subscription.id().to_string()).collect();
    matched.sort_unstable();
    matched.dedup();
    errors.sort_unstable();
    errors.dedup();
    let count = matched.len();
    let answer = MatchLine { line, id, matches: matched, errors };
    Ok((serde_json::to_string(&answer)?, count))
}

/// Returns the resident memory of this process; 0 if the system does not report it.
fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
