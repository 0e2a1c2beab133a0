//! The `switchyard` command: flags, signals and exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use switchyard::cli::{self, Cli};

fn main() -> ExitCode {
    if cli::complete() {
        return ExitCode::SUCCESS;
    }
    match cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::print_error(&format!("error: {error:#}"));
            ExitCode::from(cli::exit_code(&error))
        }
    }
}

/// Whether an error is a closed output pipe, as in `switchyard ... | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
