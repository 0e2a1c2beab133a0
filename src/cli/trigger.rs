//! `switchyard trigger`: publishes a sample event.

pub(super) mod sample;
mod set;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{block_on, path_segment};
use super::exit::UsageError;
use super::io::{Output, print_line, print_row, read_input};
use super::server_args::ServerArgs;
use super::site::site;
use crate::registry::catalog;
use set::Assignment;

/// Publishes a sample event of a type, with members of your choice
#[derive(Debug, Args)]
#[command(
    after_help = "Each run publishes a new event. A value of --set is JSON, or else a text; missing members \
    are created, and a number is the position in a list.\n\n\
    Exit codes: 0 stored, 2 wrong flags or files, 3 router unreachable, 4 rejected by the router.\n\n\
    Examples:\n  \
    switchyard trigger avi:jira:created:issue\n  \
    switchyard trigger avi:jira:created:issue --set issue.fields.project.key=XXX --set issue.key=XXX-1\n  \
    switchyard trigger avi:jira:updated:issue --set 'issue.fields.labels=[\"urgent\"]' --site my-site\n  \
    switchyard trigger avi:jira:created:issue --file event.json -o json\n  \
    switchyard trigger --list"
)]
pub struct TriggerArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Event type; --list shows those with a sample
    #[arg(value_name = "TYPE", required_unless_present = "list")]
    event_type: Option<String>,
    /// Sets a member of the event, such as issue.fields.priority.name=High; repeatable
    #[arg(long, value_name = "PATH=VALUE", value_parser = Assignment::parse)]
    set: Vec<Assignment>,
    /// File with the event in place of the sample, with or without an envelope; `-` for standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Site of the event [default: that of the context, else the only one with installations]
    #[arg(long, value_name = "CLOUDID")]
    site: Option<String>,
    /// Lists the event types that have a sample
    #[arg(long, conflicts_with_all = ["event_type", "set", "file", "site"])]
    list: bool,
    /// Prints the event and publishes nothing
    #[arg(long)]
    dry_run: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Publishes an event, or lists samples.
///
/// # Errors
/// The type is unknown, the file is no event, the router does not answer or rejects the event.
pub fn run(args: &TriggerArgs) -> anyhow::Result<ExitCode> {
    match &args.event_type {
        Some(event_type) if !args.list => publish(args, event_type)?,
        _ => list(args.output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => {
            let names: Vec<String> = catalog::names().collect();
            print_line(&json!({ "items": names }).to_string())
        }
        Output::Jsonl => {
            catalog::names().try_for_each(|name| print_line(&json!({ "type": name }).to_string()))
        }
        Output::Text => catalog::names().try_for_each(|name| print_row(&name)),
    }
}

fn publish(args: &TriggerArgs, event_type: &str) -> anyhow::Result<()> {
    let mut event = match &args.file {
        Some(file) => read_event(file)?,
        None => sample::of(event_type)?,
    };
    let members = event.as_object_mut().context(UsageError("an event is a JSON object".into()))?;
    sample::set_type(members, event_type);
    for assignment in &args.set {
        assignment.apply(&mut event)?;
    }
    if args.dry_run {
        return print_line(&match args.output {
            Output::Text => serde_json::to_string_pretty(&event)?,
            Output::Json | Output::Jsonl => event.to_string(),
        });
    }
    let target = args.server.target()?;
    let client = target.client()?;
    let id = uuid::Uuid::new_v4().to_string();
    let (site, answer) = block_on(async {
        let site = site(args.site.as_deref(), &target, &client).await?;
        let path = format!(
            "/admin/v1/events?cloudId={}&type={}",
            path_segment(&site),
            path_segment(event_type)
        );
        let answer = client.send(Method::POST, &path, &[("ce-id", &id)], &event).await?;
        Ok((site, answer))
    })?;
    let sequence = answer.pointer("/sequences/0").cloned().unwrap_or(Value::Null);
    let warnings = answer.get("warnings").cloned().unwrap_or_else(|| json!([]));
    if args.output != Output::Text {
        let view = json!({"event": id, "type": event_type, "site": site, "sequence": sequence,
            "warnings": warnings});
        return print_line(&view.to_string());
    }
    print_row(&format!("accepted  {event_type}  event {id}  sequence {sequence}  site {site}"))?;
    for warning in warnings.as_array().into_iter().flatten() {
        let message = warning.get("message").and_then(Value::as_str);
        print_row(&format!("warning: {}", message.unwrap_or_default()))?;
    }
    let context = args.server.context.as_ref().map(|name| format!(" --context {name}"));
    let context = context.unwrap_or_default();
    print_row(&format!("next: switchyard explain{context} --site {site} --event {id}"))
}

/// Reads an event, or the `data` of an envelope around it.
fn read_event(file: &Path) -> anyhow::Result<Value> {
    let text = read_input(file)?;
    let mut event: Value = match serde_json::from_str(&text) {
        Ok(event) => event,
        Err(error) => bail!(UsageError(format!("{}: not JSON: {error}", file.display()))),
    };
    let is_envelope = event.get("headers").is_some() || event.get("subject").is_some();
    if is_envelope && let Some(data) = event.get_mut("data") {
        event = data.take();
    }
    Ok(event)
}
