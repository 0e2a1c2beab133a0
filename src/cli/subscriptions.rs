//! `switchyard subscriptions`: lists, shows, pauses and compares subscriptions; shadow filters, promoted and
//! rolled back.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::client::{ApiClient, block_on, path_segment};
use super::exit::UsageError;
use super::io::{Output, is_confirmed, print_line, print_row, read_input};
use super::revisions;
use super::server_args::ServerArgs;
use super::subscription_list::{self, SubscriptionFilter};
use super::table::{Column, ListFlags, plain, print_rows};

/// Lists, shows, pauses and resumes subscriptions; compares another filter with the one in force
#[derive(Debug, Args)]
#[command(
    aliases = ["sub", "subscription"],
    after_help = "Examples:\n  \
    switchyard subscriptions ls --failing\n  \
    switchyard subscriptions ls -i first -o wide\n  \
    switchyard subscriptions show first/urgent\n  \
    switchyard subscriptions diff first/urgent\n  \
    switchyard subscriptions shadow set first/urgent -e 'event.issue.fields.priority.name == \"High\"'\n  \
    switchyard subscriptions shadow show first/urgent\n  \
    switchyard subscriptions promote first/urgent\n  \
    switchyard subscriptions rollback first/urgent"
)]
pub struct SubscriptionsArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists subscriptions with their state, counts and last failure
    #[command(alias = "list")]
    Ls(SubscriptionFilter),
    /// Shows one subscription
    #[command(aliases = ["get", "info"])]
    Show {
        /// The subscription: INSTALLATION/KEY
        subscription: String,
    },
    /// Shows how a revision differs from the one before it
    Diff {
        /// The subscription: INSTALLATION/KEY
        subscription: String,
        /// The revision [default: the newest]
        #[arg(long, value_name = "ID")]
        revision: Option<String>,
    },
    /// Parks the events of a subscription until it is resumed
    Pause {
        /// The subscription: INSTALLATION/KEY
        subscription: String,
    },
    /// Delivers the events of a subscription again, parked ones first
    Resume {
        /// The subscription: INSTALLATION/KEY
        subscription: String,
    },
    /// Switches a subscription off: it receives no events until it is resumed
    Disable {
        /// The subscription: INSTALLATION/KEY
        subscription: String,
    },
    /// A filter that is evaluated and counted, and delivers nothing
    Shadow {
        #[command(subcommand)]
        action: ShadowAction,
    },
    /// Makes the shadow the filter, in one step
    Promote {
        #[command(flatten)]
        change: Change,
        /// Name of the shadow, as `shadow show` prints it; without one, it is shown and you are asked
        #[arg(long, value_name = "NAME")]
        shadow: Option<String>,
    },
    /// Puts the filter back that the last promotion replaced
    Rollback(Change),
}

#[derive(Debug, Subcommand)]
enum ShadowAction {
    /// Sets the shadow of a subscription, from now on
    Set {
        /// The subscription: INSTALLATION/KEY
        subscription: String,
        /// Its expression; what else the filter of the module has stays
        #[arg(long, short, value_name = "EXPR", required_unless_present = "file")]
        expression: Option<String>,
        /// File with {"filter": {..}, "events": [..]}, either or both; `-` for standard input
        #[arg(long, short, value_name = "FILE", conflicts_with = "expression")]
        file: Option<PathBuf>,
    },
    /// Shows the shadow of a subscription with what it gains and loses
    #[command(alias = "get")]
    Show {
        /// The subscription: INSTALLATION/KEY
        subscription: String,
    },
    /// Removes the shadow of a subscription
    #[command(alias = "delete")]
    Rm {
        /// The subscription: INSTALLATION/KEY
        subscription: String,
    },
}

#[derive(Debug, Args)]
struct Change {
    /// The subscription: INSTALLATION/KEY
    subscription: String,
    /// Required revision of the module; with one, a module that its app changed is promoted over
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request, or a file cannot be read.
pub fn run(args: &SubscriptionsArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    block_on(execute(args, &client))?;
    Ok(ExitCode::SUCCESS)
}

async fn execute(args: &SubscriptionsArgs, client: &ApiClient) -> anyhow::Result<()> {
    let output = args.flags.output.plain();
    match &args.action {
        Action::Ls(filter) => subscription_list::list(args.flags, client, filter).await,
        Action::Show { subscription } => {
            subscription_list::show(output, client, subscription).await
        }
        Action::Diff { subscription, revision } => {
            let path = format!("{}/revisions", path(subscription));
            let id = match revision {
                Some(id) => id.clone(),
                None => revisions::newest(client, &path).await?,
            };
            revisions::show_diff(output, client, &path, &id).await
        }
        Action::Pause { subscription } => set(output, client, subscription, "pause").await,
        Action::Resume { subscription } => set(output, client, subscription, "resume").await,
        Action::Disable { subscription } => set(output, client, subscription, "disable").await,
        Action::Shadow { action } => match action {
            ShadowAction::Set { subscription, expression, file } => {
                let members = match file {
                    Some(file) => serde_json::from_str(&read_input(file)?)
                        .with_context(|| format!("{} is not JSON", file.display()))?,
                    None => with_expression(client, subscription, expression.as_deref()).await?,
                };
                let path = format!("{}/shadow", path(subscription));
                let set = client.send(Method::PUT, &path, &[], &members).await?;
                print_shadow(output, &set)
            }
            ShadowAction::Show { subscription } => {
                let path = format!("{}/shadow", path(subscription));
                let found = client.send(Method::GET, &path, &[], &Value::Null).await?;
                print_shadow(output, &found)
            }
            ShadowAction::Rm { subscription } => {
                let path = format!("{}/shadow", path(subscription));
                client.send(Method::DELETE, &path, &[], &Value::Null).await?;
                print_row(&format!("{subscription} has no shadow"))
            }
        },
        Action::Promote { change, shadow } => {
            let name = match shadow {
                Some(name) => name.clone(),
                None => confirmed(output, client, &change.subscription).await?,
            };
            let action = format!("promote?shadow={}", path_segment(&name));
            changed(output, client, change, &action).await
        }
        Action::Rollback(change) => changed(output, client, change, "rollback").await,
    }
}

/// Changes the status of a subscription, and prints it.
async fn set(
    output: Output,
    client: &ApiClient,
    subscription: &str,
    action: &str,
) -> anyhow::Result<()> {
    let path = format!("{}/{action}", path(subscription));
    let now = client.send(Method::POST, &path, &[], &Value::Null).await?;
    match output {
        Output::Text => print_row(&format!("{subscription} {}", text(&now, "state"))),
        Output::Json | Output::Jsonl => print_line(&now.to_string()),
    }
}

fn path(subscription: &str) -> String {
    format!("/admin/v1/subscriptions/{}", path_segment(subscription))
}

/// The filter of a subscription with another expression.
async fn with_expression(
    client: &ApiClient,
    subscription: &str,
    expression: Option<&str>,
) -> anyhow::Result<Value> {
    let found = client.send(Method::GET, &path(subscription), &[], &Value::Null).await?;
    let filter = found.pointer("/data/filter").and_then(Value::as_object);
    let mut filter: Map<String, Value> = filter.cloned().unwrap_or_default();
    filter.insert("expression".to_owned(), json!(expression));
    Ok(json!({ "filter": filter }))
}

/// Shows the shadow of a subscription, and asks whether it is the one; returns its name.
async fn confirmed(
    output: Output,
    client: &ApiClient,
    subscription: &str,
) -> anyhow::Result<String> {
    if output != Output::Text || !std::io::stdin().is_terminal() {
        let error = "--shadow NAME says which shadow is promoted: `shadow show` prints its name";
        anyhow::bail!(UsageError(error.into()));
    }
    let path = format!("{}/shadow", path(subscription));
    let shadow = client.send(Method::GET, &path, &[], &Value::Null).await?;
    print_shadow(output, &shadow)?;
    if !is_confirmed("This shadow becomes the filter. Continue? [yes/no]")? {
        anyhow::bail!(UsageError("nothing was promoted: not confirmed with `yes`".into()));
    }
    Ok(text(&shadow, "name").to_owned())
}

/// Changes the filter of a subscription, and prints it.
async fn changed(
    output: Output,
    client: &ApiClient,
    change: &Change,
    action: &str,
) -> anyhow::Result<()> {
    let path = format!("{}/{action}", path(&change.subscription));
    let tag = change.revision.map(|revision| format!("\"{revision}\""));
    let headers: Vec<(&str, &str)> = tag.iter().map(|tag| ("if-match", tag.as_str())).collect();
    let now = client.send(Method::POST, &path, &headers, &Value::Null).await?;
    if output != Output::Text {
        return print_line(&now.to_string());
    }
    let revision = now.get("revision").unwrap_or(&Value::Null);
    print_row(&format!("{} revision {revision}", change.subscription))?;
    for event in now.get("events").and_then(Value::as_array).into_iter().flatten() {
        let line = match event.get("expression").and_then(Value::as_str) {
            Some(expression) => format!("  {} if {expression}", text(event, "eventType")),
            None => format!("  {}", text(event, "eventType")),
        };
        print_row(&line)?;
    }
    Ok(())
}

fn print_shadow(output: Output, shadow: &Value) -> anyhow::Result<()> {
    if output != Output::Text {
        return print_line(&shadow.to_string());
    }
    let (name, since) = (text(shadow, "name"), text(shadow, "since"));
    print_row(&format!("shadow {name} of {} since {since}", text(shadow, "subscription")))?;
    if let Some(members) = shadow.get("members") {
        print_row(&format!("{members}"))?;
    }
    if let Some(problem) = shadow.get("problem").and_then(Value::as_str) {
        print_row(&format!("not compared: {problem}"))?;
    }
    if shadow.get("moduleChanged").is_some() {
        let revision = shadow.get("revision").unwrap_or(&Value::Null);
        print_row(&format!(
            "the module changed since: `promote --shadow {name} --revision {revision}` replaces it nevertheless"
        ))?;
    }
    for warning in shadow.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        print_row(&format!("warning[{}]: {}", text(warning, "code"), text(warning, "message")))?;
    }
    if shadow.get("events").is_none() {
        return Ok(());
    }
    let number =
        |pointer: &str| shadow.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let columns = [Column::text("", 0), Column::number("MATCHED", 0), Column::number("ERRORS", 0)];
    let rows = ["filter", "shadow"].map(|name| {
        let count = |what: &str| plain(number(&format!("/{name}/{what}")).to_string());
        vec![plain(name), count("matched"), count("errors")]
    });
    print_rows(&columns, &rows)?;
    let (events, both) = (number("/events"), number("/both"));
    let (gained, lost) = (number("/gained"), number("/lost"));
    print_row(&format!("{events} events, {both} in both, {gained} gained, {lost} lost"))?;
    for (name, what) in [
        ("uncounted", "deleted before they were counted, of all sites"),
        ("unreadable", "unreadable"),
    ] {
        if let Some(count) = shadow.get(name) {
            print_row(&format!("{count} events {what}"))?;
        }
    }
    if shadow.get("streamLost").is_some() {
        print_row("the event stream was lost, or its end: what it had is not counted any more")?;
    }
    if shadow.get("upToDate") == Some(&Value::Bool(false)) {
        print_row("not all events are counted yet")?;
    }
    for (sign, pointer) in [("+", "/differences/gained"), ("-", "/differences/lost")] {
        for event in shadow.pointer(pointer).and_then(Value::as_array).into_iter().flatten() {
            let sequence = event.get("sequence").unwrap_or(&Value::Null);
            let (time, kind) = (text(event, "time"), text(event, "type"));
            print_row(&format!(
                "{sign} {time}  {kind}  {}  sequence {sequence}",
                text(event, "event")
            ))?;
        }
    }
    Ok(())
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
