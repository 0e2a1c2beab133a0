//! `switchyard modules`: lists, shows, registers and removes modules of an installation.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::client::{ApiClient, block_on, path_segment};
use super::exit::UsageError;
use super::io::{Output, print_line, print_row, read_input};
use super::revisions;
use super::server_args::ServerArgs;

/// Lists, shows, registers and removes the modules of an installation
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard modules -i first ls\n  \
    switchyard modules -i first add assign -f module.json --dry-run\n  \
    switchyard modules -i first revisions assign")]
pub struct ModulesArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The installation
    #[arg(long, short, value_name = "ID", global = true, required = false, default_value = "")]
    installation: String,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists all modules with their state
    #[command(alias = "list")]
    Ls,
    /// Shows one module with its counters
    #[command(alias = "get")]
    Show {
        /// Its key
        key: String,
    },
    /// Lists what the filter, events and state of a module were, the newest first
    Revisions {
        /// Its key
        key: String,
        /// Shows how this revision differs from the one before it
        #[arg(long, value_name = "ID")]
        diff: Option<String>,
        /// Shows only the one in force at this time, such as 2026-11-30T12:00:00Z
        #[arg(long, value_name = "TIME", conflicts_with = "diff")]
        at: Option<String>,
    },
    /// Registers a module, or replaces an existing one
    #[command(alias = "update")]
    Add {
        /// Its key
        key: String,
        /// File with {"type": .., "data": {..}}; `-` for standard input
        #[arg(long, short, value_name = "FILE")]
        file: PathBuf,
        /// Validates it only
        #[arg(long)]
        dry_run: bool,
    },
    /// Removes modules
    #[command(alias = "delete")]
    Rm {
        /// Their keys
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request, or a file cannot be read.
pub fn run(args: &ModulesArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    if args.installation.is_empty() {
        anyhow::bail!(UsageError("name the installation with --installation ID".into()));
    }
    block_on(execute(args, &client))?;
    Ok(ExitCode::SUCCESS)
}

async fn execute(args: &ModulesArgs, client: &ApiClient) -> anyhow::Result<()> {
    let path = |key: &str| {
        format!(
            "/admin/v1/installations/{}/modules/{}",
            path_segment(&args.installation),
            path_segment(key)
        )
    };
    match &args.action {
        Action::Ls => list(args, client).await,
        Action::Show { key } => {
            let id = path_segment(&format!("{}/{key}", args.installation));
            let path = format!("/admin/v1/subscriptions/{id}");
            let found = client.send(Method::GET, &path, &[], &Value::Null).await?;
            print_line(&serde_json::to_string_pretty(&found)?)
        }
        Action::Revisions { key, diff, at } => {
            let id = path_segment(&format!("{}/{key}", args.installation));
            let path = format!("/admin/v1/subscriptions/{id}/revisions");
            match diff {
                Some(id) => revisions::show_diff(args.output, client, &path, id).await,
                None => revisions::list(args.output, client, &path, at.as_deref()).await,
            }
        }
        Action::Add { key, file, dry_run } => {
            let body: Value = serde_json::from_str(&read_input(file)?)
                .with_context(|| format!("{} is not JSON", file.display()))?;
            let query = if *dry_run { "?dryRun=true" } else { "" };
            let path = format!("{}{query}", path(key));
            let answer = client.send(Method::PUT, &path, &[], &body).await?;
            print_warnings(&answer)?;
            print_row(&format!("{key} {}", if *dry_run { "would be registered" } else { "ok" }))
        }
        Action::Rm { keys } => {
            for key in keys {
                client.send(Method::DELETE, &path(key), &[], &Value::Null).await?;
                print_row(&format!("{key} removed"))?;
            }
            Ok(())
        }
    }
}

async fn list(args: &ModulesArgs, client: &ApiClient) -> anyhow::Result<()> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let id = path_segment(&args.installation);
        let path = format!("/admin/v1/subscriptions?limit=500&installation={id}{cursor}");
        let mut page = client.send(Method::GET, &path, &[], &Value::Null).await?;
        if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
            items.extend(found);
        }
        let Some(next) = page.get("nextCursor").and_then(Value::as_str) else { break };
        cursor = format!("&cursor={next}");
    }
    if items.is_empty() {
        // An installation that does not exist is an error, and one without modules is not.
        let path = format!("/admin/v1/installations/{}", path_segment(&args.installation));
        client.send(Method::GET, &path, &[], &Value::Null).await?;
    }
    match args.output {
        Output::Json => print_line(&json!(items).to_string()),
        Output::Jsonl => items.iter().try_for_each(|item| print_line(&item.to_string())),
        Output::Text => {
            let text = |item: &Value, name| {
                item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let width = items.iter().map(|item| text(item, "key").len()).max().unwrap_or(0).max(3);
            print_line(&format!("{:width$}  {:9}  {:14}  EVENTS", "KEY", "STATE", "TYPE"))?;
            items.iter().try_for_each(|item| {
                let events = item.get("events").and_then(Value::as_array).into_iter().flatten();
                let events: Vec<_> =
                    events.filter_map(|event| event.get("eventType")?.as_str()).collect();
                let [key, state, kind] = ["key", "state", "type"].map(|name| text(item, name));
                print_row(&format!("{key:width$}  {state:9}  {kind:14}  {}", events.join(" ")))
            })
        }
    }
}

fn print_warnings(answer: &Value) -> anyhow::Result<()> {
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        let text = |name| warning.get(name).and_then(Value::as_str).unwrap_or_default();
        print_row(&format!("warning[{}]: {}", text("code"), text("message")))?;
    }
    Ok(())
}
