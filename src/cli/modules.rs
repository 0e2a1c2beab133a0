//! `switchyard modules`: lists, shows, registers and removes modules of an installation.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use super::client::{ApiClient, block_on, path_segment};
use super::exit::UsageError;
use super::io::{print_line, print_row, read_input};
use super::jobs::text;
use super::pages::{PAGE_MAX, read_pages};
use super::server_args::ServerArgs;
use super::table::{Column, ListFlags, ListOf, Toned, plain, print_list};
use super::{revisions, subscription_list};

const LIST: ListOf<'static> =
    ListOf { id: "key", if_empty: "`switchyard modules -i ID add KEY -f FILE` registers a module" };
const COLUMNS: [Column; 5] = [
    Column::text("KEY", 0),
    Column::text("STATE", 0),
    Column::text("TYPE", 2),
    Column::text("EVENTS", 1),
    Column::text("REASON", 3).wide(),
];

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
    #[command(flatten)]
    flags: ListFlags,
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
                Some(id) => {
                    revisions::show_diff(args.flags.output.plain(), client, &path, id).await
                }
                None => revisions::list(args.flags, client, &path, at.as_deref()).await,
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
    // An installation that does not exist is an error, and one without modules is not.
    let path = format!("/admin/v1/installations/{}", path_segment(&args.installation));
    client.send(Method::GET, &path, &[], &Value::Null).await?;
    let parameters = [("installation", Some(args.installation.clone()))];
    let items = read_pages(client, "/admin/v1/subscriptions", &parameters, |_| PAGE_MAX).await?;
    print_list(args.flags, LIST, &items, &COLUMNS, row)
}

fn row(item: &Value) -> Vec<Toned> {
    let events = item.get("events").and_then(Value::as_array).into_iter().flatten();
    let events: Vec<_> = events.filter_map(|event| event.get("eventType")?.as_str()).collect();
    vec![
        plain(text(item, "key")),
        subscription_list::state(item),
        plain(text(item, "type")),
        plain(events.join(" ")),
        plain(text(item, "reason")),
    ]
}

fn print_warnings(answer: &Value) -> anyhow::Result<()> {
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        let text = |name| warning.get(name).and_then(Value::as_str).unwrap_or_default();
        print_row(&format!("warning[{}]: {}", text("code"), text("message")))?;
    }
    Ok(())
}
