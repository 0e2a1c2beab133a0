//! Why a managed server cannot be started.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the server cannot be started.
#[derive(Debug, Error)]
pub enum ManagedError {
    /// No `nats-server` executable was found.
    #[error(
        "no nats-server found. Either start one with JetStream and pass --nats-url, or install it on PATH or name it in NATS_SERVER, or run `make tools`, which puts one into .tools/nats"
    )]
    NotFound,
    /// The data folder cannot be used.
    #[error(
        "data folder {path}: {cause}; --data-dir or nats.data_dir names a folder that this user may write"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// Another router uses the folder.
    #[error(
        "data folder {0} is in use by another switchyard; stop it, or name another folder with --data-dir"
    )]
    InUse(PathBuf),
    /// The server did not start.
    #[error("{binary} does not start: {reason}; see {log}")]
    NotStarted {
        /// The executable.
        binary: PathBuf,
        /// The cause.
        reason: String,
        /// Its log file.
        log: PathBuf,
    },
}
