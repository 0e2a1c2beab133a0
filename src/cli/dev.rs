//! `switchyard dev`: runs a router for development.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use data_encoding::BASE64URL_NOPAD;
use tokio_util::sync::CancellationToken;

use super::client::ApiClient;
use super::contexts::{ContextFile, Contexts, DevContext};
use super::demo;
use super::exit::UsageError;
use super::serve::{ServeArgs, admin_tokens, announce, configuration, print_addresses, run_router};
use crate::config::{self, Config};
use crate::domain::Secret;
use crate::lifecycle::{self, Mode, Running};

/// Site that commands use with a router that has no demo.
const SITE: &str = "dev-site";

/// Runs a router for development: managed NATS server, loopback only, generated token
#[derive(Debug, Args)]
#[command(
    after_help = "Address and token are in a context while it runs (`dev`, or `dev-2` while another one \
    runs), so that other commands need neither.\n\n\
    Examples:\n  switchyard dev --demo\n  switchyard dev --listen 127.0.0.1:0"
)]
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
        let context = write_context(&running, &token, is_demo);
        print_getting_started(&running, token.reveal(), installation.as_deref());
        print_first_trigger(context.as_ref());
        let ended = running.until_stopped().await;
        drop(context);
        ended
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

/// Writes the context of this router; none if that fails, since the router runs without it, too.
fn write_context(running: &Running, token: &Secret, is_demo: bool) -> Option<DevContext> {
    let site = if is_demo { demo::SITE } else { SITE };
    let file = ContextFile::new(&running.url, Some(site)).with_token(token);
    match Contexts::open().and_then(|contexts| contexts.begin_dev(&file)) {
        Ok(context) => Some(context),
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "no context is written; set SWITCHYARD_SERVER and SWITCHYARD_TOKEN"
            );
            None
        }
    }
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
    if let Some(token) = installation {
        announce("\nthe demo app is registered; its installation has the token");
        announce(&format!("  {token}"));
    }
}

/// Prints the commands of a first trigger, ready to paste.
fn print_first_trigger(context: Option<&DevContext>) {
    let Some(context) = context else { return };
    announce(
        "\nyour first trigger; in another terminal, with a handler on port 9000 or without --to:\n",
    );
    // Another one runs as well, or another context is selected.
    let selected = Contexts::open().and_then(|contexts| contexts.selected());
    let is_implied = context.name == "dev" && matches!(selected, Ok(None));
    let flag = match is_implied {
        true => String::new(),
        false => format!(" --context {}", context.name),
    };
    if let Some(folder) = own_folder().filter(|folder| !config::is_on_path(folder)) {
        announce(&format!("  export PATH=\"{}:$PATH\"", folder.display()));
    }
    announce(&format!(
        "  switchyard listen{flag} --to localhost:9000 --filter \"event.issue.fields.project.key == 'XXX'\"\n"
    ));
    announce("and in a third:\n");
    announce(&format!(
        "  switchyard trigger{flag} avi:jira:created:issue --set issue.fields.project.key=XXX\n"
    ));
}

/// Returns the folder of this program.
fn own_folder() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}
