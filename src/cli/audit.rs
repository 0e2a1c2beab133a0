//! `switchyard audit`: lists who changed what, and shows one change.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::client::{ApiClient, block_on, path_segment};
use super::deliveries::read_time;
use super::io::{Output, print_line, print_row};
use super::jobs::text;
use super::pages::{PAGE_MAX, read_pages};
use super::server_args::ServerArgs;
use super::table::{Column, ListFlags, ListOf, Tone, Toned, plain, print_list};
use crate::clock::{self, relative};

const PATH: &str = "/admin/v1/audit-log";
const LIST: ListOf<'static> = ListOf {
    id: "id",
    if_empty: "no change is recorded that the flags name; reads are not recorded",
};
const COLUMNS: [Column; 8] = [
    Column::text("WHEN", 0),
    Column::text("CALLER", 0),
    Column::text("OPERATION", 0),
    Column::text("OUTCOME", 0),
    Column::text("PATH", 1),
    Column::text("VIA", 2),
    Column::text("ID", 3),
    Column::text("TIME", 3).wide(),
];

/// Lists who changed what, and who logged in
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard audit ls --since 1d\n  \
    switchyard audit ls --caller ci --path /subscriptions/\n  \
    switchyard audit show 1796142000123-8d2c81f0a94be637")]
pub struct AuditArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists changes and logins, the newest first
    #[command(alias = "list")]
    Ls(ListArgs),
    /// Shows one of them, with the resource before and after it
    #[command(alias = "get")]
    Show {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Of this token or person
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Of this operation, such as putApp, pauseSubscription, logIn or logInFailed
    #[arg(long, value_name = "ID")]
    operation: Option<String>,
    /// Whose path has this text
    #[arg(long, value_name = "TEXT")]
    path: Option<String>,
    /// Not older than this: a time in RFC 3339, or how long ago, such as 30m, 2h or 1d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Most entries
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    match &args.action {
        Action::Ls(list) => block_on(list_all(args.flags, &client, list)),
        Action::Show { id } => block_on(show(args.flags.output.plain(), &client, id)),
    }
}

async fn list_all(
    flags: ListFlags,
    client: &ApiClient,
    list: &ListArgs,
) -> anyhow::Result<ExitCode> {
    let parameters = [
        ("caller", list.caller.clone()),
        ("operation", list.operation.clone()),
        ("path", list.path.clone()),
        ("since", list.since.as_deref().map(read_time).transpose()?),
    ];
    let limit = |found: usize| list.limit.saturating_sub(found).min(PAGE_MAX);
    let items = read_pages(client, PATH, &parameters, limit).await?;
    let now = clock::now();
    print_list(flags, LIST, &items, &COLUMNS, |item| row(item, now))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(output: Output, client: &ApiClient, id: &str) -> anyhow::Result<ExitCode> {
    let path = format!("{PATH}/{}", path_segment(id));
    let found = client.send(Method::GET, &path, &[], &Value::Null).await?;
    if output != Output::Text {
        print_line(&found.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    print_row(&format!(
        "{}  {}  {}",
        text(&found, "time"),
        text(&found, "operation"),
        text(&found, "outcome")
    ))?;
    for (label, name) in [
        ("caller", "caller"),
        ("scope", "scope"),
        ("installation", "installation"),
        ("via", "via"),
        ("address", "address"),
        ("path", "path"),
        ("request", "requestId"),
        ("detail", "detail"),
    ] {
        let value = text(&found, name);
        if !value.is_empty() {
            print_row(&format!("{label:<13} {value}"))?;
        }
    }
    for name in ["before", "after"] {
        match (found.get(name), text(&found, &format!("{name}Omitted"))) {
            (Some(content), _) => {
                print_row(&format!("{name}:"))?;
                print_line(&serde_json::to_string_pretty(content)?)?;
            }
            (None, "") => {}
            (None, reason) => print_row(&format!("{name}: not recorded, {reason}"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(item: &Value, now: Timestamp) -> Vec<Toned> {
    let at = text(item, "time");
    vec![
        plain(relative(Some(at), now)),
        plain(text(item, "caller")),
        plain(text(item, "operation")),
        outcome(item),
        plain(text(item, "path")),
        plain(text(item, "via")),
        plain(text(item, "id")),
        plain(at),
    ]
}

fn outcome(item: &Value) -> Toned {
    let outcome = text(item, "outcome");
    let tone = match outcome {
        "done" => Tone::Good,
        "running" => Tone::Dim,
        "refused" => Tone::Bad,
        _ => Tone::Warning,
    };
    let status = item.get("status").and_then(Value::as_u64).filter(|_| outcome == "refused");
    (outcome.to_owned() + &status.map(|status| format!(" ({status})")).unwrap_or_default(), tone)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn row_says_who_did_what_and_how_it_ended() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let item = json!({"id": "1-0", "time": "2026-12-01T11:58:00Z", "caller": "ci", "operation": "putApp",
            "path": "/admin/v1/apps/a", "via": "command", "outcome": "refused", "status": 422});
        let row = row(&item, now);
        assert_eq!(row[3], ("refused (422)".to_owned(), Tone::Bad));
        let texts: Vec<_> = row.into_iter().map(|(text, _)| text).collect();
        assert_eq!(texts[..3], ["2 min ago", "ci", "putApp"]);
        assert_eq!(texts[4..], ["/admin/v1/apps/a", "command", "1-0", "2026-12-01T11:58:00Z"]);
        let unknown = json!({"outcome": "unknown"});
        assert_eq!(outcome(&unknown), ("unknown".to_owned(), Tone::Warning));
    }
}
