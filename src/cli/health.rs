//! `switchyard health`: whether a router is ready, in one line, with the exit codes of Nagios plugins.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};

use super::client::{ApiClient, ErrorStatus, Unreachable, block_on};
use super::io::{print_line, print_row};
use super::server_args::ServerArgs;

/// Path of the readiness probe with the state of every check.
const PATH: &str = "/healthz/deep";

/// Says in one line whether the router is ready
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard health\n  switchyard health --format nagios\n\n\
    Exit codes (those of Nagios plugins, not those of other commands): 0 ok, 1 warning: ready, but something needs \
    attention, 2 critical: not ready or not reachable, 3 unknown: the answer is not understood, or the token is wrong.")]
pub struct HealthArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Format of the line
    #[arg(long, value_enum, default_value_t)]
    format: HealthFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum HealthFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
    /// The output of a Nagios plugin
    Nagios,
}

/// A state, with its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }

    fn exit_code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// Asks the router for its health, and prints it.
///
/// # Errors
/// There is no token, or standard output cannot be written.
pub fn run(args: &HealthArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let (health, reasons) = block_on(async { Ok(ask(&client).await) })?;
    let text = if reasons.is_empty() { "ready".to_owned() } else { reasons.join("; ") };
    match args.format {
        HealthFormat::Text => print_row(&format!("{}: {text}", health.name()))?,
        HealthFormat::Nagios => {
            // A bar would begin the performance data.
            let text = text.replace('|', "/");
            print_row(&format!("SWITCHYARD {} - {text}", health.name().to_uppercase()))?;
        }
        HealthFormat::Json => {
            print_line(&json!({ "status": health.name(), "reasons": reasons }).to_string())?;
        }
    }
    Ok(health.exit_code())
}

/// Returns the health of a router and the reasons if it is not ok.
async fn ask(client: &ApiClient) -> (Health, Vec<String>) {
    match client.send(Method::GET, PATH, &[], &Value::Null).await {
        Ok(found) => read(&found),
        Err(error) if error.is::<Unreachable>() => (Health::Critical, vec![error.to_string()]),
        Err(error) => match error.downcast_ref::<ErrorStatus>() {
            Some(refused) if refused.status == 503 => (Health::Critical, vec![error.to_string()]),
            _ => (Health::Unknown, vec![format!("{error:#}")]),
        },
    }
}

fn read(found: &Value) -> (Health, Vec<String>) {
    let texts = |name: &str| -> Option<Vec<String>> {
        let items = found.get(name)?.as_array()?;
        Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    match (texts("failing"), texts("degraded")) {
        (Some(failing), _) if !failing.is_empty() => (Health::Critical, failing),
        (Some(_), Some(degraded)) if !degraded.is_empty() => (Health::Warning, degraded),
        (Some(_), _) => (Health::Ok, Vec::new()),
        (None, _) => (Health::Unknown, vec!["the answer has no state".to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_has_the_codes_of_nagios() {
        for (answer, expected, code) in [
            (json!({"failing": [], "degraded": []}), Health::Ok, 0),
            (json!({"failing": [], "degraded": ["one document"]}), Health::Warning, 1),
            (json!({"failing": ["starting"], "degraded": ["x"]}), Health::Critical, 2),
            (json!({"other": 1}), Health::Unknown, 3),
        ] {
            let (health, reasons) = read(&answer);
            assert_eq!(health, expected, "{answer}");
            assert_eq!(reasons.is_empty(), health == Health::Ok);
            assert_eq!(health as u8, code);
        }
    }
}
