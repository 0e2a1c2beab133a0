//! `switchyard dlq`: lists, shows, deletes and redrives dead letters.

mod filter;
mod redrive;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use self::filter::FilterArgs;
use self::redrive::{JOBS, RedriveArgs};
use super::client::{ApiClient, block_on, path_segment};
use super::io::{Output, print_hints, print_line, print_row};
use super::jobs::print_job;
use super::server_args::ServerArgs;

/// Letters of one page.
const PAGE: usize = 500;

/// Lists, shows, deletes and redrives dead letters
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    switchyard dlq ls --installation acme --since 2h\n  \
    switchyard dlq show 42-1764489000123\n  \
    switchyard dlq redrive --installation acme --reason exhausted --dry-run\n  \
    switchyard dlq redrive --installation acme --reason exhausted --rate 20\n  \
    switchyard dlq redrive 42-1764489000123 43-1764489000456")]
pub struct DlqArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, global = true)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists dead letters, newest first
    #[command(alias = "list")]
    Ls {
        #[command(flatten)]
        filter: FilterArgs,
        /// Maximum number of letters
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Shows one dead letter with its headers and body
    #[command(alias = "get")]
    Show {
        /// Its id
        id: String,
        /// Writes the body alone, byte for byte
        #[arg(long)]
        body: bool,
    },
    /// Deletes dead letters; they are not delivered any more
    #[command(alias = "delete")]
    Rm {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Delivers dead letters again, with fresh attempts under the same delivery id
    Redrive(RedriveArgs),
    /// Lists the redrives, newest first
    Jobs,
    /// Shows one redrive
    Status {
        /// Its id
        job: String,
    },
    /// Stops a redrive until it is resumed
    Pause {
        /// Its id
        job: String,
    },
    /// Continues a paused redrive, or starts one that was planned by a dry run
    Resume {
        /// Its id
        job: String,
    },
    /// Ends a redrive; what it handed over is attempted nevertheless
    Cancel {
        /// Its id
        job: String,
    },
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &DlqArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    block_on(execute(args, &client))
}

async fn execute(args: &DlqArgs, client: &ApiClient) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Ls { filter, limit } => list(args.output, client, filter, *limit).await?,
        Action::Show { id, body } => show(client, id, *body).await?,
        Action::Rm { ids } => {
            for id in ids {
                let path = format!("/admin/v1/dlq/{}", path_segment(id));
                client.send(Method::DELETE, &path, &[], &Value::Null).await?;
                print_row(&format!("{id} deleted"))?;
            }
        }
        Action::Redrive(wanted) => return redrive::run(args.output, client, wanted).await,
        Action::Jobs => JOBS.list(args.output, client).await?,
        Action::Status { job } => print_job(args.output, &JOBS.get(client, job).await?)?,
        Action::Pause { job } => JOBS.change(args.output, client, job, "/pause").await?,
        Action::Resume { job } => JOBS.change(args.output, client, job, "/resume").await?,
        Action::Cancel { job } => JOBS.change(args.output, client, job, "/cancel").await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    output: Output,
    client: &ApiClient,
    filter: &FilterArgs,
    limit: usize,
) -> anyhow::Result<()> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    while items.len() < limit {
        let page = PAGE.min(limit - items.len());
        let path = format!("/admin/v1/dlq?limit={page}{}{cursor}", filter.query_string());
        let mut page = client.send(Method::GET, &path, &[], &Value::Null).await?;
        if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
            items.extend(found);
        }
        print_hints(&page);
        let Some(next) = page.get("nextCursor").and_then(Value::as_str) else { break };
        cursor = format!("&cursor={next}");
    }
    match output {
        Output::Json => print_line(&json!(items).to_string()),
        Output::Jsonl => items.iter().try_for_each(|item| print_line(&item.to_string())),
        Output::Text => print_table(&items),
    }
}

fn print_table(items: &[Value]) -> anyhow::Result<()> {
    let width = |name: &str| {
        items.iter().map(|item| text(item, name).len()).max().unwrap_or(0).max(name.len())
    };
    let (id, reason, of) = (width("id"), width("reason"), width("subscription"));
    print_line(&format!(
        "{:id$}  {:reason$}  {:of$}  {:30}  ERROR",
        "ID", "REASON", "SUBSCRIPTION", "STORED"
    ))?;
    items.iter().try_for_each(|item| {
        let owner = match text(item, "subscription") {
            "" => text(item, "site"),
            subscription => subscription,
        };
        let [key, why, stored, error] =
            ["id", "reason", "storedAt", "error"].map(|name| text(item, name));
        print_row(&format!("{key:id$}  {why:reason$}  {owner:of$}  {stored:30}  {error}"))
    })
}

async fn show(client: &ApiClient, id: &str, body_only: bool) -> anyhow::Result<()> {
    let path = format!("/admin/v1/dlq/{}", path_segment(id));
    if !body_only {
        let found = client.send(Method::GET, &path, &[], &Value::Null).await?;
        return print_line(&serde_json::to_string_pretty(&found)?);
    }
    let body = client.fetch(Method::GET, &format!("{path}/body"), &[], &Value::Null).await?;
    let mut out = std::io::stdout().lock();
    // Strangers chose the bytes: they must not control a terminal.
    if out.is_terminal() {
        drop(out);
        return print_line(&String::from_utf8_lossy(&body));
    }
    out.write_all(&body)?;
    Ok(())
}

/// Returns a member that is a text; empty if there is none.
fn text<'v>(item: &'v Value, name: &str) -> &'v str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}
