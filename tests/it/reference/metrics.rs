//! `docs/reference/metrics.md`, from the table of all families.

use std::fmt::Write;

use switchyard::telemetry::names::{
    self, ENDPOINT_FAMILIES, FAMILIES, Label, LabelValues, MetricFamily, MetricKind,
    OWNER_FAMILIES, SITE_EVENT_FAMILIES, SITE_FAMILIES, SUBSCRIPTION_FAMILIES,
};

use super::plain;

const HEAD: &str = "# Metrics

Every family that `GET /metrics` may have, from the table that the router records by. A test holds this page to it,
and `make check-metrics` holds it to what a real Prometheus scrapes. A histogram has the series `_bucket`, `_sum` and `_count`.
Labels have closed sets of values, or a bound on how many there are. [The runbook](../runbook.md) says what to do about alerts on them.
";

fn label(label: &Label) -> String {
    let values = |values: &[&str]| {
        values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
    };
    match label.values {
        LabelValues::Closed(all) => format!("- `{}`: {}", label.name, values(all)),
        LabelValues::Tied(all) => {
            format!(
                "- `{}`: {}; which of them depends on the other labels",
                label.name,
                values(all)
            )
        }
        LabelValues::Open(most) => format!("- `{}`: at most {most} values", label.name),
    }
}

fn write(page: &mut String, family: &MetricFamily) {
    let kind = match family.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    let unit = family.unit.map_or(String::new(), |unit| format!(", in {}", unit.as_str()));
    let zero = if family.begins_at_zero { ", from the start on" } else { "" };
    writeln!(page, "\n### {}\n\n{}\n\n{kind}{unit}{zero}", family.name, plain(family.help))
        .expect("a text");
    if !family.labels.is_empty() {
        let labels: Vec<String> = family.labels.iter().map(label).collect();
        writeln!(page, "\n{}", labels.join("\n")).expect("a text");
    }
}

#[test]
fn reference_of_metrics_is_the_table_of_families() {
    let mut page = HEAD.to_owned();
    let sections = [
        ("The router", FAMILIES),
        ("Subscriptions", SUBSCRIPTION_FAMILIES),
        ("Endpoints", ENDPOINT_FAMILIES),
        ("Owners of shares", OWNER_FAMILIES),
        ("Sites, refused webhooks", SITE_FAMILIES),
        ("Sites, events", SITE_EVENT_FAMILIES),
    ];
    for (title, families) in sections {
        writeln!(page, "\n## {title}").expect("a text");
        families.iter().for_each(|family| write(&mut page, family));
    }
    for family in names::all() {
        assert!(page.contains(&format!("### {}\n", family.name)), "{} has a section", family.name);
    }
    super::hold("metrics", &page);
}
