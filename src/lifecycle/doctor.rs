//! What the doctor finds in the configuration, and the name of this replica.

use crate::api::Replica;
use crate::clock;
use crate::config::Config;
use crate::recovery::doctor::{Finding, Severity};

/// Returns findings about the configuration; `is_dev` says whether the router runs for development.
pub(super) fn of_configuration(config: &Config, is_dev: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |severity, message: &str, fix: &str| {
        found.push(Finding::new(severity, "config", message, fix));
    };
    if is_dev {
        add(
            Severity::Note,
            "the router runs for development: the console and webhooks need no token",
            "use `switchyard serve` in production",
        );
    }
    if !config.delivery.log {
        add(
            Severity::Warning,
            "the delivery log is off: what became of deliveries is not recorded",
            "set delivery.log = true",
        );
    }
    if config.server.plaintext {
        add(
            Severity::Note,
            "other machines connect without TLS",
            "let only a proxy with TLS reach the listener, or set server.tls_cert_file and server.tls_key_file",
        );
    }
    if !is_dev && config.delivery.allow_http {
        add(
            Severity::Warning,
            "deliveries may be sent without TLS: who reads the network reads events",
            "set delivery.allow_http = false",
        );
    }
    if !is_dev && !config.delivery.allow_cidrs.is_empty() {
        let ranges: Vec<_> = config.delivery.allow_cidrs.iter().map(ToString::to_string).collect();
        add(
            Severity::Note,
            &format!("apps may send deliveries to closed addresses: {}", ranges.join(", ")),
            "keep only the ranges of your own handlers in delivery.allow_cidrs",
        );
    }
    found
}

/// Returns the name of this replica: its machine and its process.
pub(super) fn replica() -> Replica {
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy();
    let name = format!("{machine}/{}", std::process::id());
    Replica { name, started_ms: clock::now_ms() }
}
