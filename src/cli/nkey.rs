//! `switchyard nkey`: generates a key pair for a client of a NATS server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::exit::UsageError;
use super::io::print_line;
use crate::bus::new_client_key;

/// Generates a key pair for a NATS client: writes the seed to a file, prints the public key
#[derive(Debug, Args)]
#[command(
    after_help = "The server gets the public key (`nkey: U...`), the client the file, such as \
    nats.credentials_file of a router.\n\nExample:\n  switchyard nkey router.nk"
)]
pub struct NkeyArgs {
    /// File for the seed, mode 0600; it must not exist
    pub file: PathBuf,
}

/// Writes the seed and prints the public key.
///
/// # Errors
/// The file exists or cannot be written.
pub fn run(args: &NkeyArgs) -> anyhow::Result<ExitCode> {
    let file = args.file.display();
    let public =
        new_client_key(&args.file).with_context(|| UsageError(format!("cannot write {file}")))?;
    print_line(&public)?;
    Ok(ExitCode::SUCCESS)
}
