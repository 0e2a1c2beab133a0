//! All metric families. Their names and labels are a contract: dashboards and alerts use only
//! these.
//!
//! Label values come from closed sets. Only the subscription families have labels for apps and
//! installations; `metrics.subscriptions` bounds their members.
//!
//! `deploy/check.py` reads this file and checks the files under `deploy/` against it.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// The type of a metric family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// Monotonic until the process ends.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations by size; rendered as `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// One metric family.
#[derive(Clone, Copy, Debug)]
pub struct MetricFamily {
    /// Full name.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// Unit of its value; none for plain numbers.
    pub unit: Option<Unit>,
    /// Label names; empty if the family is a single series.
    pub labels: &'static [&'static str],
    /// Help text, one sentence.
    pub help: &'static str,
}

/// Families of the process, in the order of the stages of an event.
pub const FAMILIES: &[MetricFamily] = &[
    // Input.
    counter(
        "switchyard_events_received_total",
        &["event_type"],
        "Events pulled for the first time.",
    ),
    counter("switchyard_events_redelivered_total", &[], "Events redelivered by the broker."),
    counter("switchyard_events_bytes_total", &[], "Bytes of event bodies pulled.").in_bytes(),
    counter("switchyard_events_acked_total", &["result"], "Events acknowledged, by result."),
    counter(
        "switchyard_event_decode_errors_total",
        &["reason"],
        "Messages that could not be decoded as events.",
    ),
    histogram("switchyard_event_size_bytes", &[], "Size of event bodies.").in_bytes(),
    histogram("switchyard_event_age_seconds", &[], "Time in the stream before matching.")
        .in_seconds(),
    gauge("switchyard_input_pending", &[], "Events the broker has not delivered yet."),
    gauge(
        "switchyard_input_ack_pending",
        &[],
        "Events delivered by the broker and not acknowledged.",
    ),
    gauge("switchyard_input_lag_seconds", &[], "Age of the oldest unacknowledged event.")
        .in_seconds(),
    gauge(
        "switchyard_input_backlog_ratio",
        &[],
        "Share of the event stream that is not acknowledged; publishing is refused above 0.8.",
    ),
    gauge(
        "switchyard_input_stored_ratio",
        &[],
        "Share of the event stream that is stored; acknowledged events above 0.7 are deleted.",
    ),
    counter(
        "switchyard_input_trimmed_total",
        &["reason"],
        "Acknowledged events deleted from the event stream, by the limit they exceeded.",
    ),
    counter(
        "switchyard_input_gap_events_total",
        &[],
        "Events that disappeared from the event stream before they were known to be acknowledged.",
    ),
    counter(
        "switchyard_input_consumers_recreated_total",
        &["start"],
        "Deleted consumers of events created again, after the floor or at the first event.",
    ),
    counter(
        "switchyard_events_refused_total",
        &["reason"],
        "Events that the HTTP APIs refused to store, by reason.",
    ),
    counter(
        "switchyard_unmapped_other_total",
        &[],
        "Events stored without their name in the subject, because their site has too many names that map to no event.",
    ),
    counter(
        "switchyard_events_repeated_total",
        &["found"],
        "Events that the HTTP APIs accepted and that were stored before, by who recognised them.",
    ),
    gauge(
        "switchyard_repeat_ids",
        &["state"],
        "Ids of stored events: how many may be remembered, and are.",
    ),
    counter(
        "switchyard_repeat_ids_forgotten_total",
        &[],
        "Ids of stored events forgotten early because of events.repeat_ids_max.",
    ),
    gauge(
        "switchyard_repeat_behind_seconds",
        &[],
        "How long the oldest event whose id is not remembered yet has been stored.",
    )
    .in_seconds(),
    counter(
        "switchyard_repeat_blocks_total",
        &["result"],
        "Blocks of ids that were written, or not readable.",
    ),
    counter(
        "switchyard_repeat_events_read_total",
        &[],
        "Events whose ids were read from the event stream because no replica had recorded them.",
    ),
    counter(
        "switchyard_repeat_memory_cleared_total",
        &["reason"],
        "Times that all remembered ids were dropped to be read again, by reason.",
    ),
    counter(
        "switchyard_input_stalls_total",
        &["reason"],
        "Stalls of the input that were detected and recovered.",
    ),
    counter(
        "switchyard_input_pauses_total",
        &[],
        "Pauses of the process longer than the ack deadline; its work was dropped and pulled again.",
    ),
    counter(
        "switchyard_events_crashes_total",
        &["kind"],
        "Caught panics of events, and events examined again after a recorded crash.",
    ),
    counter(
        "switchyard_crash_marker_failures_total",
        &["op"],
        "Crash markers of redelivered events that could not be read or written.",
    ),
    // The HTTP listener.
    gauge(
        "switchyard_listener_connections",
        &["listener", "state"],
        "Connections to the HTTP listeners: how many there may be, and are open.",
    ),
    counter(
        "switchyard_listener_refused_total",
        &["reason"],
        "Connections to the HTTP listener that were refused, by the bound that was reached.",
    ),
    counter(
        "switchyard_listener_closed_total",
        &["reason"],
        "Connections to the HTTP listener that were closed because a deadline passed.",
    ),
    counter(
        "switchyard_listener_certificate_loads_total",
        &["result"],
        "Loads of the certificate of the HTTP listener after its files changed.",
    ),
    gauge("switchyard_listener_body_bytes", &[], "Bytes of request bodies in memory.").in_bytes(),
    counter(
        "switchyard_listener_bodies_refused_total",
        &["reason"],
        "Request bodies that were not read: a share of the memory is used up, or they came too slowly.",
    ),
    // Registry.
    gauge("switchyard_subscriptions", &["state"], "Module records by state; `shadow` counts their shadow filters in addition."),
    counter(
        "switchyard_shadow_matches_total",
        &[],
        "Events that shadow filters would deliver, counted once by one of all replicas.",
    ),
    gauge("switchyard_installations", &[], "Installations with at least one module."),
    gauge(
        "switchyard_webhook_expires_in_seconds",
        &[],
        "Time until the next dynamic webhook expires; infinite without any.",
    )
    .in_seconds(),
    counter(
        "switchyard_discovery_ignored_total",
        &["rule"],
        "Discovered modules that were ignored, by the rule they break.",
    ),
    counter(
        "switchyard_app_calls_total",
        &["kind", "result"],
        "Calls to apps other than deliveries: installs, discovery, notices.",
    ),
    gauge("switchyard_registry_revision", &[], "Last registry revision applied on this replica."),
    histogram(
        "switchyard_registry_apply_seconds",
        &[],
        "From a stored change until matching sees it.",
    )
    .in_seconds(),
    counter(
        "switchyard_registry_documents_refused_total",
        &[],
        "Stored documents that could not be applied.",
    ),
    gauge(
        "switchyard_registry_outdated_documents",
        &[],
        "Registry documents whose secrets are not encrypted with the current key, when last counted.",
    ),
    gauge(
        "switchyard_registry_missing_key_documents",
        &["key"],
        "Registry documents with a secret that is encrypted with a key this replica lacks, by key id.",
    ),
    gauge(
        "switchyard_registry_background_waiting",
        &[],
        "Installations whose discovery, notices or callbacks are due and wait for a place.",
    ),
    gauge(
        "switchyard_registry_unreadable_documents",
        &["family"],
        "Stored documents that this replica cannot read; events of their installations wait.",
    ),
    gauge(
        "switchyard_registry_tombstones",
        &[],
        "Deleted keys of the registry bucket, whose deletions are kept.",
    ),
    counter(
        "switchyard_registry_watch_starts_total",
        &["kind"],
        "Registry watches started: with a full load, or resumed from a revision.",
    ),
    counter(
        "switchyard_revisions_stored_total",
        &["source"],
        "Stored revisions of modules: with their change, or found missing by a comparison (repair).",
    ),
    counter(
        "switchyard_revisions_deferred_total",
        &[],
        "Revisions of modules that the broker did not confirm with their change; a comparison stores them.",
    ),
    gauge(
        "switchyard_revision_checks_waiting",
        &[],
        "Registry documents that wait to be compared with the revisions of their modules.",
    ),
    counter(
        "switchyard_revision_checks_failed_total",
        &[],
        "Batches of documents of which one could not be compared with its revisions, and listings of the stream that failed; each is repeated.",
    ),
    gauge(
        "switchyard_revision_documents_skipped",
        &["reason"],
        "Registry documents that are not compared with their revisions: these are newer than the registry (ahead), or the document cannot be read (unreadable).",
    ),
    gauge(
        "switchyard_revisions_kept",
        &[],
        "Revisions in the stream, as of its last listing: at the start, then once a day.",
    ),
    counter(
        "switchyard_registrations_total",
        &["door", "op", "result"],
        "Registration requests by outcome.",
    ),
    counter(
        "switchyard_auth_failures_total",
        &["api", "reason"],
        "Requests that failed authentication, by API and reason; callers do not receive the reason.",
    ),
    counter(
        "switchyard_filter_compile_errors_total",
        &["reason"],
        "Filters rejected at registration.",
    ),
    histogram("switchyard_filter_compile_seconds", &[], "Time to check and compile one filter.")
        .in_seconds(),
    // Matching.
    histogram("switchyard_match_seconds", &[], "From a decoded event to its matches.").in_seconds(),
    histogram(
        "switchyard_index_candidates",
        &[],
        "Subscriptions evaluated for an event after the index.",
    ),
    counter(
        "switchyard_index_errors_total",
        &[],
        "Lookups and builds that met a defect of an index; its filters were evaluated instead.",
    ),
    counter(
        "switchyard_index_built_entries_total",
        &[],
        "Tests, constants, paths and text (by 8 bytes) of filters that were indexed or merged.",
    ),
    gauge(
        "switchyard_filters_beyond_index",
        &["reason"],
        "Filters evaluated, in whole or in part, because of a bound of the index: size of a filter, share of an installation.",
    ),
    counter("switchyard_filter_evaluations_total", &["result"], "Filter evaluations by verdict."),
    counter(
        "switchyard_filter_errors_total",
        &["reason", "action"],
        "Filter evaluations that failed, by reason and onError action.",
    ),
    histogram("switchyard_filter_steps", &[], "Steps of one evaluation."),
    counter(
        "switchyard_evaluations_postponed_total",
        &[],
        "Events postponed for an installation that used more than its share of evaluation.",
    ),
    gauge(
        "switchyard_evaluation_share_exceeded",
        &[],
        "Installations whose events are postponed, because their filters cost more than their share.",
    ),
    counter(
        "switchyard_slow_evaluations_total",
        &[],
        "Evaluations in the slow lane: events of costly filters, and postponed events.",
    ),
    gauge("switchyard_slow_lane_waiting", &[], "Evaluations that wait in the slow lane."),
    counter("switchyard_matches_total", &["event_type"], "Matches: deliveries created."),
    histogram("switchyard_fanout", &[], "Deliveries of one event."),
    // Delivery.
    counter(
        "switchyard_deliveries_total",
        &["outcome", "lane"],
        "Deliveries completed, by outcome.",
    ),
    counter(
        "switchyard_delivery_attempts_total",
        &["target", "class", "blame"],
        "Attempts by outcome class and responsible party.",
    ),
    histogram("switchyard_delivery_attempt_seconds", &["target"], "Duration of attempts.")
        .in_seconds(),
    histogram("switchyard_delivery_phase_seconds", &["phase"], "Time of a delivery by phase.")
        .in_seconds(),
    histogram(
        "switchyard_delivery_end_to_end_seconds",
        &["lane"],
        "From the match of an event to its handler's acceptance.",
    )
    .in_seconds(),
    histogram("switchyard_delivery_attempt_number", &[], "Number of the attempt that succeeded."),
    gauge("switchyard_deliveries_inflight", &["target"], "Attempts running now."),
    gauge("switchyard_deliveries_pending", &["lane"], "Deliveries waiting in memory for a permit."),
    gauge(
        "switchyard_delivery_permits",
        &["state"],
        "Permits for attempts: how many there are, are in use, and are used by slow attempts.",
    ),
    counter(
        "switchyard_delivery_shares_exceeded_total",
        &["share"],
        "Deliveries parked at once because this share of the waiting places was used up.",
    ),
    gauge(
        "switchyard_delivery_sockets",
        &["state"],
        "Sockets to handlers: how many there may be, are open, and are idle.",
    ),
    counter(
        "switchyard_delivery_sockets_evicted_total",
        &[],
        "Idle connections to handlers that were closed to make room for others.",
    ),
    counter(
        "switchyard_local_failures_total",
        &["reason"],
        "Attempts not made for lack of descriptors, ports or buffers on this machine.",
    ),
    gauge("switchyard_endpoint_breakers", &["state"], "Endpoints by circuit breaker state."),
    gauge("switchyard_deliveries_parked", &[], "Deliveries waiting in the parking stream."),
    counter(
        "switchyard_parkings_total",
        &["reason"],
        "Deliveries published to the parking stream.",
    ),
    counter(
        "switchyard_retries_scheduled_total",
        &["class"],
        "Retries by outcome class of the attempt before.",
    ),
    counter(
        "switchyard_retry_after_honoured_total",
        &[],
        "Retry delays that are exactly what the handler requested.",
    ),
    counter(
        "switchyard_delivery_blocked_total",
        &["rule"],
        "Addresses that outbound rules refused.",
    ),
    counter(
        "switchyard_http_connections_total",
        &["reused"],
        "Connections to handlers, new and reused.",
    ),
    // Dead letters.
    counter("switchyard_dlq_total", &["reason"], "Dead letters written."),
    gauge("switchyard_dlq_messages", &[], "Dead letters kept."),
    counter(
        "switchyard_dlq_redriven_total",
        &["result"],
        "Dead letters redriven, by what became of them.",
    ),
    counter(
        "switchyard_replay_deliveries_total",
        &["result"],
        "Deliveries that replays handed over, by what became of them.",
    ),
    gauge(
        "switchyard_job_progress_age_seconds",
        &["kind"],
        "Age of the last progress of the running job of a kind that made none for longest; 0 if none runs.",
    )
    .in_seconds(),
    // Delivery log.
    counter(
        "switchyard_log_records_total",
        &["result"],
        "Records of the delivery log that the broker confirmed.",
    ),
    gauge(
        "switchyard_log_unindexed_records",
        &[],
        "Records of the delivery log that its index by entity does not have yet; a chunk of 32,768 is indexed five minutes after it is full.",
    ),
    counter(
        "switchyard_log_records_lost_total",
        &[],
        "Records of the delivery log that are larger than the broker's limit, and not stored.",
    ),
    gauge(
        "switchyard_log_pending",
        &[],
        "Records of the delivery log that are not confirmed yet; their events are not acknowledged.",
    ),
    counter(
        "switchyard_bodies_removed_total",
        &["reason"],
        "Messages removed because an erasure or a retention requires it, by reason.",
    ),
    gauge(
        "switchyard_retention_last_run_timestamp_seconds",
        &[],
        "When this replica last looked for dead letters whose bodies are too old.",
    )
    .in_seconds(),
    gauge(
        "switchyard_retention_bodies_expired",
        &[],
        "Dead letters whose bodies are too old and that the last look did not delete.",
    ),
    gauge(
        "switchyard_account_gap",
        &[],
        "Deliveries that are unaccounted for and lost records of the delivery log, by the last checks; the same on all replicas.",
    ),
    gauge(
        "switchyard_account_checked_seconds",
        &[],
        "When the account of deliveries was checked last, or its keeper began if it never was, seconds since the epoch.",
    )
    .in_seconds(),
    // Shares.
    counter(
        "switchyard_policy_drops_total",
        &["policy"],
        "Deliveries and dead letters dropped by a policy.",
    ),
    counter(
        "switchyard_share_refusals_total",
        &["pool", "level"],
        "Messages refused because a share of a stream is used up, by the level of the bound.",
    ),
    gauge(
        "switchyard_share_used_ratio",
        &["pool"],
        "Part of the capacity in use, the larger of messages and bytes.",
    ),
    gauge(
        "switchyard_parked_unattributed",
        &[],
        "Parked deliveries that no owner is known for, or negative: too many are attributed.",
    ),
    counter(
        "switchyard_parked_recounts_total",
        &["reason", "result"],
        "Counts of the parking stream by reading it.",
    ),
    // Broker.
    gauge(
        "switchyard_broker_up",
        &[],
        "1 while the broker answers, its streams and consumers exist and it confirms writes.",
    ),
    gauge(
        "switchyard_broker_check_failing",
        &["check"],
        "1 while a check of the broker fails; /healthz/ready names it.",
    ),
    counter(
        "switchyard_streams_recreated_total",
        &["stream"],
        "Streams that were deleted while a router ran and were created again, empty.",
    ),
    counter(
        "switchyard_config_reloads_total",
        &["result"],
        "Changed files of the configuration that were read again, by result.",
    ),
    counter(
        "switchyard_managed_broker_restarts_total",
        &[],
        "Restarts of the managed nats-server after it ended by itself.",
    ),
    gauge(
        "switchyard_clock_skew_seconds",
        &[],
        "How far the wall clock of this machine is ahead of the broker's.",
    )
    .in_seconds(),
    counter(
        "switchyard_clock_skew_changes_total",
        &[],
        "Changes of the clock skew to another value over two seconds.",
    ),
    counter("switchyard_broker_reconnects_total", &[], "Reconnects to the broker."),
    histogram(
        "switchyard_broker_publish_seconds",
        &["stream"],
        "From a publish to the broker's confirmation; for the delivery log, with the wait for its group.",
    )
    .in_seconds(),
    gauge(
        "switchyard_broker_publish_blocked",
        &["stream"],
        "1 while publishes to the stream wait because the broker does not store them.",
    ),
    counter(
        "switchyard_broker_publish_failures_total",
        &["stream", "reason"],
        "Publishes without a confirmation.",
    ),
    gauge(
        "switchyard_stream_config_newer",
        &["stream"],
        "1 while a newer release has configured the stream; this replica does not update it.",
    ),
    counter(
        "switchyard_stream_config_restored_total",
        &[],
        "Configurations of the event stream restored after an older release replaced them.",
    ),
    gauge("switchyard_build_info", &["version"], "Constant 1; the label is the version."),
];

/// Labels of the subscription family.
const SUBSCRIPTION: &[&str] = &["app", "installation", "key"];

/// Families of single subscriptions, for the bounded set chosen by `metrics.subscriptions`.
pub const SUBSCRIPTION_FAMILIES: &[MetricFamily] = &[
    counter(
        "switchyard_subscription_matched_total",
        SUBSCRIPTION,
        "Events that became deliveries.",
    ),
    counter(
        "switchyard_subscription_not_matched_total",
        SUBSCRIPTION,
        "Events of its types that did not match.",
    ),
    counter(
        "switchyard_subscription_errors_total",
        SUBSCRIPTION,
        "Filter evaluations that failed.",
    ),
    counter("switchyard_subscription_delivered_total", SUBSCRIPTION, "Deliveries that succeeded."),
    counter("switchyard_subscription_failed_total", SUBSCRIPTION, "Attempts that failed."),
    counter(
        "switchyard_subscription_dead_total",
        SUBSCRIPTION,
        "Deliveries that ended as dead letters.",
    ),
    counter(
        "switchyard_subscription_steps_total",
        SUBSCRIPTION,
        "Evaluation steps used by the filter.",
    ),
    gauge(
        "switchyard_subscription_last_match_timestamp_seconds",
        SUBSCRIPTION,
        "When an event last matched; 0 = never.",
    )
    .in_seconds(),
];

/// Families of single owners, for the bounded set with most drops.
pub const OWNER_FAMILIES: &[MetricFamily] = &[counter(
    "switchyard_share_exceeded_total",
    &["app", "installation"],
    "Dead letters dropped because their owner used up its share.",
)];

/// Families of single sites, for the bounded set with most refusals.
pub const SITE_FAMILIES: &[MetricFamily] = &[counter(
    "switchyard_ingest_refused_total",
    &["site", "reason"],
    "Webhooks refused, by site and reason; `other` has those of sites without an installation.",
)];

/// Registers unit and HELP text of the families of sites with the current recorder.
pub fn describe_sites() {
    SITE_FAMILIES.iter().for_each(describe);
}

/// Registers unit and HELP text of the families of owners with the current recorder.
pub fn describe_owners() {
    OWNER_FAMILIES.iter().for_each(describe);
}

/// Registers unit and HELP text of the process's families with the current recorder.
pub fn describe_all() {
    FAMILIES.iter().for_each(describe);
}

/// Registers unit and HELP text of the subscription families with the current recorder.
pub fn describe_subscriptions() {
    SUBSCRIPTION_FAMILIES.iter().for_each(describe);
}

fn describe(family: &MetricFamily) {
    let MetricFamily { name, kind, unit, help, .. } = *family;
    let unit = unit.unwrap_or(Unit::Count);
    match kind {
        MetricKind::Counter => describe_counter!(name, unit, help),
        MetricKind::Gauge => describe_gauge!(name, unit, help),
        MetricKind::Histogram => describe_histogram!(name, unit, help),
    }
}

const fn counter(name: &'static str, labels: Labels, help: &'static str) -> MetricFamily {
    MetricFamily { name, kind: MetricKind::Counter, unit: None, labels, help }
}

const fn gauge(name: &'static str, labels: Labels, help: &'static str) -> MetricFamily {
    MetricFamily { name, kind: MetricKind::Gauge, unit: None, labels, help }
}

const fn histogram(name: &'static str, labels: Labels, help: &'static str) -> MetricFamily {
    MetricFamily { name, kind: MetricKind::Histogram, unit: None, labels, help }
}

type Labels = &'static [&'static str];

impl MetricFamily {
    const fn in_seconds(self) -> Self {
        Self { unit: Some(Unit::Seconds), ..self }
    }

    const fn in_bytes(self) -> Self {
        Self { unit: Some(Unit::Bytes), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn all() -> impl Iterator<Item = &'static MetricFamily> {
        FAMILIES.iter().chain(SUBSCRIPTION_FAMILIES).chain(OWNER_FAMILIES).chain(SITE_FAMILIES)
    }

    #[test]
    fn metric_names_are_unique_and_follow_the_conventions() {
        let mut seen = HashSet::new();
        for MetricFamily { name, kind, unit, help, .. } in all() {
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("switchyard_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(*kind == MetricKind::Counter, name.ends_with("_total"), "{name}");
            let stem = name.trim_end_matches("_total");
            assert_eq!(*unit == Some(Unit::Seconds), stem.ends_with("_seconds"), "{name}");
            assert_eq!(*unit == Some(Unit::Bytes), stem.ends_with("_bytes"), "{name}");
            assert!(help.ends_with('.'), "{name}: {help}");
        }
    }

    #[test]
    fn described_family_has_its_help_text() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe_all();
            describe_subscriptions();
            describe_owners();
            describe_sites();
            for family in all() {
                let labels: Vec<_> = family.labels.iter().map(|name| (*name, "x")).collect();
                match family.kind {
                    MetricKind::Counter => metrics::counter!(family.name, &labels).increment(1),
                    MetricKind::Gauge => metrics::gauge!(family.name, &labels).set(1.0),
                    MetricKind::Histogram => metrics::histogram!(family.name, &labels).record(1.0),
                }
            }
        });
        let text = recorder.handle().render();
        for family in all() {
            let help = format!("# HELP {} {}\n", family.name, family.help);
            assert!(text.contains(&help), "{} in\n{text}", family.name);
        }
    }
}
