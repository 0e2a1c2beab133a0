//! Flags of commands that call a running router.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::client::ApiClient;
use super::exit::UsageError;

/// The router to call, and the token.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Address of the router
    #[arg(
        long,
        short,
        value_name = "URL",
        env = "SWITCHYARD_SERVER",
        default_value = "http://127.0.0.1:8089"
    )]
    pub server: String,
    /// File with the admin token; without it SWITCHYARD_TOKEN or SWITCHYARD_ADMIN_TOKEN is used
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// Returns a client with the admin token.
    ///
    /// # Errors
    /// The address is invalid, or there is no token.
    pub fn client(&self) -> anyhow::Result<ApiClient> {
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| UsageError(format!("cannot read {}", file.display())))?,
            None => crate::config::client_token().ok_or_else(|| {
                UsageError("no operator token: set SWITCHYARD_TOKEN, or give --token-file".into())
            })?,
        };
        ApiClient::at(&self.server, token.trim())
    }
}
