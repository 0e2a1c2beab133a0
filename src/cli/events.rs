//! `switchyard events`: shows an event and what became of its deliveries.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::client::{ApiClient, block_on, path_segment};
use super::io::{Output, print_line, print_row};
use super::server_args::ServerArgs;

/// Shows events and what became of their deliveries
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard events show 1e2d.../evt-7\n  \
    switchyard events show 4711 --body -o json")]
pub struct EventsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows one event and its deliveries
    #[command(alias = "get")]
    Show {
        /// `<cloudId>/<event id>`, or its sequence in the event stream
        #[arg(value_name = "REF")]
        reference: String,
        /// Shows the body, too
        #[arg(long)]
        body: bool,
    },
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let Action::Show { reference, body } = &args.action;
    block_on(show(args.output, &client, reference, *body))?;
    Ok(ExitCode::SUCCESS)
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
