//! Times, numbers and lists of facts.

use maud::{Markup, html};

use crate::clock::{self, relative};

/// Shows a time as [`ago`]; nothing without one.
pub(in crate::console) fn ago_if_known(time: &str) -> Markup {
    if time.is_empty() {
        html! {}
    } else {
        ago(time)
    }
}

/// Shows a time in RFC 3339 as how long ago it was, with the time itself on hover; "never" without one.
pub(in crate::console) fn ago(time: &str) -> Markup {
    if time.is_empty() {
        return html! { span.quiet { "never" } };
    }
    html! { time datetime=(time) title=(time) { (relative(Some(time), clock::now())) } }
}

/// Returns a number with spaces between its thousands.
pub(in crate::console) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push('\u{202F}');
        }
        shown.push(digit);
    }
    shown
}

/// Returns a number of bytes in its largest unit.
pub(in crate::console) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, of_unit)| bytes >= *of_unit) {
        Some((unit, of_unit)) => {
            format!("{}.{} {unit}", bytes / of_unit, bytes % of_unit * 10 / of_unit)
        }
        None => format!("{bytes} B"),
    }
}

/// Returns a duration in milliseconds with its unit, as few digits as a reader needs.
pub(in crate::console) fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        None => String::new(),
        Some(ms) if ms >= 10_000.0 => format!("{:.0} s", ms / 1000.0),
        Some(ms) if ms >= 1000.0 => format!("{:.1} s", ms / 1000.0),
        Some(ms) if ms >= 10.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{ms:.1} ms"),
    }
}

/// Shows names with their values; those without a value are left out.
pub(in crate::console) fn facts(facts: Vec<(&str, Markup)>) -> Markup {
    html! {
        dl.facts { @for (name, value) in facts { @if !value.0.is_empty() {
            dt { (name) } dd { (value) }
        } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")]
        {
            assert_eq!(count(number).replace('\u{202F}', " "), shown);
        }
    }

    #[test]
    fn durations_have_the_digits_a_reader_needs() {
        let shown = [0.34, 9.9, 12.7, 999.0, 1_500.0, 12_000.0].map(|ms| milliseconds(Some(ms)));
        assert_eq!(shown, ["0.3 ms", "9.9 ms", "13 ms", "999 ms", "1.5 s", "12 s"]);
    }
}
