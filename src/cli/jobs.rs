//! Jobs of operators on the command line: shown in one line, followed, paused, resumed, cancelled.

use std::time::Duration;

use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{ApiClient, path_segment};
use super::io::{Output, print_error, print_line, print_row};
use super::progress::Progress;
use super::table::{Column, ListFlags, ListOf, Tone, Toned, plain, print_list};
use crate::clock::{self, relative};

/// Interval at which a job is asked for its progress.
const POLL: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 7] = [
    Column::text("JOB", 0),
    Column::text("STATE", 0),
    Column::number("PROGRESS", 1),
    Column::text("CREATED", 2),
    Column::text("COUNTS", 3),
    Column::text("ETA", 4),
    Column::text("REASON", 1),
];

/// The jobs of one kind, by their path in the operator API.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jobs(pub(super) &'static str);

impl Jobs {
    /// Returns the path of a job, or of an action on it.
    fn path(self, job: &str, action: &str) -> String {
        format!("{}/{}{action}", self.0, path_segment(job))
    }

    /// Lists all jobs, newest first; `if_empty` says what to do without any.
    pub(super) async fn list(
        self,
        flags: ListFlags,
        client: &ApiClient,
        if_empty: &str,
    ) -> anyhow::Result<()> {
        let found = client.send(Method::GET, self.0, &[], &Value::Null).await?;
        let items = found.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let now = clock::now();
        print_list(flags, ListOf { id: "id", if_empty }, items, &COLUMNS, |job| row(job, now))
    }

    /// Returns a job.
    pub(super) async fn get(self, client: &ApiClient, job: &str) -> anyhow::Result<Value> {
        client.send(Method::GET, &self.path(job, ""), &[], &Value::Null).await
    }

    /// Does an action such as `/pause`; returns the job.
    pub(super) async fn act(
        self,
        client: &ApiClient,
        job: &str,
        action: &str,
    ) -> anyhow::Result<Value> {
        client.send(Method::POST, &self.path(job, action), &[], &json!({})).await
    }

    /// Does an action such as `/pause` and prints the job.
    pub(super) async fn change(
        self,
        output: Output,
        client: &ApiClient,
        job: &str,
        action: &str,
    ) -> anyhow::Result<()> {
        print_job(output, &self.act(client, job, action).await?)
    }

    /// Waits until a job ends or is paused; shows its progress on a terminal, else prints each change of it to
    /// stderr.
    pub(super) async fn follow(self, client: &ApiClient, mut job: Value) -> anyhow::Result<Value> {
        let (id, mut printed) = (id(&job).to_owned(), String::new());
        let mut progress = Progress::new();
        loop {
            let line = summary(&job);
            if progress.is_hidden() && line != printed {
                print_error(&line);
                printed = line;
            } else {
                let fraction = job.get("progress").and_then(Value::as_f64);
                let eta_s = job.get("etaSeconds").and_then(Value::as_u64);
                progress.show(fraction, eta_s, &line);
            }
            if text(&job, "state") != "running" {
                return Ok(job);
            }
            tokio::time::sleep(POLL).await;
            job = self.get(client, &id).await?;
        }
    }
}

/// Prints a job, with its notes.
pub(super) fn print_job(output: Output, job: &Value) -> anyhow::Result<()> {
    match output {
        Output::Json | Output::Jsonl => print_line(&job.to_string()),
        Output::Text => {
            print_row(&summary(job))?;
            let notes = job.get("notes").and_then(Value::as_array).into_iter().flatten();
            notes
                .filter_map(Value::as_str)
                .try_for_each(|note| print_row(&format!("  note: {note}")))
        }
    }
}

/// Returns the id of a job.
pub(super) fn id(job: &Value) -> &str {
    text(job, "id")
}

/// Whether a job ended without having done all.
pub(super) fn is_negative(job: &Value) -> bool {
    matches!(text(job, "state"), "failed" | "cancelled")
}

/// Returns a member that is a text; empty if there is none.
pub(super) fn text<'v>(item: &'v Value, name: &str) -> &'v str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn row(job: &Value, now: Timestamp) -> Vec<Toned> {
    let tone = match text(job, "state") {
        "done" => Tone::Good,
        "failed" => Tone::Bad,
        "paused" => Tone::Warning,
        _ => Tone::Plain,
    };
    let eta = job.get("etaSeconds").map(|seconds| format!("{seconds} s"));
    vec![
        plain(id(job)),
        (text(job, "state").to_owned(), tone),
        plain(percent(job)),
        plain(relative(job.get("createdAt").and_then(Value::as_str), now)),
        plain(counts(job).join("  ")),
        plain(eta.unwrap_or_default()),
        plain(text(job, "reason")),
    ]
}

fn percent(job: &Value) -> String {
    let fraction = job.get("progress").and_then(Value::as_f64).unwrap_or(0.0);
    format!("{:.0} %", fraction * 100.0)
}

/// Returns the counts of a job with their names.
fn counts(job: &Value) -> Vec<String> {
    let groups = ["counts", "outcomes"].into_iter().filter_map(|group| job.get(group)?.as_object());
    groups.flatten().map(|(name, number)| format!("{name} {number}")).collect()
}

/// Returns a job in one line.
fn summary(job: &Value) -> String {
    let mut line = format!("{}  {}  {}", id(job), text(job, "state"), percent(job));
    for count in counts(job) {
        line.push_str(&format!("  {count}"));
    }
    for (name, unit) in [("pending", ""), ("etaSeconds", " s")] {
        if let Some(number) = job.get(name) {
            line.push_str(&format!("  {name} {number}{unit}"));
        }
    }
    if let Some(reason) = job.get("reason").and_then(Value::as_str) {
        line.push_str(&format!("  ({reason})"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_is_one_line_with_its_counts() {
        let job = json!({"id": "job_1", "state": "running", "progress": 0.5, "pending": 2,
            "counts": {"matched": 5, "parked": 5}, "outcomes": {"delivered": 3},
            "etaSeconds": 9, "reason": "the event stream is full"});
        assert_eq!(
            summary(&job),
            "job_1  running  50 %  matched 5  parked 5  delivered 3  pending 2  etaSeconds 9 s  \
             (the event stream is full)"
        );
    }

    #[test]
    fn path_of_a_job_is_one_segment() {
        assert_eq!(
            Jobs("/admin/v1/replays").path("a/b", "/pause"),
            "/admin/v1/replays/a%2Fb/pause"
        );
    }
}
