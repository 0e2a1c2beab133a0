//! `switchyard serve`: runs the router.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::exit::UsageError;
use super::io::print_line;
use crate::api::AdminTokens;
use crate::config::{Config, ServerConfig};
use crate::lifecycle::{self, Mode, Running};
use crate::telemetry::logs;

/// Default configuration file, read if it exists.
const CONFIG_FILE: &str = "switchyard.toml";

/// Runs the router with your NATS servers, or with a managed NATS server and persistent data
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard serve --nats-url nats://nats:4222\n  \
    switchyard serve --data-dir /var/lib/switchyard --config switchyard.toml")]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 selects a free port and prints it
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Folder for the data of the managed NATS server
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// NATS servers to use instead of a managed server
    #[arg(long, value_name = "URL[,URL]", value_delimiter = ',')]
    pub nats_url: Vec<String>,
    /// Configuration file [default: ./switchyard.toml if it exists]
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Accepts connections of other machines without TLS, behind a proxy that has it
    #[arg(long)]
    pub plaintext: bool,
}

/// Runs the router until a signal stops it.
///
/// # Errors
/// Invalid settings, a port in use, an unusable broker.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = configuration(args)?;
    let tokens = admin_tokens(&config)?;
    refuse_open_plaintext(&config.server)?;
    run_router(async move {
        let running = lifecycle::start(&config, tokens, Mode::Serve).await?;
        print_addresses(&running);
        running.until_stopped().await
    })
}

/// Refuses to send tokens and events over a network in plain text, unless the configuration says so.
fn refuse_open_plaintext(server: &ServerConfig) -> anyhow::Result<()> {
    if server.plaintext || !server.tls_cert_file.is_empty() {
        return Ok(());
    }
    let addresses = server.listen.to_socket_addrs();
    let mut addresses = addresses.map_err(|error| {
        let listen = &server.listen;
        UsageError(format!(
            "cannot listen on {listen}: {error}; --listen or server.listen is ADDR:PORT"
        ))
    })?;
    if addresses.all(|address| address.ip().to_canonical().is_loopback()) {
        return Ok(());
    }
    bail!(UsageError(format!(
        "{} is open to other machines without TLS: set server.tls_cert_file and server.tls_key_file, \
         listen on 127.0.0.1 behind a proxy with TLS on this machine, or set server.plaintext = true \
         (SWITCHYARD_SERVER__PLAINTEXT, --plaintext) if only a proxy with TLS reaches it",
        server.listen
    )))
}

/// Runs a router on a multi-thread runtime.
pub(super) fn run_router(
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the tokens of operators.
pub(super) fn admin_tokens(config: &Config) -> anyhow::Result<AdminTokens> {
    lifecycle::admin_tokens(config).map_err(|error| UsageError(format!("{error:#}")).into())
}

/// Returns the configuration file to read: the given one, or the local one if it exists.
pub(super) fn config_file(given: Option<&Path>) -> Option<&Path> {
    let local = Path::new(CONFIG_FILE);
    given.or(local.exists().then_some(local))
}

/// Loads the configuration, overridden by flags, and installs the logs.
pub(super) fn configuration(args: &ServeArgs) -> anyhow::Result<Config> {
    let mut config = Config::load(config_file(args.config.as_deref()))
        .map_err(|error| UsageError(error.to_string()))?;
    if let Some(listen) = &args.listen {
        config.server.listen.clone_from(listen);
    }
    config.server.plaintext |= args.plaintext;
    if let Some(folder) = &args.data_dir {
        config.nats.data_dir.clone_from(folder);
    }
    if !args.nats_url.is_empty() {
        config.nats.url.clone_from(&args.nats_url);
    }
    logs::install_logs(&config.log.format, &config.log.filter)
        .map_err(|error| UsageError(error.to_string()))?;
    Ok(config)
}

/// Prints the addresses, one a line, and the file with the credentials of a managed broker; other
/// programs parse them.
pub(super) fn print_addresses(running: &Running) {
    tracing::info!(address = %running.address, "listening");
    announce(&format!("listening on {}", running.url));
    if let Some(broker) = &running.managed_broker {
        announce(&format!("nats {}", broker.url));
        announce(&format!("nats-credentials {}", broker.credentials_file.display()));
    }
}

/// Prints a line of a router, which runs on when standard output is closed.
pub(super) fn announce(line: &str) {
    if let Err(error) = print_line(line) {
        // Without the line: it may have a token.
        tracing::warn!(%error, "a line cannot be written to standard output");
    }
}
