//! `switchyard man`: writes the manual pages.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::exit::UsageError;
use super::io::print_row;

/// Writes a manual page for each command into a folder
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard man ~/.local/share/man/man1\n  \
    switchyard man man1 && man -l man1/switchyard-listen.1")]
pub(super) struct ManArgs {
    /// The folder; created if needed
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the pages of the commands of `C`.
pub(super) fn run<C: CommandFactory>(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let folder = &args.folder;
    let failed = || UsageError(format!("cannot write into {}", folder.display()));
    std::fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(C::command(), folder).with_context(failed)?;
    print_row(&format!(
        "manual pages are in {}; read one: man -l {}",
        folder.display(),
        folder.join("switchyard.1").display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
