//! The export of traces, as the configuration says.

use anyhow::{Context, Error};

use super::doctor;
use crate::config::TracesConfig;
use crate::telemetry::traces::{Collector, EVENT_SPANS, SpanLimits, TraceExport, Traces};

/// Starts to export traces; records none if there is no endpoint.
pub(super) fn start(config: &TracesConfig) -> anyhow::Result<(Traces, Option<TraceExport>)> {
    if config.endpoint.is_empty() {
        return Ok((Traces::default(), None));
    }
    let headers = config.header_map().map_err(Error::msg)?;
    let collector = Collector::new(&config.endpoint, headers).context("traces.endpoint")?;
    let (traces, export) = TraceExport::start(collector, limits(config), doctor::replica().name);
    Ok((traces, Some(export)))
}

fn limits(config: &TracesConfig) -> SpanLimits {
    let all = config.spans_per_second;
    let of_site = crate::config::part_of(all.into(), config.site_share);
    SpanLimits {
        sample: config.sample,
        spans_per_second: all,
        // Less would record no event at all.
        site_spans_per_second: u32::try_from(of_site).unwrap_or(all).max(EVENT_SPANS),
    }
}
