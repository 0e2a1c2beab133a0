//! `switchyard dev`: runs a router for development.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use data_encoding::BASE64URL_NOPAD;
use tokio_util::sync::CancellationToken;

use super::client::ApiClient;
use super::demo;
use super::exit::UsageError;
use super::serve::{ServeArgs, admin_tokens, announce, configuration, print_addresses, run_router};
use crate::config::Config;
use crate::domain::Secret;
use crate::lifecycle::{self, Mode, Running};

/// Runs a router for development: managed NATS server, loopback only, generated token
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  switchyard dev --demo\n  switchyard dev --listen 127.0.0.1:0")]
pub struct DevArgs {
    /// Flags shared with `serve`
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Registers a demo app with triggers and publishes a slow stream of synthetic events
    #[arg(long)]
    pub demo: bool,
}

/// Runs a router for development.
///
/// # Errors
/// As [`serve::run`](super::serve::run), and an address that is not on loopback.
pub fn run(args: &DevArgs) -> anyhow::Result<ExitCode> {
    let mut config = configuration(&args.serve)?;
    let address: Option<SocketAddr> = config.server.listen.parse().ok();
    if !address.is_some_and(|address| address.ip().is_loopback()) {
        bail!(UsageError(format!(
            "`dev` is not for production and listens on loopback only, not on {}; use `serve`",
            config.server.listen
        )));
    }
    open_to_loopback(&mut config)?;
    if config.admin.token.is_empty() && config.admin.token_file.is_empty() {
        config.admin.token = random_token();
    }
    let tokens = admin_tokens(&config)?;
    let token = tokens.any().context("no operator token")?;
    let is_demo = args.demo;
    run_router(async move {
        let running = lifecycle::start(&config, tokens, Mode::Dev).await?;
        print_addresses(&running);
        let client = ApiClient::at(&running.url, token.reveal())?;
        let installation = if is_demo {
            let stop = CancellationToken::clone(&running.stop);
            Some(demo::start(&client, &running.live, &running.tasks, &stop).await?)
        } else {
            None
        };
        print_getting_started(&running, token.reveal(), installation.as_deref());
        running.until_stopped().await
    })
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

fn random_token() -> Secret {
    let bytes: Vec<u8> = (0..2).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect();
    Secret::new(format!("sw_admin_{}", BASE64URL_NOPAD.encode(&bytes)))
}

/// Prints the first steps with a development router.
fn print_getting_started(running: &Running, token: &str, installation: Option<&str>) {
    let base = &running.url;
    announce(&format!("console   {base}/"));
    announce(&format!("admin token  {token}"));
    announce("for development only, not for production; ctrl-c stops it");
    announce(
        "open to every program on this machine: console, live feed, and unsigned webhooks of any site",
    );
    let Some(installation) = installation else { return };
    announce("\nthe demo app is registered; try, in another terminal:\n");
    announce(&format!(
        "  curl -s {base}/forge/installation/v2/dynamic/module \\\n    -H 'authorization: Bearer {installation}' -H 'content-type: application/json' \\\n    -d '{{\"type\":\"trigger\",\"data\":{{\"endpoint\":\"page\",\"events\":[\"avi:jira:created:issue\"],\n         \"filter\":{{\"expression\":\"event.issue.fields.project.key == \\\"OPS\\\"\"}}}}}}'\n"
    ));
    announce(&format!(
        "  curl -s {base}/admin/v1/subscriptions -H 'authorization: Bearer {token}'\n"
    ));
    announce("  switchyard check -e \"event.issue.fields.project.key = 'OPS'\"\n");
}
