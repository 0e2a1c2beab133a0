//! `switchyard listen`: receives deliveries in the terminal and forwards them to a handler.

mod forward;
mod print;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};
use switchyard_expr::{CheckProfile, Usage, compile_for, render};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client::{ApiClient, ErrorStatus, LineStream, Unreachable, block_on, path_segment};
use super::exit::UsageError;
use super::io::{Output, print_error};
use super::server_args::{ServerArgs, Target};
use super::site::site;
use forward::{Forwarded, Handler, Received};

/// Where a filter is, in diagnostics.
const FILTER: &str = "--filter";
/// Deliveries that are forwarded at once; the router has at most as many unanswered ones.
const FORWARDED_MAX: usize = 64;
/// Attempts to return an answer to the router.
const ANSWER_ATTEMPTS_MAX: usize = 3;
/// Time of a handler, if the router does not say one.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// Receives deliveries in the terminal and forwards them to a handler on this machine
#[derive(Debug, Args)]
#[command(
    after_help = "The router matches the filter like a registered trigger and delivers to this command, signed, \
    with the headers that a handler gets. The answer of the handler at --to goes back to the router; without \
    --to each delivery is answered with 204. A failed delivery is shown and not repeated. Nothing of it \
    remains when the command ends, however it ends.\n\n\
    Without --event the filter is matched on all events that have the members it reads.\n\n\
    Exit codes: 2 wrong flags, 3 router unreachable, or the connection lost, 4 rejected by the router.\n\n\
    Examples:\n  \
    switchyard listen --to localhost:9000 --filter \"event.issue.fields.project.key == 'XXX'\"\n  \
    switchyard listen --to http://localhost:9000/hook --event avi:jira:created:issue --site my-site\n  \
    switchyard listen --to localhost:9000 --subscription acme/assign\n  \
    switchyard listen --event avi:jira:updated:issue -o jsonl"
)]
pub struct ListenArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Address of the handler, such as localhost:9000 or http://localhost:9000/hook
    #[arg(long, value_name = "URL", value_parser = Handler::parse_url)]
    to: Option<url::Url>,
    /// Takes events and filter of this trigger, and is signed with its secret
    #[arg(long, value_name = "INSTALLATION/KEY", conflicts_with = "installation")]
    subscription: Option<String>,
    /// The filter: an expression over `event`
    #[arg(long, short, value_name = "EXPR")]
    filter: Option<String>,
    /// Event type; repeatable
    #[arg(long, short, value_name = "TYPE")]
    event: Vec<String>,
    /// Site whose events are received [default: that of the context, else the only one with installations]
    #[arg(long, value_name = "CLOUDID", conflicts_with_all = ["subscription", "installation"])]
    site: Option<String>,
    /// Receives what this installation would: events of its site, with its app for ignoreSelf and permissions
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// Output format; json and jsonl print headers and body of each delivery
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Forwards deliveries until it is interrupted or the connection is lost.
///
/// # Errors
/// The router does not answer or rejects the request, or the connection is lost.
pub fn run(args: &ListenArgs) -> anyhow::Result<ExitCode> {
    if let Some(filter) = &args.filter {
        check_filter(filter, &args.event)?;
    }
    let target = args.server.target()?;
    let client = target.client()?;
    block_on(listen(args, &target, &client))?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(args: &ListenArgs, target: &Target, client: &ApiClient) -> anyhow::Result<()> {
    let request = request(args, target, client).await?;
    let mut lines = client.follow("/admin/v1/listeners", Some(&request)).await?;
    let first = next_line(&mut lines, client).await?;
    let listener = first.get("listener").context("the router did not begin a listener")?;
    print::begun(args.output, listener, args.to.as_ref(), args.server.context.as_deref())?;
    let id = listener.get("id").and_then(Value::as_str).context("no id of the listener")?;
    let timeout = listener.get("timeoutMs").and_then(Value::as_u64);
    let timeout = timeout.map_or(TIMEOUT_DEFAULT, Duration::from_millis);
    let handler = args.to.clone().map(|url| Handler::new(url, timeout)).transpose()?;
    let session = Arc::new(Session {
        client: client.clone(),
        answers: format!("/admin/v1/listeners/{}/answers", path_segment(id)),
        handler,
        output: args.output,
    });
    let (places, mut forwards) = (Arc::new(Semaphore::new(FORWARDED_MAX)), JoinSet::new());
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let mut line = tokio::select! {
            line = next_line(&mut lines, client) => line?,
            Some(ended) = forwards.join_next() => {
                ended??;
                continue;
            }
        };
        if let Some(delivery) = line.get_mut("delivery").map(Value::take) {
            let session = Arc::clone(&session);
            forwards.spawn(async move {
                let _place = place;
                session.forward(Received::read(delivery)?).await
            });
        }
    }
}

/// Shows the warnings about a filter.
///
/// # Errors
/// The filter is invalid.
fn check_filter(filter: &str, events: &[String]) -> anyhow::Result<()> {
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let usage = Usage { events: &events, delivers_on_error: false };
    match compile_for(filter, CheckProfile::Filter, &usage) {
        Ok(compiled) if compiled.warnings.is_empty() => {}
        Ok(compiled) => print_error(&render::render(&compiled.warnings, filter, FILTER)),
        Err(rejected) => {
            let diagnostics = render::render(&rejected.diagnostics, filter, FILTER);
            bail!(UsageError(format!("the filter is invalid\n{diagnostics}")));
        }
    }
    Ok(())
}

/// Returns the request for a listener.
async fn request(args: &ListenArgs, target: &Target, client: &ApiClient) -> anyhow::Result<Value> {
    let mut request = Map::new();
    let names_site = args.subscription.is_some() || args.installation.is_some();
    if !names_site {
        let site = site(args.site.as_deref(), target, client).await?;
        request.insert("site".to_owned(), json!(site));
    }
    for (name, value) in [
        ("subscription", &args.subscription),
        ("installation", &args.installation),
        ("filter", &args.filter),
    ] {
        request.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
    }
    request.insert("events".to_owned(), json!(args.event));
    Ok(Value::Object(request))
}

async fn next_line(lines: &mut LineStream, client: &ApiClient) -> anyhow::Result<Value> {
    let Some(line) = lines.next().await? else {
        let reason = "the router ended the listener; it stops, or the installation is disabled";
        bail!(Unreachable::new(client.base(), reason.to_owned()));
    };
    Ok(line)
}

/// What forwards deliveries.
struct Session {
    client: ApiClient,
    /// Path of the answers.
    answers: String,
    handler: Option<Handler>,
    output: Output,
}

impl Session {
    /// Forwards a delivery, returns the answer of the handler, and prints a line about it.
    async fn forward(&self, received: Received) -> anyhow::Result<()> {
        let forwarded = match &self.handler {
            Some(handler) => handler.forward(&received).await,
            None => Forwarded::accepted(),
        };
        let is_late = !self.answer(&received, &forwarded).await?;
        print::forwarded(self.output, &received, &forwarded, is_late)
    }

    /// Returns the answer to the router; false if the router waits for it no longer.
    async fn answer(&self, received: &Received, forwarded: &Forwarded) -> anyhow::Result<bool> {
        let path = format!("{}/{}", self.answers, path_segment(&received.number));
        let body = forwarded.answer();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.client.send(Method::POST, &path, &[], &body).await {
                Ok(_) => return Ok(true),
                Err(error) => error,
            };
            match error.downcast_ref::<ErrorStatus>().map(|error| error.status) {
                Some(404) => return Ok(false),
                // The broker did not answer in time, or the router is busy.
                Some(429 | 500..) if attempts < ANSWER_ATTEMPTS_MAX => {}
                None if error.is::<Unreachable>() && attempts < ANSWER_ATTEMPTS_MAX => {}
                _ => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
