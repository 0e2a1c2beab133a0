//! The command line: one file for each command. Commands work offline, call a router, or run one.

pub mod apply;
pub mod check;
pub mod client;
pub mod conform;
pub mod demo;
mod manifest;
pub mod match_events;
pub mod modules;
pub mod serve;
pub mod server_args;
pub mod test;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::event::Sample;

/// Exit code: a negative result (invalid, false, failed cases).
pub const EXIT_NEGATIVE: u8 = 1;
/// Exit code: flags, files or configuration are wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the router cannot be reached.
pub const EXIT_UNREACHABLE: u8 = 3;
/// Exit code: the router rejected the request.
pub const EXIT_REFUSED: u8 = 4;
/// Exit code: internal error.
pub const EXIT_INTERNAL: u8 = 5;

/// Routes Jira events to the apps that registered triggers for them.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success, 1 negative result (invalid, false, failed cases), \
    2 wrong flags, files or configuration, 3 router unreachable, 4 rejected by the router, \
    5 internal error.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the router with your NATS servers, or with a managed NATS server and persistent data
    #[command(after_help = "Examples:\n  switchyard serve --nats-url nats://nats:4222\n  \
        switchyard serve --data-dir /var/lib/switchyard --config switchyard.toml")]
    Serve(ServeArgs),
    /// Runs a router for development: managed NATS server, loopback only, generated token
    #[command(
        after_help = "Examples:\n  switchyard dev --demo\n  switchyard dev --listen 127.0.0.1:0"
    )]
    Dev(DevArgs),
    /// Checks filters: syntax, names, types, limits; no server needed
    #[command(
        after_help = "Examples:\n  switchyard check -e \"event.issue.fields.project.key == 'OPS'\"\n  \
        switchyard check -e \"event.issue.key\" --event avi:jira:created:issue -o json\n  \
        switchyard check manifest.yml --format github\n  switchyard check module.json --format sarif"
    )]
    Check(check::CheckArgs),
    /// Explains a code such as SY-3103, with an example and a fix
    #[command(
        after_help = "Examples:\n  switchyard explain-code SY-3103\n  switchyard explain-code"
    )]
    ExplainCode(check::ExplainCodeArgs),
    /// Evaluates a filter on an event, or runs a file of language cases; no server needed
    #[command(
        after_help = "Examples:\n  switchyard test -e \"event.issue.fields.priority.name == 'High'\" --with event.json\n  \
        switchyard test --cases expr/tests/corpus/documented.json"
    )]
    Test(test::TestArgs),
    /// Explains the verdict of a filter on an event, part by part; no server needed
    #[command(
        after_help = "Example:\n  switchyard explain -e \"event.issue.fields.priority.name == 'High'\" --with event.json"
    )]
    Explain(test::ExplainArgs),
    /// Runs the language cases against a real Jira Cloud and reports the differences
    #[command(
        after_help = "Example:\n  switchyard conform --site https://your-site.atlassian.net --email you@example.com \\\n    --token-file token.txt --write jira.json expr/tests/corpus/*.json\n\nExit codes: 3 the site does not answer, 4 the site rejects the account."
    )]
    Conform(conform::ConformArgs),
    /// Matches a file of events against a file of triggers; no server needed
    #[command(
        after_help = "Example:\n  switchyard match --triggers triggers.ndjson --events events.ndjson --threads 2"
    )]
    Match(match_events::MatchArgs),
    /// Lists, shows, registers and removes the modules of an installation
    #[command(after_help = "Examples:\n  switchyard modules -i first ls\n  \
        switchyard modules -i first add assign -f module.json --dry-run")]
    Modules(modules::ModulesArgs),
    /// Applies manifests to a router: apps, installations, modules
    #[command(after_help = "Examples:\n  switchyard apply -f deploy/triggers --dry-run\n  \
        switchyard apply -f deploy/triggers --prune")]
    Apply(apply::ApplyArgs),
    /// Shows the differences between a router and manifests; exit code 1 if there are any
    #[command(after_help = "Example:\n  switchyard diff -f deploy/triggers")]
    Diff(apply::DiffArgs),
    /// Exports the records of a router as manifests, without secrets
    #[command(after_help = "Example:\n  switchyard export -d deploy/triggers")]
    Export(apply::ExportArgs),
    /// Prints a completion script for your shell
    #[command(
        after_help = "Example:\n  switchyard completion bash > /etc/bash_completion.d/switchyard"
    )]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Flags of both run modes.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 selects a free port and prints it
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Folder for the data of the managed NATS server
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// NATS servers to use instead of a managed server
    #[arg(long, value_name = "URL[,URL]", value_delimiter = ',')]
    pub nats_url: Vec<String>,
    /// Configuration file [default: ./switchyard.toml if it exists]
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Flags of `dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Flags shared with `serve`
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Registers a demo app with triggers and publishes a slow stream of synthetic events
    #[arg(long)]
    pub demo: bool,
}

/// Output format of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Output {
    /// Human-readable
    #[default]
    Text,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
}

/// An error in flags, files or settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Returns the exit code of a failed command.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match () {
        () if error.is::<UsageError>() => EXIT_USAGE,
        () if error.is::<client::Unreachable>() => EXIT_UNREACHABLE,
        () if error.is::<client::ErrorStatus>() => EXIT_REFUSED,
        () => EXIT_INTERNAL,
    }
}

/// Runs a command.
///
/// # Errors
/// Usage, input or internal errors; the caller prints them and maps them to the exit code.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve::serve(args),
        Command::Dev(args) => serve::dev(args),
        Command::Check(args) => check::run(&args),
        Command::ExplainCode(args) => check::explain_code(&args),
        Command::Test(args) => test::run(&args),
        Command::Explain(args) => test::explain(&args),
        Command::Conform(args) => conform::run(&args),
        Command::Match(args) => match_events::run(&args),
        Command::Modules(args) => modules::run(&args),
        Command::Apply(args) => apply::apply(&args),
        Command::Diff(args) => apply::diff(&args),
        Command::Export(args) => apply::export(&args),
        Command::Completion { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "switchyard",
                &mut std::io::stdout().lock(),
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes a line to stdout. On a closed pipe `main` exits successfully.
pub(crate) fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(())
}

/// Runs a future on a current-thread runtime.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use anyhow::Context;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}

/// Reads an event, with or without an envelope, from a file or standard input.
pub(crate) fn read_sample(path: &std::path::Path) -> anyhow::Result<Sample> {
    use anyhow::Context;
    let value = serde_json::from_str(&read_input(path)?)
        .context(UsageError("the event is not JSON".into()))?;
    Sample::read(value).map_err(|error| UsageError(format!("{}: {error}", path.display())).into())
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read_input(path: &std::path::Path) -> anyhow::Result<String> {
    use anyhow::Context;
    if path.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin())
            .context(UsageError("cannot read standard input".into()));
    }
    std::fs::read_to_string(path)
        .with_context(|| UsageError(format!("cannot read {}", path.display())))
}
