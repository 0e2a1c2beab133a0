//! All metric families. Their names and labels are a contract: dashboards and alerts use only
//! these.
//!
//! Label values come from closed sets, which the table has. Only the families of subscriptions,
//! endpoints, owners and sites have labels for what is provisioned, for a bounded number of members.
//!
//! The table of all families is `families.rs`; `deploy/check.py` reads it and checks the files under
//! `deploy/` against it.

mod families;
mod family;

use metrics::{
    Unit, counter as new_counter, describe_counter, describe_gauge, describe_histogram,
    gauge as new_gauge, histogram as new_histogram,
};

pub(super) use families::UNLISTED_MAX;
pub use families::{
    ENDPOINT_FAMILIES, FAMILIES, OPEN_BREAKERS_MAX, OWNER_FAMILIES, OWNERS_MAX,
    SITE_EVENT_FAMILIES, SITE_FAMILIES, SITES_MAX, SUBSCRIPTION_FAMILIES,
};
pub use family::{Label, LabelValues, MetricFamily, MetricKind};

/// Returns the values of a label from a closed set; empty if there is no such label.
#[must_use]
pub fn values_of(family: &str, label: &str) -> &'static [&'static str] {
    let found = all().find(|one| one.name == family);
    let label = found.and_then(|one| one.labels.iter().find(|one| one.name == label));
    match label.map(|label| label.values) {
        Some(LabelValues::Closed(values) | LabelValues::Tied(values)) => values,
        Some(LabelValues::Open(_)) | None => &[],
    }
}

/// Yields every family.
pub fn all() -> impl Iterator<Item = &'static MetricFamily> {
    FAMILIES
        .iter()
        .chain(SUBSCRIPTION_FAMILIES)
        .chain(ENDPOINT_FAMILIES)
        .chain(OWNER_FAMILIES)
        .chain(SITE_FAMILIES)
        .chain(SITE_EVENT_FAMILIES)
}

/// Registers unit and HELP text of families with the current recorder.
pub fn describe_families(families: &[MetricFamily]) {
    families.iter().for_each(describe);
}

/// Registers unit and HELP text of the process's families with the current recorder, and begins
/// their series at 0, so that the first increment is seen as one: counters and histograms of which
/// all labels have closed sets, and gauges that count what did not happen yet. Stages begin those of
/// which labels depend on each other.
pub fn describe_and_begin() {
    describe_families(FAMILIES);
    FAMILIES.iter().for_each(begin);
}

fn begin(family: &MetricFamily) {
    if !family.begins_at_zero {
        return;
    }
    let mut series: Vec<Vec<(&'static str, &'static str)>> = vec![Vec::new()];
    for label in family.labels {
        let LabelValues::Closed(values) = label.values else { return };
        let with = |known: &Vec<_>, value: &&'static str| {
            let mut labels = known.clone();
            labels.push((label.name, *value));
            labels
        };
        series = series
            .iter()
            .flat_map(|known| values.iter().map(|value| with(known, value)).collect::<Vec<_>>())
            .collect();
    }
    for labels in series {
        match family.kind {
            MetricKind::Counter => new_counter!(family.name, &labels).increment(0),
            MetricKind::Histogram => drop(new_histogram!(family.name, &labels)),
            MetricKind::Gauge => new_gauge!(family.name, &labels).set(0.0),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

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
            all().for_each(describe);
            for family in all() {
                let labels: Vec<_> = family.labels.iter().map(|label| (label.name, "x")).collect();
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

    #[test]
    fn every_counter_and_histogram_of_a_closed_set_begins_at_zero() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, describe_and_begin);
        let text = recorder.handle().render();
        for series in [
            r#"switchyard_dlq_total{reason="poison_crash"} 0"#,
            r#"switchyard_deliveries_total{outcome="removed",lane="replay"} 0"#,
            "switchyard_events_redelivered_total 0",
            "switchyard_filter_steps_count 0",
        ] {
            assert!(text.contains(&format!("{series}\n")), "{series} in\n{text}");
        }
        assert!(!text.contains("switchyard_broker_up"), "it is not known yet: {text}");
    }

    /// The value of a label that no code emits would be waited for in vain.
    #[test]
    fn every_value_of_a_closed_set_is_in_the_code() {
        fn read(folder: &std::path::Path, to: &mut String) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    read(&path, to);
                } else if !path.ends_with("names.rs") && !path.ends_with("names/families.rs") {
                    to.push_str(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        let mut code = String::new();
        read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
        for family in all() {
            assert!(code.contains(&format!("\"{}\"", family.name)), "{} is never set", family.name);
            for label in family.labels {
                for value in values_of(family.name, label.name) {
                    let text = format!("\"{value}\"");
                    assert!(
                        code.contains(&text),
                        "{}: nothing sets {}={text}",
                        family.name,
                        label.name
                    );
                }
            }
        }
    }
}
