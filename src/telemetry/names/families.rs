//! The table of all metric families.

use super::family::{Labels, MetricFamily, closed, counter, gauge, histogram, open, tied};

/// Event types with series of their own, and `other`: those that a catalogue lists, and
/// [`UNLISTED_MAX`].
const EVENT_TYPES_MAX: usize = 90 + UNLISTED_MAX + 1;
/// Event types that no catalogue lists and that have a series of their own.
pub(in crate::telemetry) const UNLISTED_MAX: usize = 40;
/// Origins of deliveries.
const LANES: &[&str] = &["live", "retry", "replay"];
/// Transports of attempts.
const TARGETS: &[&str] = &["http", "nats"];
/// Classes of attempts.
const CLASSES: &[&str] = &[
    "2xx",
    "3xx",
    "4xx",
    "410",
    "429",
    "5xx",
    "timeout",
    "connect",
    "tls",
    "dns",
    "blocked",
    "protocol",
    "too_large",
    "local",
    "other",
];
/// Who caused the failure of an attempt.
const BLAMES: &[&str] = &["none", "network", "policy", "router", "handler"];
/// Why deliveries and events are dead-lettered.
const DEAD: &[&str] = &[
    "poison_utf8",
    "poison_depth",
    "poison_size",
    "poison_crash",
    "poison_json",
    "poison_schema",
    "too_large",
    "exhausted",
    "gone",
    "rejected_3xx",
    "rejected_4xx",
    "blocked_address",
    "backlog_full",
    "expired",
];
/// Streams with shares.
const POOLS: &[&str] = &["parking", "dead_letters"];
/// Streams that routers publish into and wait for the confirmation.
const PUBLISHED: &[&str] = &["events", "parked", "dlq", "repeats", "log", "audit"];
/// Checks of the broker.
const CHECKS: &[&str] = &[
    "broker",
    "stream_events",
    "stream_parked",
    "stream_dlq",
    "stream_repeats",
    "stream_log",
    "bucket_registry",
    "bucket_state",
    "consumer_router",
    "consumer_due",
    "write",
    "writes_events",
    "writes_parked",
    "writes_dlq",
    "writes_log",
];
/// Registration APIs.
const REGISTRATION_APIS: &[&str] =
    &["forge_v1", "forge_v2", "connect_jira", "connect_confluence", "webhook"];
/// APIs that ask for credentials.
const APIS: &[&str] = &["operator", "console", "health", "metrics", "forge", "connect", "webhook"];
/// Why webhooks are refused.
const REFUSALS: &[&str] = &[
    "no_site",
    "unknown_site",
    "closed",
    "no_signature",
    "malformed_signature",
    "wrong_signature",
    "wrong_token",
    "web_page",
    "media_type",
    "packed",
    "too_large",
    "incomplete",
    "busy",
    "not_stored",
    "empty_body",
    "not_json",
    "too_deep",
    "not_a_webhook",
    "bad_name",
];
/// Why a request failed to authenticate, over all APIs.
const AUTH_FAILURES: &[&str] = &[
    "no_token",
    "single_sign_on",
    "unknown_token",
    "admin_token",
    "installation_token",
    "client_token",
    "access_token",
    "system_token",
    "expired_token",
    "ended_token",
    "not_local",
    "not_enabled",
    "bad_proxy_header",
    "no_proxy_header",
    "as_user",
    "replay",
    "scheme",
    "two_tokens",
    "own",
    "signature",
    "malformed",
    "algorithm",
    "header_parameter",
    "claims",
    "expired",
    "early",
    "long_lived",
    "qsh",
    "no_installation",
    "ambiguous_tenant",
    "site",
];

/// Families of the process, in the order of the stages of an event.
pub const FAMILIES: &[MetricFamily] = &[
    // Input.
    counter(
        "switchyard_events_received_total",
        &[open("event_type", EVENT_TYPES_MAX)],
        "Events pulled for the first time.",
    ),
    counter("switchyard_events_redelivered_total", &[], "Events redelivered by the broker."),
    counter("switchyard_events_bytes_total", &[], "Bytes of event bodies pulled.").in_bytes(),
    counter("switchyard_events_acked_total", &[closed("result", &["unmatched", "matched", "poison"])], "Events acknowledged, by result."),
    counter(
        "switchyard_event_decode_errors_total",
        &[closed("reason", &["utf8", "json", "depth", "size", "schema"])],
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
    gauge(
        "switchyard_input_lag_seconds",
        &[],
        "Age of the oldest unacknowledged event; while the broker does not answer, at least the time since its last answer.",
    )
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
        &[closed("reason", &["age", "bytes"])],
        "Acknowledged events deleted from the event stream, by the limit they exceeded.",
    ),
    counter(
        "switchyard_input_gap_events_total",
        &[],
        "Events that disappeared from the event stream before they were known to be acknowledged.",
    ),
    counter(
        "switchyard_input_consumers_recreated_total",
        &[closed("start", &["floor", "first"])],
        "Deleted consumers of events created again, after the floor or at the first event.",
    ),
    counter(
        "switchyard_events_refused_total",
        &[closed("reason", &["too_large", "stream_full", "storage_full", "backlog"])],
        "Events that the HTTP APIs refused to store, by reason.",
    ),
    counter(
        "switchyard_unmapped_other_total",
        &[],
        "Events stored without their name in the subject, because their site has too many names that map to no event.",
    ),
    counter(
        "switchyard_events_repeated_total",
        &[closed("found", &["memory", "broker"])],
        "Events that the HTTP APIs accepted and that were stored before, by who recognised them.",
    ),
    gauge(
        "switchyard_repeat_ids",
        &[closed("state", &["remembered", "max"])],
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
        &[closed("result", &["written", "unreadable"])],
        "Blocks of ids that were written, or not readable.",
    ),
    counter(
        "switchyard_repeat_events_read_total",
        &[],
        "Events whose ids were read from the event stream because no replica had recorded them.",
    ),
    counter(
        "switchyard_repeat_memory_cleared_total",
        &[closed("reason", &["event_stream_created", "events_lost", "blocks_purged", "failed"])],
        "Times that all remembered ids were dropped to be read again, by reason.",
    ),
    counter(
        "switchyard_input_stalls_total",
        &[closed("reason", &["no_heartbeat", "no_responders", "consumer_gone"])],
        "Stalls of the input that were detected and recovered.",
    ),
    counter(
        "switchyard_input_pauses_total",
        &[],
        "Pauses of the process longer than the ack deadline; its work was dropped and pulled again.",
    ),
    counter(
        "switchyard_events_crashes_total",
        &[closed("kind", &["panic", "process"])],
        "Caught panics of events, and events examined again after a recorded crash.",
    ),
    counter(
        "switchyard_crash_marker_failures_total",
        &[closed("op", &["read", "mark", "clear", "record"])],
        "Crash markers of redelivered events that could not be read or written.",
    ),
    // The HTTP listener.
    gauge(
        "switchyard_listener_connections",
        &[closed("listener", &["main", "metrics"]), closed("state", &["max", "open"])],
        "Connections to the HTTP listeners: how many there may be, and are open.",
    ),
    counter(
        "switchyard_listener_refused_total",
        &[closed("reason", &["connections", "address_connections", "tls", "accept_failed"])],
        "Connections to the HTTP listener that were refused, by the bound that was reached.",
    ),
    counter(
        "switchyard_listener_closed_total",
        &[closed("reason", &["header_timeout", "idle_timeout", "write_timeout", "stop_timeout"])],
        "Connections to the HTTP listener that were closed because a deadline passed.",
    ),
    counter(
        "switchyard_listener_certificate_loads_total",
        &[closed("result", &["ok", "failed"])],
        "Loads of the certificate of the HTTP listener after its files changed.",
    ),
    gauge("switchyard_listener_body_bytes", &[], "Bytes of request bodies in memory.").at_zero().in_bytes(),
    counter(
        "switchyard_listener_bodies_refused_total",
        &[closed("reason", &["all", "address", "site", "timeout"])],
        "Request bodies that were not read: a share of the memory is used up, or they came too slowly.",
    ),
    // Registry.
    gauge("switchyard_subscriptions", &[closed("state", &["active", "inactive", "shadowed", "expired", "paused", "undelivered", "shadow"])], "Module records by state; `shadow` counts their shadow filters in addition."),
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
        &[closed("rule", &["static_key", "duplicate_key", "too_many", "undeclared", "invalid"])],
        "Discovered modules that were ignored, by the rule they break.",
    ),
    counter(
        "switchyard_app_calls_total",
        &[closed("kind", &["discovery", "notice"]), closed("result", &["ok", "failed"])],
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
        &[open("key", 17)],
        "Registry documents with a secret that is encrypted with a key this replica lacks, by key id.",
    ),
    gauge(
        "switchyard_registry_background_waiting",
        &[],
        "Installations whose discovery, notices or callbacks are due and wait for a place.",
    ).at_zero(),
    gauge(
        "switchyard_registry_unreadable_documents",
        &[closed("family", &["app", "inst", "client", "token", "site", "keys", "other"])],
        "Stored documents that this replica cannot read; events of their installations wait.",
    ),
    gauge(
        "switchyard_registry_tombstones",
        &[],
        "Deleted keys of the registry bucket, whose deletions are kept.",
    ),
    counter(
        "switchyard_registry_watch_starts_total",
        &[closed("kind", &["load", "resume"])],
        "Registry watches started: with a full load, or resumed from a revision.",
    ),
    counter(
        "switchyard_revisions_stored_total",
        &[closed("source", &["change", "repair"])],
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
    ).at_zero(),
    counter(
        "switchyard_revision_checks_failed_total",
        &[],
        "Batches of documents of which one could not be compared with its revisions, and listings of the stream that failed; each is repeated.",
    ),
    gauge(
        "switchyard_revision_documents_skipped",
        &[closed("reason", &["ahead", "unreadable"])],
        "Registry documents that are not compared with their revisions: these are newer than the registry (ahead), or the document cannot be read (unreadable).",
    ).at_zero(),
    gauge(
        "switchyard_revisions_kept",
        &[],
        "Revisions in the stream, as of its last listing: at the start, then once a day.",
    ),
    counter(
        "switchyard_registrations_total",
        &[closed("door", REGISTRATION_APIS), closed("op", &["register", "update", "delete", "read", "list"]), closed("result", &["ok", "rejected", "unauthorized", "limited", "error"])],
        "Registration requests by outcome.",
    ),
    counter(
        "switchyard_auth_failures_total",
        &[closed("api", APIS), tied("reason", AUTH_FAILURES)],
        "Requests that failed authentication, by API and reason; callers do not receive the reason.",
    ),
    counter(
        "switchyard_access_refused_total",
        &[closed("reason", &["scope", "installation", "rate", "undeclared"])],
        "Requests to the operator API that their callers may not send: the scope is too low, the operation is not for tokens of one installation, or the token sends too many (rate).",
    ),
    counter(
        "switchyard_filter_compile_errors_total",
        &[closed("reason", &["syntax", "type", "limit", "unsupported"])],
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
        &[closed("reason", &["size", "share"])],
        "Filters evaluated, in whole or in part, because of a bound of the index: size of a filter, share of an installation.",
    ).at_zero(),
    counter("switchyard_filter_evaluations_total", &[closed("result", &["true", "false", "error"])], "Evaluations of filters that the index does not decide, by verdict; equal filters are evaluated once for an event."),
    counter(
        "switchyard_filter_errors_total",
        &[closed("reason", &["type", "limit", "runtime"]), closed("action", &["deliver", "skip"])],
        "Filter evaluations that failed, by reason and onError action.",
    ),
    histogram("switchyard_filter_steps", &[], "Steps of one evaluation of a filter."),
    counter(
        "switchyard_evaluations_postponed_total",
        &[],
        "Events postponed for an installation that used more than its share of evaluation.",
    ),
    gauge(
        "switchyard_evaluation_share_exceeded",
        &[],
        "Installations whose events are postponed, because their filters cost more than their share.",
    ).at_zero(),
    counter(
        "switchyard_slow_evaluations_total",
        &[],
        "Evaluations in the slow lane: events of costly filters, and postponed events.",
    ),
    gauge("switchyard_slow_lane_waiting", &[], "Evaluations that wait in the slow lane.").at_zero(),
    counter("switchyard_matches_total", &[open("event_type", EVENT_TYPES_MAX)], "Matches: deliveries created."),
    histogram("switchyard_fanout", &[], "Deliveries of one event."),
    // Delivery.
    counter(
        "switchyard_deliveries_total",
        &[closed("outcome", &["delivered", "dead", "dropped_by_policy", "removed"]), closed("lane", LANES)],
        "Deliveries completed, by outcome.",
    ),
    counter(
        "switchyard_delivery_attempts_total",
        &[closed("target", TARGETS), closed("class", CLASSES), tied("blame", BLAMES)],
        "Attempts by outcome class and responsible party.",
    ),
    histogram("switchyard_delivery_attempt_seconds", &[closed("target", TARGETS)], "Duration of attempts.")
        .in_seconds(),
    histogram("switchyard_delivery_phase_seconds", &[closed("phase", &["queue"])], "Time of a delivery by phase.")
        .in_seconds(),
    histogram(
        "switchyard_delivery_end_to_end_seconds",
        &[closed("lane", LANES)],
        "From the match of an event to its handler's acceptance.",
    )
    .in_seconds(),
    histogram("switchyard_delivery_attempt_number", &[], "Number of the attempt that succeeded."),
    gauge("switchyard_deliveries_inflight", &[closed("target", TARGETS)], "Attempts running now."),
    gauge("switchyard_deliveries_pending", &[closed("lane", &["live"])], "Deliveries waiting in memory for a permit."),
    gauge(
        "switchyard_delivery_permits",
        &[closed("state", &["limit", "running", "slow"])],
        "Permits for attempts: how many there are, are in use, and are used by slow attempts.",
    ),
    counter(
        "switchyard_delivery_shares_exceeded_total",
        &[closed("share", &["endpoint", "app", "event"])],
        "Deliveries parked at once because this share of the waiting places was used up.",
    ),
    gauge(
        "switchyard_delivery_sockets",
        &[closed("state", &["limit", "open", "idle"])],
        "Sockets to handlers: how many there may be, are open, and are idle.",
    ),
    counter(
        "switchyard_delivery_sockets_evicted_total",
        &[],
        "Idle connections to handlers that were closed to make room for others.",
    ),
    counter(
        "switchyard_local_failures_total",
        &[closed("reason", &["descriptors", "ports", "buffers"])],
        "Attempts not made for lack of descriptors, ports or buffers on this machine.",
    ),
    gauge("switchyard_endpoint_breakers", &[closed("state", &["closed", "half_open", "open"])], "Endpoints by circuit breaker state."),
    gauge("switchyard_deliveries_parked", &[], "Deliveries waiting in the parking stream."),
    counter(
        "switchyard_parkings_total",
        &[closed("reason", &["backoff", "full", "late", "breaker", "paused", "router", "unreadable", "evaluation", "redrive", "replay"])],
        "Deliveries published to the parking stream.",
    ),
    counter(
        "switchyard_retries_scheduled_total",
        &[closed("class", CLASSES)],
        "Retries by outcome class of the attempt before.",
    ),
    counter(
        "switchyard_retry_after_honoured_total",
        &[],
        "Retry delays that are exactly what the handler requested.",
    ),
    counter(
        "switchyard_delivery_blocked_total",
        &[closed("rule", &["scheme", "userinfo", "fragment", "port", "host", "private_name", "literal", "private_address", "metadata", "own"])],
        "Addresses that outbound rules refused.",
    ),
    counter(
        "switchyard_http_connections_total",
        &[closed("reused", &["true", "false"])],
        "Requests to handlers over a connection that was opened for them (reused = false), or that was open.",
    ),
    // Dead letters.
    counter("switchyard_dlq_total", &[closed("reason", DEAD)], "Dead letters written."),
    gauge("switchyard_dlq_messages", &[], "Dead letters kept."),
    counter(
        "switchyard_dlq_redriven_total",
        &[closed("result", &["delivered", "dead", "dropped", "published", "skipped"])],
        "Dead letters redriven, by what became of them.",
    ),
    counter(
        "switchyard_replay_deliveries_total",
        &[closed("result", &["delivered", "dead", "dropped"])],
        "Deliveries that replays handed over, by what became of them.",
    ),
    gauge(
        "switchyard_job_progress_age_seconds",
        &[closed("kind", &["redrive", "replay", "erase"])],
        "Age of the last progress of the running job of a kind that made none for longest; 0 if none runs.",
    )
    .in_seconds(),
    // Delivery log.
    counter(
        "switchyard_log_records_total",
        &[closed("result", &["ok", "failed"])],
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
    ).at_zero(),
    gauge("switchyard_listeners", &[], "Listening clients (`switchyard listen`) that are connected to this replica.")
        .at_zero(),
    counter(
        "switchyard_bodies_removed_total",
        &[closed("reason", &["erased", "retention"])],
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
        &[closed("policy", &["subscription_removed", "share_exceeded", "target_failed"])],
        "Deliveries and dead letters dropped by a policy.",
    ),
    counter(
        "switchyard_share_refusals_total",
        &[closed("pool", POOLS), closed("level", &["endpoint", "installation", "app", "total"])],
        "Messages refused because a share of a stream is used up, by the level of the bound.",
    ),
    gauge(
        "switchyard_share_used_ratio",
        &[closed("pool", POOLS)],
        "Part of the capacity in use, the larger of messages and bytes.",
    ),
    gauge(
        "switchyard_parked_unattributed",
        &[],
        "Parked deliveries that no owner is known for, or negative: too many are attributed.",
    ),
    counter(
        "switchyard_parked_recounts_total",
        &[closed("reason", &["start", "drift"]), closed("result", &["ok", "failed"])],
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
        &[closed("check", CHECKS)],
        "1 while a check of the broker fails; /healthz/ready names it.",
    ),
    counter(
        "switchyard_streams_recreated_total",
        &[closed("stream", &["stream_events", "stream_parked", "stream_dlq", "stream_repeats", "stream_log", "bucket_registry", "bucket_state"])],
        "Streams that were deleted while a router ran and were created again, empty.",
    ),
    counter(
        "switchyard_config_reloads_total",
        &[closed("result", &["ok", "error"])],
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
        &[closed("stream", PUBLISHED)],
        "From a publish to the broker's confirmation; for the delivery log, with the wait for its group.",
    )
    .in_seconds(),
    gauge(
        "switchyard_broker_publish_blocked",
        &[closed("stream", &["parked", "dlq", "log"])],
        "1 while publishes to the stream wait because the broker does not store them.",
    ).at_zero(),
    counter(
        "switchyard_broker_publish_failures_total",
        &[closed("stream", PUBLISHED), closed("reason", &["timeout", "too_large", "no_space", "other"])],
        "Publishes without a confirmation.",
    ),
    gauge(
        "switchyard_stream_config_newer",
        &[closed("stream", &["state", "events", "parked", "dlq", "repeats", "revisions", "log", "log_index", "audit", "sessions", "registry"])],
        "1 while a newer release has configured the stream; this replica does not update it.",
    ).at_zero(),
    counter(
        "switchyard_stream_config_restored_total",
        &[],
        "Configurations of the event stream restored after an older release replaced them.",
    ),
    // Traces.
    counter("switchyard_trace_spans_exported_total", &[], "Spans that the collector took."),
    counter(
        "switchyard_trace_spans_dropped_total",
        &[closed("reason", &["limit", "queue", "export", "rejected"])],
        "Spans that the collector did not get: beyond a limit, the queue was full, the collector failed or rejected them.",
    ),
    // Process.
    gauge("switchyard_build_info", &[open("version", 1)], "Constant 1; the label is the version."),
];

/// Owners of dropped dead letters with a series of their own.
pub const OWNERS_MAX: usize = 20;
/// Most subscriptions with series of their own, with the default of `metrics.subscriptions`.
const SUBSCRIPTIONS_MAX: usize = 60;
/// Endpoints with an open breaker that have a series of their own.
pub const OPEN_BREAKERS_MAX: usize = 100;
/// Sites with a series of their own.
pub const SITES_MAX: usize = 50;

/// Labels of the subscription families.
const SUBSCRIPTION: Labels =
    &[open("app", 1), open("installation", 1), open("key", SUBSCRIPTIONS_MAX)];

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
    counter(
        "switchyard_subscription_parked_total",
        SUBSCRIPTION,
        "Times that deliveries were parked, without those of redrives and replays.",
    ),
    counter(
        "switchyard_subscription_resumed_total",
        SUBSCRIPTION,
        "Times that parked deliveries were due; by so many less than were parked, deliveries wait.",
    ),
    counter(
        "switchyard_subscription_over_share_total",
        SUBSCRIPTION,
        "Deliveries parked at once because a share of the waiting places was used up.",
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
    &[open("app", 1), open("installation", OWNERS_MAX + 1)],
    "Dead letters dropped because their owner used up its share.",
)];

/// The family of single endpoints, for those whose breaker is open.
pub const ENDPOINT_FAMILIES: &[MetricFamily] = &[gauge(
    "switchyard_endpoint_breaker_open",
    &[
        open("app", 1),
        open("installation", 1),
        open("endpoint", OPEN_BREAKERS_MAX),
        tied("scope", &["endpoint", "app", "host"]),
        tied("cause", CLASSES),
    ],
    "1 while a circuit breaker stops attempts at the endpoint: its own, that of its app at the host, or that of the host; with the class of the failure that opened it. At most 100 endpoints, those that are open for longest.",
)];

/// The family of single sites, for those with most events.
pub const SITE_EVENT_FAMILIES: &[MetricFamily] = &[counter(
    "switchyard_site_events_total",
    &[open("site", SITES_MAX)],
    "Events of types with subscriptions, for the 50 sites with most.",
)];

/// Families of single sites, for the bounded set with most refusals.
pub const SITE_FAMILIES: &[MetricFamily] = &[counter(
    "switchyard_ingest_refused_total",
    &[open("site", SITES_MAX + 1), tied("reason", REFUSALS)],
    "Webhooks refused, by site and reason; `other` has those of sites without an installation.",
)];
