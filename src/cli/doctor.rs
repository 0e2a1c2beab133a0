//! `switchyard doctor`: what is wrong with the broker and the router, and what to do about it.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::client::block_on;
use super::exit::EXIT_NEGATIVE;
use super::io::{Output, print_line, print_row};
use super::jobs::text;
use super::server_args::ServerArgs;

/// Examines the broker and the router: version, streams, storage, clocks, lag, dead letters, configuration
#[derive(Debug, Args)]
#[command(
    after_help = "Each finding has its severity (critical, warning, note) and a fix. Notes are advice: with notes \
    alone the exit code is 0.\n\n\
    Examples:\n  switchyard doctor\n  switchyard doctor -o json | jq '.findings[].fix'\n\n\
    Exit codes: 1 something is critical or needs attention; see `switchyard --help` for the others."
)]
pub struct DoctorArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Has the router examine itself and its broker, and prints what it found.
///
/// # Errors
/// The router does not answer.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let found = block_on(client.send(Method::GET, "/admin/v1/doctor", &[], &Value::Null))?;
    match args.output {
        Output::Text => describe(&found).iter().try_for_each(|line| print_row(line))?,
        Output::Json => print_line(&found.to_string())?,
        Output::Jsonl => findings(&found).try_for_each(|one| print_line(&one.to_string()))?,
    }
    let is_healthy = text(&found, "status") == "ok";
    Ok(if is_healthy { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) })
}

fn findings(found: &Value) -> impl Iterator<Item = &Value> {
    found.get("findings").and_then(Value::as_array).into_iter().flatten()
}

/// Returns the checks with their findings as lines for people.
fn describe(found: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(broker) = found.get("broker") {
        let streams = broker.get("streams").and_then(Value::as_array).map_or(0, Vec::len);
        let (server, version) = (text(broker, "server"), text(broker, "version"));
        lines.push(format!("nats-server {version} ({server}), {streams} streams"));
    }
    for check in found.get("checks").and_then(Value::as_array).into_iter().flatten() {
        let name = text(check, "check");
        lines.push(format!("{name:15}{}", text(check, "status")));
        for one in findings(found).filter(|one| text(one, "check") == name) {
            lines.push(format!("  {}: {}", text(one, "severity"), text(one, "message")));
            lines.push(format!("    fix: {}", text(one, "fix")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_check_is_listed_with_its_findings_and_fixes() {
        let found = json!({
            "status": "warning",
            "broker": {"server": "n1", "version": "2.15.1", "streams": [{}, {}]},
            "checks": [{"check": "clock", "status": "ok"}, {"check": "input", "status": "warning"}],
            "findings": [{"check": "input", "severity": "warning", "message": "late", "fix": "wait"}],
        });
        assert_eq!(
            describe(&found),
            [
                "nats-server 2.15.1 (n1), 2 streams",
                "clock          ok",
                "input          warning",
                "  warning: late",
                "    fix: wait"
            ]
        );
    }
}
