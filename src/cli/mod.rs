//! The command line: one file a command group. Works offline or starts the router.

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

/// Exit code: the question was answered "no" (invalid, false, failed).
pub const EXIT_NEGATIVE: u8 = 1;
/// Exit code: flags, files or configuration are wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the router does not answer.
pub const EXIT_UNREACHABLE: u8 = 3;
/// Exit code: the router refused.
pub const EXIT_REFUSED: u8 = 4;
/// Exit code: something inside failed.
pub const EXIT_INTERNAL: u8 = 5;

/// Sends Jira events only to the apps that asked for them.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done or yes, 1 no (invalid, false, failed cases), \
    2 wrong flags, files or configuration, 3 router not reached, 4 refused by it, 5 internal error.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the router against your NATS, or with a NATS server of its own and data that is kept
    #[command(after_help = "Examples:\n  switchyard serve --nats-url nats://nats:4222\n  \
        switchyard serve --data-dir /var/lib/switchyard --config switchyard.toml")]
    Serve(ServeArgs),
    /// Runs the router for trying out: a NATS server of its own, loopback only, a printed token
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
    /// Says what a code such as SY-3103 means, with an example and what to write instead
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
    /// Explains what a filter says about an event, part by part; no server needed
    #[command(
        after_help = "Example:\n  switchyard explain -e \"event.issue.fields.priority.name == 'High'\" --with event.json"
    )]
    Explain(test::ExplainArgs),
    /// Holds the language cases against a real Jira Cloud and reports where the two disagree
    #[command(
        after_help = "Example:\n  switchyard conform --site https://your-site.atlassian.net --email you@example.com \\\n    --token-file token.txt --write jira.json expr/tests/corpus/*.json\n\nExit codes: 3 the site does not answer, 4 it refuses the account."
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
    /// Brings a router to what files declare: apps, installations, modules
    #[command(after_help = "Examples:\n  switchyard apply -f deploy/triggers --dry-run\n  \
        switchyard apply -f deploy/triggers --prune")]
    Apply(apply::ApplyArgs),
    /// Says how a router differs from what files declare; exit code 1 if it does
    #[command(after_help = "Example:\n  switchyard diff -f deploy/triggers")]
    Diff(apply::DiffArgs),
    /// Writes what a router has into files, secrets aside
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
    /// Address and port to listen on; port 0 takes any free one and prints it
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Folder for the data of the managed NATS server
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// NATS servers to use instead of a managed one
    #[arg(long, value_name = "URL[,URL]", value_delimiter = ',')]
    pub nats_url: Vec<String>,
    /// Configuration file [default: ./switchyard.toml if it exists]
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Flags of `dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Flags it shares with `serve`
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Sets up a demo app with triggers and sends it a slow stream of synthetic events
    #[arg(long)]
    pub demo: bool,
}

/// How a command prints its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
}

/// What the caller asked for cannot be: flags, files or settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The exit code of a failed command.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match () {
        () if error.is::<UsageError>() => EXIT_USAGE,
        () if error.is::<client::Unreachable>() => EXIT_UNREACHABLE,
        () if error.is::<client::ErrorStatus>() => EXIT_REFUSED,
        () => EXIT_INTERNAL,
    }
}

/// Runs a command to its end.
///
/// # Errors
/// Usage, input or internal errors; the caller prints them and picks the exit code.
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

/// Writes a line to stdout; a closed pipe ends the program quietly.
pub(crate) fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(())
}

/// Carries out what talks to a router.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use anyhow::Context;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}

/// Reads an event, or an envelope around one, from a file or standard input.
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
