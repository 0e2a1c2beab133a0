//! `switchyard verify`: checks the signature of a delivery offline, and says which part is wrong.

mod connect;
mod request;
mod standard_webhooks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use url::Url;

use self::connect::Request;
use self::request::{Headers, Wrong};
use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{Output, print_line, print_row, read_file, read_input};
use crate::clock;
use crate::config::verify_secret;
use crate::domain::Secret;

/// Longest age of a signature that receivers accept by default, in seconds.
const TOLERANCE_S: u64 = 300;

/// Checks the signature of a received delivery, and says which part is wrong; offline
#[derive(Debug, Args)]
#[command(
    after_help = "The headers say which kind it is: `webhook-signature` is that of Standard Webhooks, `Authorization: JWT` \
    that of a Connect webhook, whose token covers the address (--url), and the body by `x-hub-signature`. The secret is \
    that of --secret-file, or of the variable SWITCHYARD_VERIFY_SECRET; other users of this machine would see it among the \
    arguments.\n\n\
    The file of headers has one `name: value` a line, as `curl -i` or a log prints them; others are ignored. \
    The body is compared byte for byte: a body that was parsed and written again has another signature.\n\n\
    Examples:\n  \
    switchyard verify --secret-file secret.txt --header-file headers.txt --body-file body.json\n  \
    switchyard verify --secret-file secret.txt --header-file headers.txt --body-file body.json --any-age\n  \
    switchyard verify --secret-file shared-secret.txt --header-file headers.txt --body-file body.json \\\n    \
    --url 'https://app.example.com/base/hook?issue=ABC-1' --base-url https://app.example.com/base\n\n\
    Exit codes: 0 the signature is valid, 1 it is not; see `switchyard --help` for the others."
)]
pub struct VerifyArgs {
    /// File with the secret: `whsec_...`, or the shared secret of a Connect app; `-` for standard input [default: the
    /// value of SWITCHYARD_VERIFY_SECRET]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// File with the headers of the request
    #[arg(long, value_name = "FILE")]
    header_file: PathBuf,
    /// File with the body of the request, as it was received; a Connect token can be checked without
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// Address that was called, for a Connect token
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// Base address of the app, whose path a Connect token does not cover
    #[arg(long, value_name = "URL", requires = "url")]
    base_url: Option<Url>,
    /// Method of the request, for a Connect token
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// Longest age of the signature, in seconds; a Connect token says itself how long it is valid
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
    let secret = secret(args)?;
    let headers = read_file(&args.header_file)?;
    let found = check(args, &secret, &Headers(&headers))?;
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

fn secret(args: &VerifyArgs) -> anyhow::Result<Secret> {
    if let Some(file) = &args.secret_file {
        let secret = read_input(file)?.trim().to_owned();
        // Anybody can sign with an empty secret.
        ensure!(!secret.is_empty(), UsageError(format!("{} is empty", file.display())));
        return Ok(Secret::new(secret));
    }
    verify_secret().context(UsageError(
        "name the file of the secret with --secret-file, or set SWITCHYARD_VERIFY_SECRET".into(),
    ))
}

fn check(
    args: &VerifyArgs,
    secret: &Secret,
    headers: &Headers<'_>,
) -> anyhow::Result<Result<(), Wrong>> {
    let now_s = clock::now().as_second();
    let body = args.body_file.as_deref().map(read_body).transpose()?;
    let Some(token) = connect::token(headers) else {
        let body = body.context(UsageError("name the file of the body with --body-file".into()))?;
        let tolerance_s = (!args.any_age).then_some(args.tolerance);
        return standard_webhooks::check(secret, headers, &body, (now_s, tolerance_s));
    };
    let url = args.url.as_ref().context(UsageError(
        "a Connect token covers the address: give the one that was called with --url".into(),
    ))?;
    let base = args.base_url.as_ref().map_or("", |base| base.path().trim_end_matches('/'));
    let below = |path: &&str| path.is_empty() || path.starts_with('/');
    let request = Request {
        method: &args.method,
        path: url.path().strip_prefix(base).filter(below).unwrap_or(url.path()),
        whole_path: url.path(),
        query: url.query().unwrap_or_default(),
    };
    let now_s = (!args.any_age).then_some(now_s);
    Ok(connect::check(secret, headers, (token, &request), body.as_deref(), now_s))
}

fn read_body(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| UsageError(format!("cannot read {}", file.display())))
}
