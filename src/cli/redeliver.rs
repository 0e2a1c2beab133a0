//! `switchyard redeliver`: sends deliveries again, each by a replay of its event for its subscription.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{ApiClient, block_on, path_segment};
use super::exit::EXIT_NEGATIVE;
use super::io::{Output, print_error, print_line, print_row};
use super::jobs::text;
use super::pages::{EMPTY_PAGES_MAX, query};
use super::server_args::ServerArgs;
use crate::clock;

/// Most ids of one command.
const IDS_MAX: usize = 1_000;
/// Pause between two questions after a job.
const POLL: Duration = Duration::from_millis(200);

/// Sends deliveries again, under the same delivery id
#[derive(Debug, Args)]
#[command(
    after_help = "The event is matched again, by the filter as it is now. A delivery that waits for its next attempt is \
    left: it is attempted when it is due. A dead letter stays until `switchyard dlq redrive` or `dlq rm`.\n\n\
    Examples:\n  \
    switchyard redeliver dlv_3xk... --installation first\n  \
    switchyard deliveries ls --outcome dead --since 1h -o jsonl | jq -r .id | xargs switchyard redeliver\n\n\
    Exit codes: 1 some were not delivered; see `switchyard --help` for the others."
)]
pub struct RedeliverArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Their ids, `dlv_...`
    #[arg(required = true, value_name = "ID", num_args = 1..=IDS_MAX)]
    ids: Vec<String>,
    /// Of this site: they are found sooner
    #[arg(long, value_name = "CLOUDID")]
    site: Option<String>,
    /// To this installation: they are found sooner
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// Of this event: `<cloudId>/<event id>`, or its sequence
    #[arg(long, value_name = "REF")]
    event: Option<String>,
    /// Longest wait for what becomes of one delivery, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Sends the deliveries again, one after the other.
///
/// # Errors
/// The router does not answer.
pub fn run(args: &RedeliverArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    block_on(redeliver_all(args, &client))
}

async fn redeliver_all(args: &RedeliverArgs, client: &ApiClient) -> anyhow::Result<ExitCode> {
    let mut results = Vec::new();
    for id in &args.ids {
        let result = redeliver(args, client, id).await?;
        match args.output {
            Output::Text => print_row(&format!("{id}  {}", text(&result, "result")))?,
            Output::Jsonl => print_line(&result.to_string())?,
            Output::Json => {}
        }
        results.push(result);
    }
    if args.output == Output::Json {
        print_line(&json!(results).to_string())?;
    }
    let failed = results.iter().filter(|one| text(one, "result") != "delivered").count();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    print_error(&format!("{failed} of {} were not delivered", results.len()));
    Ok(ExitCode::from(EXIT_NEGATIVE))
}

/// Sends one delivery again and waits for what becomes of it.
async fn redeliver(args: &RedeliverArgs, client: &ApiClient, id: &str) -> anyhow::Result<Value> {
    let started = match start(args, client, id).await {
        Ok(Some(started)) => started,
        Ok(None) => return Ok(json!({ "id": id, "result": "no record of it" })),
        Err(error) => match error.downcast_ref::<super::client::ErrorStatus>() {
            Some(refused) if [404, 409, 422].contains(&refused.status) => {
                return Ok(json!({ "id": id, "result": format!("refused: {error}") }));
            }
            _ => return Err(error),
        },
    };
    let job = started.get("job").cloned().unwrap_or_default();
    let job = until_ended(args, client, job).await?;
    Ok(json!({
        "id": id,
        "subscription": started.get("subscription"),
        "result": result(&job),
        "job": text(&job, "id"),
    }))
}

/// Starts the replay of one delivery; none if the log does not have it.
async fn start(
    args: &RedeliverArgs,
    client: &ApiClient,
    id: &str,
) -> anyhow::Result<Option<Value>> {
    let mut cursor = None;
    for _ in 0..EMPTY_PAGES_MAX {
        let parameters = [
            ("site", args.site.clone()),
            ("installation", args.installation.clone()),
            ("event", args.event.clone()),
            ("cursor", cursor.take()),
        ];
        let path =
            format!("/admin/v1/deliveries/{}/redeliver{}", path_segment(id), query(&parameters));
        let answer = client.send(Method::POST, &path, &[], &Value::Null).await?;
        if answer.get("job").is_some() {
            return Ok(Some(answer));
        }
        let Some(next) = answer.get("nextCursor").and_then(Value::as_str) else { return Ok(None) };
        print_error(&format!(
            "{id} not found back to {}; reading on",
            text(&answer, "examinedUntil")
        ));
        cursor = Some(next.to_owned());
    }
    Ok(None)
}

/// Waits until a job ended and all that it handed over ended, or the time is over.
async fn until_ended(
    args: &RedeliverArgs,
    client: &ApiClient,
    mut job: Value,
) -> anyhow::Result<Value> {
    let deadline = clock::tick() + Duration::from_secs(args.wait);
    let path = format!("/admin/v1/replays/{}", path_segment(text(&job, "id")));
    loop {
        let pending = job.get("pending").and_then(Value::as_u64);
        let is_running = text(&job, "state") == "running";
        if (!is_running && pending == Some(0)) || clock::tick() >= deadline {
            return Ok(job);
        }
        tokio::time::sleep(POLL).await;
        job = client.send(Method::GET, &path, &[], &Value::Null).await?;
    }
}

/// Says what became of the one delivery of a job.
fn result(job: &Value) -> String {
    let first = |group: &str, prefix: &str| {
        let members = job.get(group).and_then(Value::as_object)?;
        let of = |(name, count): (&String, &Value)| {
            (name.starts_with(prefix) && count.as_u64() > Some(0)).then(|| name.clone())
        };
        members.iter().find_map(of)
    };
    if let Some(outcome) = first("outcomes", "") {
        return outcome;
    }
    match first("counts", "skipped_").as_deref() {
        Some("skipped_pending") => return "waits for its next attempt already".to_owned(),
        Some(skipped) => return skipped.replace('_', " "),
        None => {}
    }
    let is_handed_over = first("counts", "parked").is_some();
    match (text(job, "state"), is_handed_over) {
        ("running", _) | (_, true) => "not accounted for yet".to_owned(),
        (state, false) if first("counts", "sequences_expired").is_some() || state == "failed" => {
            "its event is not stored any more".to_owned()
        }
        _ => "the filter does not match its event any more".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_says_what_became_of_the_delivery() {
        for (job, expected) in [
            (json!({"state": "done", "outcomes": {"delivered": 1}}), "delivered"),
            (json!({"state": "done", "outcomes": {"dead": 1, "delivered": 0}}), "dead"),
            (
                json!({"state": "done", "counts": {"skipped_pending": 1}}),
                "waits for its next attempt already",
            ),
            (json!({"state": "running", "counts": {}}), "not accounted for yet"),
            (json!({"state": "done", "counts": {"parked": 1}}), "not accounted for yet"),
            (
                json!({"state": "done", "counts": {"sequences_expired": 1}}),
                "its event is not stored any more",
            ),
            (
                json!({"state": "done", "counts": {"events": 1}}),
                "the filter does not match its event any more",
            ),
        ] {
            assert_eq!(result(&job), expected, "{job}");
        }
    }
}
