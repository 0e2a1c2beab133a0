//! `switchyard account --check ledger`: events are matched again, and deliveries that the delivery log does
//! not know are listed.

use std::process::ExitCode;

use serde_json::Value;

use super::client::ApiClient;
use super::exit::EXIT_NEGATIVE;
use super::io::{Output, print_line, print_row};
use super::jobs::text;
use super::pages::query;
use super::progress_lines;

/// Which events are matched again.
pub(super) struct LedgerScope {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) site: Option<String>,
    pub(super) installation: Option<String>,
}

/// Has the router check its delivery log, and prints what it found.
///
/// # Errors
/// The router does not answer or rejects the request.
pub(super) async fn check(
    client: &ApiClient,
    scope: LedgerScope,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let parameters = [
        ("from", scope.from),
        ("to", scope.to),
        ("site", scope.site),
        ("installation", scope.installation),
    ];
    let path = format!("/admin/v1/account/ledger{}", query(&parameters));
    let ledger = progress_lines::fetch(client, (&path, None), "ledger", progress_line).await?;
    match output {
        Output::Text => print_ledger(&ledger)?,
        Output::Json | Output::Jsonl => print_line(&ledger.to_string())?,
    }
    let has_gap = number(&ledger, "gap") > 0;
    Ok(if has_gap { ExitCode::from(EXIT_NEGATIVE) } else { ExitCode::SUCCESS })
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn progress_line(progress: &Value) -> String {
    let (events, sites) = (number(progress, "events"), number(progress, "sitesLeft"));
    format!("{events} events matched again, gap {}, {sites} sites left", number(progress, "gap"))
}

fn print_ledger(ledger: &Value) -> anyhow::Result<()> {
    let of = |name: &str| number(ledger, name);
    print_row(&format!("events from {} to {}", text(ledger, "from"), text(ledger, "to")))?;
    if ledger.get("eventsFrom").is_some() {
        print_row(&format!("events before {} are deleted", text(ledger, "eventsFrom")))?;
    }
    print_row(&format!("events matched again: {}, sites: {}", of("events"), of("sites")))?;
    let (matched, recorded) = (of("matched"), of("recorded"));
    print_row(&format!("{matched} deliveries match; the log knows {recorded}"))?;
    for (number, what) in [
        (
            of("notVerifiable"),
            "cannot be checked: their module, installation or app was changed after the event, or the event is older than the log",
        ),
        (of("unreadable"), "events cannot be read"),
        (of("expired"), "sequences of the event stream were deleted before they were checked"),
    ] {
        if number > 0 {
            print_row(&format!("{number} {what}"))?;
        }
    }
    for one in list(ledger, "open") {
        let (site, sequence) = (text(one, "site"), number(one, "sequence"));
        print_row(&format!(
            "site {site}: not checked from event {sequence} on, which is not acknowledged yet"
        ))?;
    }
    let gaps = list(ledger, "gaps");
    for gap in gaps {
        print_row(&gap_line(gap))?;
    }
    let gap = of("gap");
    if gap > gaps.len() as u64 {
        print_row("further ones are not listed: check a shorter time, or one site")?;
    }
    print_row(&last_line(ledger))
}

/// Says what was found. No gap means little where something could not be checked.
fn last_line(ledger: &Value) -> String {
    let left_out = ["notVerifiable", "unreadable", "expired"];
    let is_whole = left_out.iter().all(|name| number(ledger, name) == 0)
        && list(ledger, "open").is_empty()
        && ledger.get("eventsFrom").is_none();
    match number(ledger, "gap") {
        0 if is_whole => "gap 0: the log knows every delivery that matches".to_owned(),
        0 => "gap 0 among what could be checked; the lines above say what could not".to_owned(),
        gap => {
            format!("gap {gap}; `switchyard replay start --mode missing` delivers what is missing")
        }
    }
}

fn gap_line(gap: &Value) -> String {
    let nothing = Value::Null;
    let event = gap.get("event").unwrap_or(&nothing);
    format!(
        "unaccounted: {} of event {}/{}, stored {}, to {}",
        text(gap, "deliveryId"),
        text(event, "site"),
        text(event, "id"),
        text(event, "stored"),
        text(gap, "subscription"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn last_line_says_whether_all_was_checked() {
        let whole = json!({ "gap": 0, "notVerifiable": 0, "unreadable": 0, "expired": 0 });
        assert!(last_line(&whole).contains("every delivery"));
        for (name, value) in [
            ("notVerifiable", json!(1)),
            ("unreadable", json!(1)),
            ("expired", json!(1)),
            ("open", json!([{ "site": "s", "sequence": 7 }])),
            ("eventsFrom", json!("2026-01-01T00:00:00Z")),
        ] {
            let mut part = whole.clone();
            part[name] = value;
            assert!(last_line(&part).contains("could not"), "{name}");
        }
        assert!(last_line(&json!({ "gap": 2, "expired": 1 })).starts_with("gap 2;"));
    }
}
