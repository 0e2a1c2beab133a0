//! `switchyard serve` and `switchyard dev`: run the router.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use data_encoding::BASE64URL_NOPAD;
use tokio_util::sync::CancellationToken;

use super::client::ApiClient;
use super::{DevArgs, ServeArgs, UsageError, demo, print_line};
use crate::config::Config;
use crate::lifecycle::{self, Mode, Running};
use crate::telemetry::exporter;

/// Default configuration file, read if it exists.
const CONFIG_FILE: &str = "switchyard.toml";

/// Runs the router until a signal stops it.
///
/// # Errors
/// Invalid settings, a port in use, an unusable broker.
pub fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let mut config = configuration(&args)?;
    if !config.admin.token_file.is_empty() && config.admin.token.is_empty() {
        let file = &config.admin.token_file;
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        config.admin.token = text.trim().to_owned();
    }
    if config.admin.token.is_empty() {
        bail!(UsageError(
            "no operator token: set SWITCHYARD_ADMIN_TOKEN, or admin.token_file in the \
             configuration; `switchyard dev` generates one"
                .into()
        ));
    }
    run(async move {
        let running = lifecycle::start(&config, Mode::Serve).await?;
        print_addresses(&running)?;
        running.until_stopped().await
    })
}

/// Runs a router for development.
///
/// # Errors
/// As [`serve`], and an address that is not on loopback.
pub fn dev(args: DevArgs) -> anyhow::Result<ExitCode> {
    let mut config = configuration(&args.serve)?;
    let address: Option<SocketAddr> = config.server.listen.parse().ok();
    if !address.is_some_and(|address| address.ip().is_loopback()) {
        bail!(UsageError(format!(
            "`dev` is not for production and listens on loopback only, not on {}; use `serve`",
            config.server.listen
        )));
    }
    open_to_loopback(&mut config)?;
    if config.admin.token.is_empty() {
        config.admin.token = random_token();
    }
    run(async move {
        let running = lifecycle::start(&config, Mode::Dev).await?;
        print_addresses(&running)?;
        let base = format!("http://{}", running.address);
        let client = ApiClient::at(&base, &config.admin.token)?;
        let installation = if args.demo {
            let stop = CancellationToken::clone(&running.stop);
            Some(demo::start(&client, &running.live, &running.tasks, &stop).await?)
        } else {
            None
        };
        print_getting_started(&running, &config.admin.token, installation.as_deref())?;
        running.until_stopped().await
    })
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)?;
    Ok(ExitCode::SUCCESS)
}

fn configuration(args: &ServeArgs) -> anyhow::Result<Config> {
    let local = Path::new(CONFIG_FILE);
    let file = args.config.as_deref().or(local.exists().then_some(local));
    let mut config = Config::load(file).map_err(|error| UsageError(error.to_string()))?;
    if let Some(listen) = &args.listen {
        config.server.listen.clone_from(listen);
    }
    if let Some(folder) = &args.data_dir {
        config.nats.data_dir.clone_from(folder);
    }
    if !args.nats_url.is_empty() {
        config.nats.url.clone_from(&args.nats_url);
    }
    exporter::install_logs(&config.log.format, &config.log.filter)
        .map_err(|error| UsageError(error.to_string()))?;
    Ok(config)
}

/// Allows handlers on this machine: plain http, loopback, any port.
fn open_to_loopback(config: &mut Config) -> anyhow::Result<()> {
    config.delivery.allow_http = true;
    config.delivery.allow_ports = vec!["any".into()];
    for range in ["127.0.0.0/8", "::1/128"] {
        config.delivery.allow_cidrs.push(range.parse().context("a range of loopback addresses")?);
    }
    Ok(())
}

fn random_token() -> String {
    let bytes: Vec<u8> = (0..2).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect();
    format!("sw_admin_{}", BASE64URL_NOPAD.encode(&bytes))
}

/// Prints the addresses, one a line; other programs parse them.
fn print_addresses(running: &Running) -> anyhow::Result<()> {
    print_line(&format!("listening on http://{}", running.address))?;
    if let Some(url) = &running.managed_url {
        print_line(&format!("nats {url}"))?;
    }
    Ok(())
}

/// Prints the first steps with a development router.
fn print_getting_started(
    running: &Running,
    token: &str,
    installation: Option<&str>,
) -> anyhow::Result<()> {
    let base = match running.address.ip() {
        IpAddr::V4(_) | IpAddr::V6(_) => format!("http://{}", running.address),
    };
    print_line(&format!("console   {base}/"))?;
    print_line(&format!("admin token  {token}"))?;
    print_line("for development only, not for production; ctrl-c stops it")?;
    let Some(installation) = installation else { return Ok(()) };
    print_line("\nthe demo app is registered; try, in another terminal:\n")?;
    print_line(&format!(
        "  curl -s {base}/forge/installation/v2/dynamic/module \\\n    -H 'authorization: Bearer {installation}' -H 'content-type: application/json' \\\n    -d '{{\"type\":\"trigger\",\"data\":{{\"endpoint\":\"page\",\"events\":[\"avi:jira:created:issue\"],\n         \"filter\":{{\"expression\":\"event.issue.fields.project.key == \\\"OPS\\\"\"}}}}}}'\n"
    ))?;
    print_line(&format!(
        "  curl -s {base}/admin/v1/subscriptions -H 'authorization: Bearer {token}'\n"
    ))?;
    print_line("  switchyard check -e \"event.issue.fields.project.key = 'OPS'\"\n")
}
