//! `switchyard events`: event types with their fields and samples; stored events and what became of their deliveries.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::client::{ApiClient, block_on, path_segment};
use super::event_list::{self, EventListArgs};
use super::event_types::{self, TypeFilter};
use super::io::{Output, print_line, print_row};
use super::server_args::ServerArgs;
use super::table::ListFlags;
use super::trigger::sample;
use crate::registry::catalog;

/// Lists event types, their fields and samples; lists stored events and shows what became of one
#[derive(Debug, Args)]
#[command(
    alias = "event",
    after_help = "A type, such as avi:jira:created:issue, is shown offline; a reference, `<cloudId>/<event id>` or a \
    sequence, asks the router. No text is both: a type has no `/` and is no number.\n\n\
    Examples:\n  \
    switchyard events ls issue\n  \
    switchyard events show avi:jira:created:issue\n  \
    switchyard events sample avi:jira:created:issue > event.json\n  \
    switchyard events recent --entity ABC-1 --since 1h\n  \
    switchyard events show 1e2d.../evt-7\n  \
    switchyard events show 4711 --body -o json"
)]
pub struct EventsArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the known event types; offline
    #[command(alias = "list")]
    Ls(TypeFilter),
    /// Lists stored events, the newest first
    Recent(EventListArgs),
    /// Shows an event type with its fields, or a stored event with its deliveries
    #[command(aliases = ["get", "info"])]
    Show {
        /// An event type; or `<cloudId>/<event id>`, or the sequence of an event in the event stream
        #[arg(value_name = "TYPE|REF")]
        reference: String,
        /// Shows the body of a stored event, too
        #[arg(long)]
        body: bool,
    },
    /// Prints a sample event of a type, as filters read it; offline
    Sample {
        /// Event type
        #[arg(value_name = "TYPE")]
        event_type: String,
    },
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Ls(filter) => event_types::list(args.flags, filter)?,
        Action::Recent(list) => {
            let client = args.server.client()?;
            block_on(event_list::list(args.flags, &client, list))?;
        }
        Action::Sample { event_type } => {
            let event = sample::event(event_type)?;
            print_line(&match args.flags.output.plain() {
                Output::Text => serde_json::to_string_pretty(&event)?,
                Output::Json | Output::Jsonl => event.to_string(),
            })?;
        }
        Action::Show { reference, body } => match catalog::find(reference) {
            Some(known) => event_types::show(args.flags, reference, known)?,
            None if is_like_a_type(reference) => {
                anyhow::bail!(event_types::unknown_type(reference))
            }
            None => {
                let client = args.server.client()?;
                block_on(show(args.flags.output.plain(), &client, reference, *body))?;
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a text that is no known type was meant to be one: no reference is like it.
fn is_like_a_type(text: &str) -> bool {
    text.parse::<u64>().is_err() && !text.contains('/')
}

async fn show(
    output: Output,
    client: &ApiClient,
    reference: &str,
    body: bool,
) -> anyhow::Result<()> {
    let path = format!("/admin/v1/events/{}", path_segment(reference));
    let get = async |path: String| client.send(Method::GET, &path, &[], &Value::Null).await;
    let event = get(format!("{path}{}", if body { "?body=true" } else { "" })).await?;
    let deliveries = match event.get("deliveryLog") {
        Some(_) => Value::Null,
        None => get(format!("{path}/deliveries")).await?,
    };
    if output != Output::Text {
        return print_line(&json!({"event": event, "deliveries": deliveries}).to_string());
    }
    for name in
        ["id", "site", "type", "entity", "sequence", "time", "storedAt", "originApp", "bytes"]
    {
        match event.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => print_row(&format!("{name:10}{text}"))?,
            Some(other) => print_row(&format!("{name:10}{other}"))?,
        }
    }
    if event.get("stored") == Some(&Value::Bool(false)) {
        print_row("the event stream does not have it any more")?;
    }
    if let Some(body) = event.get("body") {
        print_line(&serde_json::to_string_pretty(body)?)?;
    }
    let items = deliveries.get("items").and_then(Value::as_array);
    let Some(items) = items else {
        return print_row("the delivery log is off");
    };
    print_row(&format!("{} deliveries", items.len()))?;
    items.iter().try_for_each(|item| {
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let attempts = item.get("attempts").and_then(Value::as_array).map_or(0, Vec::len);
        let (outcome, subscription, id) = (text("outcome"), text("subscription"), text("id"));
        print_row(&format!("  {outcome:9}  {attempts} records  {subscription}  {id}"))
    })
}
