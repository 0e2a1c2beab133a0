//! Flags of commands that talk to a running router.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::UsageError;
use super::client::ApiClient;

/// Which router, and by what right.
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
    /// File that holds the operator's token; without it SWITCHYARD_TOKEN or SWITCHYARD_ADMIN_TOKEN
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// A client with the operator's token.
    ///
    /// # Errors
    /// The address or the token is missing or makes no sense.
    pub fn client(&self) -> anyhow::Result<ApiClient> {
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?,
            None => crate::config::client_token().ok_or_else(|| {
                UsageError("no operator token: set SWITCHYARD_TOKEN, or give --token-file".into())
            })?,
        };
        ApiClient::at(&self.server, token.trim())
    }
}
