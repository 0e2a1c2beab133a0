//! A metric family, as the table has it.

use metrics::Unit;

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

/// A label of a family.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: LabelValues,
}

/// The values of a label.
#[derive(Clone, Copy, Debug)]
pub enum LabelValues {
    /// Exactly these, with all values of the other labels.
    Closed(&'static [&'static str]),
    /// Some of these, as the other labels say.
    Tied(&'static [&'static str]),
    /// At most so many, from what is provisioned or sent.
    Open(usize),
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
    /// Its labels; empty if the family is a single series.
    pub labels: Labels,
    /// Help text, one sentence.
    pub help: &'static str,
    /// Whether its series exist from the start on, at 0. A gauge may say 0 only if that is true.
    pub begins_at_zero: bool,
}

/// The labels of a family.
pub(super) type Labels = &'static [Label];

/// Returns a label whose values are exactly these.
pub(super) const fn closed(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values: LabelValues::Closed(values) }
}

/// Returns a label whose values depend on the other labels.
pub(super) const fn tied(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values: LabelValues::Tied(values) }
}

/// Returns a label with at most `most` values.
pub(super) const fn open(name: &'static str, most: usize) -> Label {
    Label { name, values: LabelValues::Open(most) }
}

pub(super) const fn counter(
    name: &'static str,
    labels: Labels,
    help: &'static str,
) -> MetricFamily {
    MetricFamily { name, kind: MetricKind::Counter, unit: None, labels, help, begins_at_zero: true }
}

pub(super) const fn gauge(name: &'static str, labels: Labels, help: &'static str) -> MetricFamily {
    MetricFamily { name, kind: MetricKind::Gauge, unit: None, labels, help, begins_at_zero: false }
}

pub(super) const fn histogram(
    name: &'static str,
    labels: Labels,
    help: &'static str,
) -> MetricFamily {
    MetricFamily {
        name,
        kind: MetricKind::Histogram,
        unit: None,
        labels,
        help,
        begins_at_zero: true,
    }
}

impl MetricFamily {
    /// Begins the series of a gauge at 0.
    pub(super) const fn at_zero(self) -> Self {
        Self { begins_at_zero: true, ..self }
    }

    pub(super) const fn in_seconds(self) -> Self {
        Self { unit: Some(Unit::Seconds), ..self }
    }

    pub(super) const fn in_bytes(self) -> Self {
        Self { unit: Some(Unit::Bytes), ..self }
    }
}
