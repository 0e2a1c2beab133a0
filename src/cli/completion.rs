//! `switchyard completion`: prints a completion script for a shell.

use std::process::ExitCode;

use clap::{Args, CommandFactory};

/// Prints a completion script for your shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  switchyard completion bash > /etc/bash_completion.d/switchyard"
)]
pub(super) struct CompletionArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the script of the commands of `C`.
pub(super) fn run<C: CommandFactory>(args: &CompletionArgs) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    clap_complete::generate(args.shell, &mut C::command(), "switchyard", &mut out);
    Ok(ExitCode::SUCCESS)
}
