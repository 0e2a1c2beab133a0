//! Answers that come as lines of progress with the result as the last line.

use std::time::Duration;

use serde_json::Value;

use super::client::{ApiClient, ErrorStatus};
use super::progress::Progress;
use crate::clock;

/// Part of the work after which its pace says when it ends.
const FRACTION_MIN: f64 = 0.02;

/// Requests `path`, with a body if there is one, and returns the member `name` of the last line. On a terminal, shows on
/// standard error what `describe` makes of each line of progress, and in how long the work ends.
///
/// # Errors
/// The router does not answer, rejects the request, or ends its answer early.
pub(super) async fn fetch(
    client: &ApiClient,
    (path, body): (&str, Option<&Value>),
    name: &str,
    describe: impl Fn(&Value) -> String,
) -> anyhow::Result<Value> {
    let started = clock::tick();
    let (mut result, mut refused) = (Value::Null, None);
    let mut shown = Progress::new();
    let read = client
        .lines(path, body, |mut line| {
            if let Some(progress) = line.get("progress") {
                let fraction = fraction(progress);
                let known = progress.get("remainingSeconds").and_then(Value::as_f64);
                let known = known.and_then(|left| Duration::try_from_secs_f64(left).ok());
                let left_s = known
                    .map(|left| left.as_secs())
                    .or_else(|| left_s(fraction, clock::since(started)));
                shown.show(fraction, left_s, &describe(progress));
            }
            if let Some(found) = line.get_mut(name) {
                result = found.take();
            }
            if let Some(error) = line.get("error") {
                let status = line.get("status").and_then(Value::as_u64);
                let status = status.and_then(|status| u16::try_from(status).ok());
                refused = Some(ErrorStatus::late(status.unwrap_or(500), error));
            }
        })
        .await;
    drop(shown);
    read?;
    match (refused, result) {
        (Some(error), _) => Err(error.into()),
        (None, Value::Null) => anyhow::bail!("the router ended its answer early"),
        (None, result) => Ok(result),
    }
}

/// Returns how far the work is: what was done among that and what is left; none if that is not known.
fn fraction(progress: &Value) -> Option<f64> {
    let number = |name: &str| progress.get(name).and_then(Value::as_f64);
    if let Some(total) = number("of").filter(|total| *total > 0.0) {
        return Some(number("events")? / total);
    }
    let (done, left) = (number("records").or(number("events"))?, number("left")?);
    (done + left > 0.0).then(|| done / (done + left))
}

/// Returns in how many seconds the work ends at the pace so far; none at its beginning.
fn left_s(fraction: Option<f64>, elapsed: Duration) -> Option<u64> {
    let fraction = fraction.filter(|fraction| *fraction > FRACTION_MIN && *fraction <= 1.0)?;
    let left = elapsed.as_secs_f64() * (1.0 - fraction) / fraction;
    Duration::try_from_secs_f64(left).ok().map(|left| left.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn time_left_follows_from_the_pace_so_far() {
        let second = Duration::from_secs(10);
        let half = fraction(&json!({"records": 5, "left": 5}));
        assert_eq!((half, left_s(half, second)), (Some(0.5), Some(10)));
        let fifth = fraction(&json!({"events": 2, "of": 10}));
        assert_eq!((fifth, left_s(fifth, second)), (Some(0.2), Some(40)));
        assert_eq!(fraction(&json!({"records": 5})), None);
        assert_eq!(left_s(Some(0.0), second), None);
        assert_eq!(left_s(None, second), None);
    }
}
