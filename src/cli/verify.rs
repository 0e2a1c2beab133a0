//! `switchyard verify`: checks the signature of a delivery offline, and says which part is wrong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgGroup, Args};
use serde_json::json;

use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{Output, print_line, print_row, read_file};
use crate::clock;
use crate::delivery::sign;
use crate::domain::Secret;

/// The headers of a signature, by Standard Webhooks.
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";
/// Version of symmetric signatures.
const VERSION: &str = "v1,";
/// Longest age of a signature that receivers accept by default, in seconds.
const TOLERANCE_S: u64 = 300;
/// Most signatures of a header that are compared.
const SIGNATURES_MAX: usize = 20;

/// Checks the signature of a received delivery (Standard Webhooks), and says which part is wrong; offline
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("key").required(true).args(["secret_file", "secret"])),
    after_help = "The file of headers has one `name: value` a line, as `curl -i` or a log prints them; others are ignored. \
    The body is compared byte for byte: a body that was parsed and written again has another signature.\n\n\
    Examples:\n  \
    switchyard verify --secret-file secret.txt --header-file headers.txt --body-file body.json\n  \
    switchyard verify --secret-file secret.txt --header-file headers.txt --body-file body.json --any-age\n\n\
    Exit codes: 0 the signature is valid, 1 it is not; see `switchyard --help` for the others."
)]
pub struct VerifyArgs {
    /// File with the secret, `whsec_...`; `-` for standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The secret; other users of this machine see it in the list of processes, so prefer --secret-file
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// File with the headers of the request
    #[arg(long, value_name = "FILE")]
    header_file: PathBuf,
    /// File with the body of the request, as it was received
    #[arg(long, value_name = "FILE")]
    body_file: PathBuf,
    /// Longest age of the signature, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = TOLERANCE_S, conflicts_with = "any_age")]
    tolerance: u64,
    /// Accepts signatures of any age
    #[arg(long)]
    any_age: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Checks a signature.
///
/// # Errors
/// A file cannot be read, or the secret is none.
pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let secret = match (&args.secret_file, &args.secret) {
        (Some(file), _) => super::io::read_input(file)?,
        (None, Some(secret)) => secret.clone(),
        (None, None) => anyhow::bail!(UsageError("name the secret with --secret-file".into())),
    };
    let headers = read_file(&args.header_file)?;
    let body = read_body(&args.body_file)?;
    let tolerance_s = (!args.any_age).then_some(args.tolerance);
    let now_s = clock::now().as_second();
    let secret = Secret::new(secret.trim());
    let found = check(&secret, &headers, &body, (now_s, tolerance_s))?;
    match args.output {
        Output::Text => match &found {
            Ok(()) => print_row("the signature is valid")?,
            Err(wrong) => {
                print_row(&format!("{}: {}", wrong.part, wrong.message))?;
                print_row(&format!("help: {}", wrong.help))?;
            }
        },
        Output::Json | Output::Jsonl => {
            let view = match &found {
                Ok(()) => json!({ "valid": true }),
                Err(wrong) => json!({ "valid": false, "part": wrong.part, "message": wrong.message,
                    "help": wrong.help }),
            };
            print_line(&view.to_string())?;
        }
    }
    Ok(if found.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) })
}

fn read_body(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| UsageError(format!("cannot read {}", file.display())))
}

/// Why a signature is not valid.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wrong {
    /// The part of the request: a header, `body` or `secret`.
    part: &'static str,
    message: String,
    help: String,
}

fn wrong(part: &'static str, message: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { part, message: message.into(), help: help.into() }
}

/// Checks the signature of a request at `now_s`, not older than the tolerance.
fn check(
    secret: &Secret,
    headers: &str,
    body: &[u8],
    (now_s, tolerance_s): (i64, Option<u64>),
) -> anyhow::Result<Result<(), Wrong>> {
    let (id, timestamp, signature) = match signed_parts(headers) {
        Ok(parts) => parts,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let Ok(time_s) = timestamp.parse::<i64>() else {
        let help = "it is the number of seconds since 1970, not milliseconds and no date";
        return Ok(Err(wrong(TIMESTAMP, format!("`{timestamp}` is no number"), help)));
    };
    let given: Vec<&str> = signature.split_whitespace().take(SIGNATURES_MAX).collect();
    let given: Vec<&str> = given.into_iter().filter(|one| one.starts_with(VERSION)).collect();
    if given.is_empty() {
        let help = "it is `v1,` and the base64 of the signature; several are separated by spaces";
        return Ok(Err(wrong(SIGNATURE, "it has no signature of version 1", help)));
    }
    let signed = |secret: &Secret, id: &str, time_s: i64, body: &[u8]| {
        sign(secret, id, time_s, body).map_err(|error| UsageError(error.to_string()))
    };
    let is_given = |signature: String| given.contains(&signature.as_str());
    if !is_given(signed(secret, &id, time_s, body)?) {
        return Ok(Err(mismatch(secret, (&id, time_s), body, &is_given)));
    }
    let age_s = now_s.abs_diff(time_s);
    if tolerance_s.is_some_and(|tolerance_s| age_s > tolerance_s) {
        let side = if time_s > now_s { "in the future" } else { "old" };
        let message = format!("the signature fits, and is {age_s} s {side}");
        let help = "receivers refuse it: check the clock of this machine, or give --any-age for a recorded request";
        return Ok(Err(wrong(TIMESTAMP, message, help)));
    }
    Ok(Ok(()))
}

/// Returns id, timestamp and signature of the headers.
fn signed_parts(headers: &str) -> Result<(String, String, String), Wrong> {
    let find = |name: &'static str| {
        let lines = headers.lines().filter_map(|line| line.split_once(':'));
        let mut named = lines.filter(|(known, _)| known.trim().eq_ignore_ascii_case(name));
        let value = named.next().map(|(_, value)| value.trim().to_owned());
        value.filter(|value| !value.is_empty()).ok_or_else(|| {
            let help = "the file has one `name: value` a line; a proxy may have removed the header";
            wrong(name, "the header is missing", help)
        })
    };
    Ok((find(ID)?, find(TIMESTAMP)?, find(SIGNATURE)?))
}

/// Finds out why no signature fits, by what receivers often do with a body.
fn mismatch(
    secret: &Secret,
    (id, time_s): (&str, i64),
    body: &[u8],
    is_given: &dyn Fn(String) -> bool,
) -> Wrong {
    let fits = |body: &[u8]| sign(secret, id, time_s, body).is_ok_and(is_given);
    let without_end = body.trim_ascii_end();
    if without_end.len() < body.len() && fits(without_end) {
        let help =
            "the file ends with a line break that the request did not have: write it without one";
        return wrong("body", "it has an additional line break at its end", help);
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body)
        && fits(value.to_string().as_bytes())
    {
        let help =
            "check the bytes as they were received, before they are parsed and written again";
        return wrong("body", "it was formatted again after it was received", help);
    }
    let help = "the secret is of another endpoint or was rotated, or the body is not the one that was received: \
        `GET /admin/v1/apps/{id}` shows the endpoints, and a rotated secret is valid for a day";
    wrong(SIGNATURE, "it does not fit this secret, id, timestamp and body", help)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const TIME_S: i64 = 1_614_265_330;
    const HEADERS: &str = "HTTP/1.1 200 OK\nWebhook-Id: msg_p5jXN8AQM9LWM0D4loKWxJek\n\
        webhook-timestamp: 1614265330\n\
        Webhook-Signature: v1,other v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\n";
    const BODY: &str = r#"{"test": 2432232314}"#;

    fn part(secret: &str, headers: &str, body: &str, now_s: i64) -> Option<&'static str> {
        let found = check(&Secret::new(secret), headers, body.as_bytes(), (now_s, Some(300)));
        found.unwrap().err().map(|wrong| {
            assert!(!wrong.help.is_empty());
            wrong.part
        })
    }

    #[test]
    fn valid_signature_is_accepted_among_several() {
        assert_eq!(part(SECRET, HEADERS, BODY, TIME_S + 10), None);
        let recorded = check(&Secret::new(SECRET), HEADERS, BODY.as_bytes(), (0, None));
        assert_eq!(recorded.unwrap(), Ok(()));
    }

    #[test]
    fn the_wrong_part_is_named() {
        let now_s = TIME_S + 10;
        assert_eq!(part(OTHER, HEADERS, BODY, now_s), Some(SIGNATURE));
        assert_eq!(part(SECRET, HEADERS, "{}", now_s), Some(SIGNATURE));
        assert_eq!(part(SECRET, HEADERS, BODY, now_s + 1_000), Some(TIMESTAMP));
        assert_eq!(part(SECRET, HEADERS, &format!("{BODY}\n"), now_s), Some("body"));
        for (name, missing) in
            [("Webhook-Id", ID), ("webhook-timestamp", TIMESTAMP), ("Webhook-Signature", SIGNATURE)]
        {
            let without = HEADERS.replace(name, "x");
            assert_eq!(part(SECRET, &without, BODY, now_s), Some(missing));
        }
        let not_a_time = HEADERS.replace("1614265330", "2021-02-25");
        assert_eq!(part(SECRET, &not_a_time, BODY, now_s), Some(TIMESTAMP));
        let asymmetric = HEADERS.replace("v1,", "v1a,");
        assert_eq!(part(SECRET, &asymmetric, BODY, now_s), Some(SIGNATURE));
    }

    #[test]
    fn body_that_was_written_again_is_recognised() {
        let compact = r#"{"a":1,"b":[2]}"#;
        let signature = sign(&Secret::new(SECRET), "i", TIME_S, compact.as_bytes()).unwrap();
        let headers = format!("{ID}: i\n{TIMESTAMP}: {TIME_S}\n{SIGNATURE}: {signature}\n");
        let formatted = "{\n  \"a\": 1,\n  \"b\": [2]\n}";
        let found = check(&Secret::new(SECRET), &headers, formatted.as_bytes(), (TIME_S, None));
        let wrong = found.unwrap().unwrap_err();
        assert!(wrong.message.contains("formatted again"), "{wrong:?}");
    }

    #[test]
    fn text_that_is_no_secret_is_a_usage_error() {
        let found = check(&Secret::new("whsec_!"), HEADERS, b"", (TIME_S, None));
        assert!(found.unwrap_err().is::<UsageError>());
    }
}
