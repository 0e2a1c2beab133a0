//! Sets up the metrics recorder of the process.

use anyhow::Context;
use metrics::gauge;
use metrics_exporter_prometheus::{Matcher as Names, PrometheusBuilder, PrometheusHandle};

use super::names;

/// Buckets for matching an event and compiling a filter: a microsecond to a tenth of a second.
const MATCH_SECONDS: &[f64] =
    &[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1];
/// Buckets for one attempt or publish, in seconds.
const ATTEMPT_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0];
/// Buckets from an event's publication to its delivery: milliseconds to a day, in seconds.
const END_TO_END_SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0];
/// Buckets for counts: deliveries of an event, candidates, attempts.
const COUNTS: &[f64] =
    &[0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4];
/// Buckets for the size of an event, in bytes.
const BYTES: &[f64] =
    &[256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0];

/// Installs the process-wide metrics recorder and returns the handle that renders `/metrics`.
///
/// # Errors
/// A recorder is installed already.
pub fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let buckets = [
        ("switchyard_match_seconds", MATCH_SECONDS),
        ("switchyard_filter_compile_seconds", MATCH_SECONDS),
        ("switchyard_delivery_end_to_end_seconds", END_TO_END_SECONDS),
        ("switchyard_event_age_seconds", END_TO_END_SECONDS),
        ("switchyard_event_size_bytes", BYTES),
        ("switchyard_index_candidates", COUNTS),
        ("switchyard_fanout", COUNTS),
        ("switchyard_filter_steps", COUNTS),
        ("switchyard_delivery_attempt_number", COUNTS),
    ];
    let mut builder = PrometheusBuilder::new().set_buckets(ATTEMPT_SECONDS)?;
    for (name, bounds) in buckets {
        builder = builder.set_buckets_for_metric(Names::Full(name.into()), bounds)?;
    }
    let handle = builder.install_recorder().context("a metrics recorder is installed already")?;
    names::describe_and_begin();
    gauge!("switchyard_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}
