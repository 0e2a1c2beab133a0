//! Checks settings: values that are out of their range, and values that contradict each other.
//!
//! Every numeric key has a range in [`RANGES`], which a test checks: the default file alone would let
//! in values of the right type with which nothing is delivered, such as a `limits.event` of 0.

use toml::{Table, Value};

use super::error::ConfigError;
use super::fraction::part_of;
use super::ingest;
use super::oidc;
use super::secret_length;
use super::sections::{Config, DeliveryConfig};
use super::traces;

/// Most bytes that a stored delivery has in addition to its event.
const RECORD_BYTES: u64 = 16 << 10;
/// Longest prefix of subjects and streams.
const PREFIX_BYTES_MAX: usize = 32;
/// Longest retry schedule.
const RETRIES_MAX: usize = 100;

const MIB: i64 = 1 << 20;
const TIB: i64 = 1 << 40;
const HOUR_MS: i64 = 3600 * 1000;
const MONTH_S: i64 = 30 * 24 * 3600;
const YEAR_H: i64 = 366 * 24;
const U32_MAX: i64 = u32::MAX as i64;

/// The values that a numeric key may have.
#[derive(Clone, Copy, Debug)]
enum Range {
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A part of something, from 0.0 to 1.0.
    Fraction,
    /// A list of whole numbers.
    Each(i64, i64),
}

use Range::{Each, Fraction, Whole};

/// The range of each numeric key.
const RANGES: &[(&str, Range)] = &[
    ("server.connections_max", Whole(16, 1_000_000)),
    ("server.connections_per_address_max", Whole(1, 1_000_000)),
    ("server.header_timeout_ms", Whole(100, HOUR_MS)),
    ("server.body_timeout_ms", Whole(100, HOUR_MS)),
    ("server.idle_timeout_ms", Whole(100, HOUR_MS)),
    // One body may take twice its size while it is read.
    ("server.body_bytes_max", Whole(64 * 1024, TIB)),
    ("server.body_bytes_per_address_max", Whole(64 * 1024, TIB)),
    ("server.body_bytes_per_site_max", Whole(64 * 1024, TIB)),
    ("server.auth_failures_per_minute", Whole(1, 1_000_000)),
    ("audit.max_age_days", Whole(1, 10 * 366)),
    ("audit.max_bytes", Whole(8 * MIB, 1024 * TIB)),
    ("nats.replicas", Whole(1, 5)),
    // Repeats of a publish must fit the deduplication window.
    ("nats.publish_timeout_ms", Whole(10, 30_000)),
    ("events.max_age_h", Whole(0, 10 * YEAR_H)),
    ("events.max_bytes", Whole(1024, 1024 * TIB)),
    ("events.ack_wait_s", Whole(1, 3600)),
    ("events.dedup_window_s", Whole(1, MONTH_S)),
    ("events.repeat_memory_h", Whole(0, 31 * 24)),
    ("events.repeat_ids_max", Whole(1_000, 1_000_000_000)),
    ("events.deliver_max", Whole(1, 100)),
    ("events.in_flight_max", Whole(1, 1_000_000)),
    ("events.in_flight_bytes_max", Whole(1024, TIB)),
    ("registry.discovery_life_s", Whole(1, U32_MAX)),
    // Eight keys are published at most, and a replaced one for a day.
    ("registry.signing_key_life_h", Whole(24, U32_MAX)),
    ("delivery.timeout_ms", Whole(1, HOUR_MS)),
    ("delivery.endpoint_concurrency", Whole(1, 1_000_000)),
    ("delivery.endpoint_queue_max", Whole(1, 10_000_000)),
    ("delivery.concurrency", Whole(1, 1_000_000)),
    ("delivery.app_share", Fraction),
    ("delivery.installation_share", Fraction),
    ("delivery.host_share", Fraction),
    ("delivery.app_host_share", Fraction),
    ("delivery.event_share", Fraction),
    ("delivery.slow_share", Fraction),
    ("delivery.app_queue_max", Whole(1, 10_000_000)),
    ("delivery.sockets_max", Whole(0, 1_000_000)),
    ("delivery.idle_sockets_max", Whole(0, 1_000_000)),
    ("delivery.park_after_ms", Whole(1, HOUR_MS)),
    ("delivery.retry_schedule_s", Each(0, MONTH_S)),
    ("delivery.retry_jitter", Fraction),
    ("delivery.parked_max", Whole(1, TIB)),
    ("delivery.parked_bytes_max", Whole(1, 1024 * TIB)),
    ("delivery.dead_letters_max", Whole(1, TIB)),
    ("delivery.dead_letter_bytes_max", Whole(1, 1024 * TIB)),
    ("delivery.share_app", Fraction),
    ("delivery.share_installation", Fraction),
    ("delivery.share_reserve", Fraction),
    ("delivery.share_guaranteed", Whole(0, TIB)),
    ("delivery.backlog_endpoint_max", Whole(1, TIB)),
    ("delivery.backlog_max_h", Whole(1, YEAR_H)),
    ("delivery.bodies_days", Whole(0, 90)),
    ("delivery.payload_max", Whole(1024, 64 * MIB)),
    ("delivery.response_max", Whole(0, 64 * MIB)),
    ("delivery.account_interval_s", Whole(0, 86_400)),
    ("delivery.log_bytes_max", Whole(64 * MIB, 1024 * TIB)),
    ("delivery.log_max_age_h", Whole(1, YEAR_H)),
    ("limits.body", Whole(1024, 1024 * MIB)),
    // The hard limit of the broker is 64 MiB.
    ("limits.event", Whole(1024, 64 * MIB)),
    ("limits.modules_per_installation", Whole(0, 1_000_000)),
    ("limits.connect_modules_jira", Whole(0, 1_000_000)),
    ("limits.connect_modules_confluence", Whole(0, 1_000_000)),
    ("limits.webhooks_per_app", Whole(0, 1_000_000)),
    ("limits.webhooks_per_user", Whole(0, 1_000_000)),
    ("limits.webhook_life_h", Whole(0, 1000 * YEAR_H)),
    ("limits.property_paths_per_installation", Whole(0, 1_000_000)),
    ("limits.registration_rate", Whole(0, U32_MAX)),
    ("limits.registration_burst", Whole(1, U32_MAX)),
    ("limits.steps", Whole(1, 100_000_000)),
    ("limits.evaluation_share", Fraction),
    ("traces.sample", Fraction),
    ("traces.spans_per_second", Whole(1, 1_000_000)),
    ("traces.site_share", Fraction),
];

/// Refuses numbers out of their ranges: returns the first key with the message. Values of another type are refused when
/// they are read.
pub(super) fn check_ranges(
    settings: &Table,
    defaults: &Table,
) -> Result<(), (&'static str, String)> {
    for (path, range) in RANGES {
        let Some(value) = value_at(settings, path) else { continue };
        if let Some(expected) = range.refuses(value) {
            let default = value_at(defaults, path).map(ToString::to_string).unwrap_or_default();
            let message =
                format!("`{path}` is {value}; it must be {expected} (the default is {default})");
            return Err((path, message));
        }
    }
    Ok(())
}

/// Refuses settings that contradict each other.
pub(super) fn check_together(config: &Config) -> Result<(), ConfigError> {
    let prefix = &config.nats.prefix;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !(1..=PREFIX_BYTES_MAX).contains(&prefix.len()) || !prefix.bytes().all(is_token) {
        return Err(invalid(format!(
            "`nats.prefix` is \"{prefix}\"; it must be 1 to {PREFIX_BYTES_MAX} of the characters A-Z, a-z, 0-9, _ and -, since it begins the names of subjects and streams"
        )));
    }
    let event_bytes = u64::try_from(config.limits.event).unwrap_or(u64::MAX);
    let stream_bytes = u64::try_from(config.events.max_bytes).unwrap_or(0);
    if stream_bytes < event_bytes {
        return Err(invalid(format!(
            "`events.max_bytes` is {stream_bytes}; the event stream must have space for one event of `limits.event` = {event_bytes} bytes"
        )));
    }
    check_shares(&config.delivery, event_bytes)?;
    check_server(config)?;
    secret_length::check_optional("metrics.token", &config.metrics.token).map_err(invalid)?;
    traces::check(&config.traces).map_err(invalid)?;
    oidc::check(&config.oidc, &config.server.public_url).map_err(invalid)?;
    ingest::check(&config.ingest)
}

/// Refuses a certificate without its key, and shares of the memory for bodies that are smaller than one
/// body.
fn check_server(config: &Config) -> Result<(), ConfigError> {
    let server = &config.server;
    if server.tls_cert_file.is_empty() != server.tls_key_file.is_empty() {
        let message =
            "`server.tls_cert_file` and `server.tls_key_file` belong together; set both or neither";
        return Err(invalid(message.into()));
    }
    // A body may take twice its size while it is read.
    let needed = config.limits.body.saturating_mul(2);
    for (path, bytes) in [
        ("body_bytes_max", server.body_bytes_max),
        ("body_bytes_per_address_max", server.body_bytes_per_address_max),
        ("body_bytes_per_site_max", server.body_bytes_per_site_max),
    ] {
        if bytes < needed {
            return Err(invalid(format!(
                "`server.{path}` is {bytes}; one body of `limits.body` may take {needed} bytes while it is read"
            )));
        }
    }
    Ok(())
}

/// Refuses capacities of which one installation could not use as much as one delivery.
fn check_shares(delivery: &DeliveryConfig, event_bytes: u64) -> Result<(), ConfigError> {
    let (share, name) = match delivery.share_app < delivery.share_installation {
        true => (delivery.share_app, "delivery.share_app"),
        false => (delivery.share_installation, "delivery.share_installation"),
    };
    let record_bytes = event_bytes.saturating_add(RECORD_BYTES);
    for (path, max, needed, unit) in [
        ("parked_max", delivery.parked_max, 1, "deliveries"),
        ("parked_bytes_max", delivery.parked_bytes_max, record_bytes, "bytes"),
        ("dead_letters_max", delivery.dead_letters_max, 1, "dead letters"),
        ("dead_letter_bytes_max", delivery.dead_letter_bytes_max, record_bytes, "bytes"),
    ] {
        let usable = part_of(max, share);
        if usable < needed {
            return Err(invalid(format!(
                "`delivery.{path}` is {max}; of it one installation may use {usable} {unit} (`{name}` = {share}), less than the {needed} of one delivery: raise either"
            )));
        }
    }
    Ok(())
}

impl Range {
    /// Returns what is expected instead of `value`, if it is a number that is out of the range.
    fn refuses(self, value: &Value) -> Option<String> {
        let outside = |value: &Value, from: i64, to: i64| {
            value.as_integer().is_some_and(|number| !(from..=to).contains(&number))
        };
        match (self, value) {
            (Whole(from, to), value) => {
                outside(value, from, to).then(|| format!("from {from} to {to}"))
            }
            (Fraction, Value::Float(part)) => {
                (!(0.0..=1.0).contains(part)).then(|| "from 0.0 to 1.0".to_owned())
            }
            (Fraction, value) => outside(value, 0, 1).then(|| "from 0.0 to 1.0".to_owned()),
            (Each(from, to), Value::Array(items)) => {
                let is_refused =
                    items.len() > RETRIES_MAX || items.iter().any(|item| outside(item, from, to));
                is_refused
                    .then(|| format!("at most {RETRIES_MAX} numbers, each from {from} to {to}"))
            }
            (Each(..), _) => None,
        }
    }
}

fn value_at<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    let (section, key) = path.split_once('.')?;
    table.get(section)?.get(key)
}

fn invalid(message: String) -> ConfigError {
    ConfigError::invalid("configuration", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: &[(&str, &str)]) -> String {
        let variable = |(path, value): &(&str, &str)| {
            let name = path.to_uppercase().replace('.', "__");
            (format!("SWITCHYARD_{name}"), (*value).to_owned())
        };
        let variables: Vec<_> = settings.iter().map(variable).collect();
        Config::from_sources(None, variables.into_iter()).unwrap_err().to_string()
    }

    #[test]
    fn every_numeric_key_has_a_range_that_its_default_is_in() {
        let defaults = include_str!("../../deploy/switchyard.default.toml");
        let defaults: Table = defaults.parse().unwrap();
        let mut numeric = Vec::new();
        for (section, keys) in &defaults {
            for (key, value) in keys.as_table().unwrap() {
                let is_number = |value: &Value| value.is_integer() || value.is_float();
                let is_list =
                    || value.as_array().and_then(|all| all.first()).is_some_and(is_number);
                if is_number(value) || is_list() {
                    numeric.push(format!("{section}.{key}"));
                }
            }
        }
        let mut known: Vec<_> = RANGES.iter().map(|(path, _)| (*path).to_owned()).collect();
        numeric.sort_unstable();
        known.sort_unstable();
        assert_eq!(numeric, known);
        assert!(check_ranges(&defaults, &defaults).is_ok());
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_key_range_and_default() {
        assert_eq!(
            refused(&[("delivery.app_share", "5")]),
            "SWITCHYARD_DELIVERY__APP_SHARE: `delivery.app_share` is 5.0; it must be from 0.0 to 1.0 (the default is 0.25)"
        );
        for (path, values) in [
            ("delivery.slow_share", ["-0.1", "1.01", "nan"]),
            ("delivery.endpoint_concurrency", ["0", "-1", "9223372036854775807"]),
            ("events.ack_wait_s", ["0", "-15", "3601"]),
            ("events.max_bytes", ["-1", "0", "-9223372036854775808"]),
            ("delivery.retry_schedule_s", ["-1", "5,99999999", "1,-2"]),
        ] {
            for value in values {
                let found = refused(&[(path, value)]);
                assert!(found.contains(&format!("`{path}` is ")), "{value}: {found}");
                assert!(found.contains("the default is"), "{found}");
            }
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let found = refused(&[("delivery.dead_letter_bytes_max", "1000000")]);
        assert!(found.contains("one installation may use 200000 bytes"), "{found}");
        assert!(found.contains("`delivery.share_installation` = 0.2"), "{found}");
        let found = refused(&[("delivery.parked_max", "100"), ("delivery.share_app", "0.001")]);
        assert!(found.contains("`delivery.parked_max` is 100"), "{found}");
        assert!(found.contains("`delivery.share_app` = 0.001"), "{found}");
        let found = refused(&[("events.max_bytes", "65536")]);
        assert!(found.contains("`limits.event` = 1048576"), "{found}");
        let found = refused(&[("server.body_bytes_max", "65536")]);
        assert!(found.contains("`server.body_bytes_max` is 65536"), "{found}");
        let found = refused(&[("server.tls_cert_file", "cert.pem")]);
        assert!(found.contains("`server.tls_key_file` belong together"), "{found}");
        let found = refused(&[("metrics.token", "short")]);
        assert!(found.contains("`metrics.token` has 5 characters"), "{found}");
        let found = refused(&[("traces.endpoint", "localhost:4318")]);
        assert!(found.contains("`traces.endpoint` is \"localhost:4318\""), "{found}");
        let found = refused(&[("traces.headers", "authorization: Bearer secret-1")]);
        assert!(found.contains("part 1 of `traces.headers`"), "{found}");
        assert!(!found.contains("secret-1"), "{found}");
        let found = refused(&[("nats.prefix", "a.b")]);
        assert!(found.contains("`nats.prefix` is \"a.b\""), "{found}");
    }
}
