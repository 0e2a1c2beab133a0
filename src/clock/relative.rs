//! Times as people say them: how long ago, or in how long.

use jiff::Timestamp;

/// Units with their seconds, the longest first.
const UNITS: [(&str, i64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

/// Returns how long ago a time in RFC 3339 was, such as `3 s ago`, or in how long it is; `never` without one.
#[must_use]
pub fn relative(time: Option<&str>, now: Timestamp) -> String {
    let Some(time) = time.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "never".to_owned();
    };
    let seconds = now.duration_since(time).as_secs();
    if seconds >= 0 {
        format!("{} ago", in_largest_unit(seconds))
    } else {
        format!("in {}", in_largest_unit(seconds.saturating_neg()))
    }
}

/// Returns a number of seconds in its largest unit.
#[must_use]
pub fn in_largest_unit(seconds: i64) -> String {
    let (unit, of_unit) =
        UNITS.into_iter().find(|(_, of_unit)| seconds >= *of_unit).unwrap_or(("s", 1));
    format!("{} {unit}", seconds / of_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_their_largest_unit() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        for (time, said) in [
            ("2026-12-01T12:00:00Z", "0 s ago"),
            ("2026-12-01T11:59:57.5Z", "2 s ago"),
            ("2026-12-01T11:58:00Z", "2 min ago"),
            ("2026-12-01T09:00:01Z", "2 h ago"),
            ("2026-11-28T11:00:00Z", "3 d ago"),
            ("2026-12-01T12:00:30Z", "in 30 s"),
        ] {
            assert_eq!(relative(Some(time), now), said);
        }
        assert_eq!(relative(None, now), "never");
        assert_eq!(relative(Some("soon"), now), "never");
    }
}
