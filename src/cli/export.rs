//! `switchyard export`: writes the records of a router as manifests.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::client::block_on;
use super::io::print_line;
use super::manifest;
use super::server_args::ServerArgs;

/// Exports the records of a router as manifests, without secrets
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  switchyard export -d deploy/triggers")]
pub struct ExportArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Folder to write to; created if missing
    #[arg(long, short, value_name = "DIR")]
    dir: PathBuf,
}

/// Writes the records of the router without secrets, one file a resource.
///
/// # Errors
/// The router does not answer, or the folder cannot be written.
pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let found = block_on(manifest::read_router(&client))?;
    for resource in &found {
        let file = args.dir.join(resource.file());
        let folder = file.parent().unwrap_or(&args.dir);
        let text = serde_json::to_string_pretty(resource)? + "\n";
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&file, text))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    print_line(&format!("{} resources in {}", found.len(), args.dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
