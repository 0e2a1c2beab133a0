//! `switchyard diff`: shows the differences between a router and manifests.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::client::block_on;
use super::exit::EXIT_NEGATIVE;
use super::io::print_row;
use super::manifest;
use super::plan::plan;
use super::server_args::ServerArgs;

/// Shows the differences between a router and manifests; exit code 1 if there are any
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  switchyard diff -f deploy/triggers")]
pub struct DiffArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Folder or file with the manifests
    #[arg(long, short, value_name = "DIR")]
    file: PathBuf,
}

/// Prints what `apply --prune` would do. Exit code 1 if there are changes.
///
/// # Errors
/// A file is invalid, or the router does not answer or rejects a request.
pub fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let wanted = manifest::read_files(&args.file)?;
    let client = args.server.client()?;
    block_on(async {
        let mut is_equal = true;
        for resource in &wanted {
            let current = manifest::current(&client, resource).await?;
            for step in plan(resource, current.as_ref(), true) {
                is_equal = false;
                print_row(&step.describe(resource))?;
            }
        }
        Ok(if is_equal { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) })
    })
}
