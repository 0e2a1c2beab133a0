//! Signatures of deliveries by Standard Webhooks, and which part of one is wrong.

use super::request::{Headers, Wrong, wrong};
use crate::cli::exit::UsageError;
use crate::delivery::sign;
use crate::domain::Secret;

/// The headers of a signature, by Standard Webhooks.
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";
/// Version of symmetric signatures.
const VERSION: &str = "v1,";
/// Most signatures of a header that are compared.
const SIGNATURES_MAX: usize = 20;

/// Checks the signature of a request at `now_s`, not older than the tolerance.
pub(super) fn check(
    secret: &Secret,
    headers: &Headers<'_>,
    body: &[u8],
    (now_s, tolerance_s): (i64, Option<u64>),
) -> anyhow::Result<Result<(), Wrong>> {
    let (id, timestamp, signature) = match signed_parts(headers) {
        Ok(parts) => parts,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let Ok(time_s) = timestamp.parse::<i64>() else {
        let help = "it is the number of seconds since 1970, not milliseconds and no date";
        return Ok(Err(wrong(TIMESTAMP, format!("`{timestamp}` is no number"), help)));
    };
    let given: Vec<&str> = signature.split_whitespace().take(SIGNATURES_MAX).collect();
    let given: Vec<&str> = given.into_iter().filter(|one| one.starts_with(VERSION)).collect();
    if given.is_empty() {
        let help = "it is `v1,` and the base64 of the signature; several are separated by spaces";
        return Ok(Err(wrong(SIGNATURE, "it has no signature of version 1", help)));
    }
    let signed = |secret: &Secret, id: &str, time_s: i64, body: &[u8]| {
        sign(secret, id, time_s, body).map_err(|error| UsageError(error.to_string()))
    };
    let is_given = |signature: String| given.contains(&signature.as_str());
    if !is_given(signed(secret, &id, time_s, body)?) {
        return Ok(Err(mismatch(secret, (&id, time_s), body, &is_given)));
    }
    let age_s = now_s.abs_diff(time_s);
    if tolerance_s.is_some_and(|tolerance_s| age_s > tolerance_s) {
        let side = if time_s > now_s { "in the future" } else { "old" };
        let message = format!("the signature fits, and is {age_s} s {side}");
        let help = "receivers refuse it: check the clock of this machine, or give --any-age for a recorded request";
        return Ok(Err(wrong(TIMESTAMP, message, help)));
    }
    Ok(Ok(()))
}

/// Returns id, timestamp and signature of the headers.
fn signed_parts(headers: &Headers<'_>) -> Result<(String, String, String), Wrong> {
    Ok((headers.required(ID)?, headers.required(TIMESTAMP)?, headers.required(SIGNATURE)?))
}

/// Finds out why no signature fits, by what receivers often do with a body.
fn mismatch(
    secret: &Secret,
    (id, time_s): (&str, i64),
    body: &[u8],
    is_given: &dyn Fn(String) -> bool,
) -> Wrong {
    let fits = |body: &[u8]| sign(secret, id, time_s, body).is_ok_and(is_given);
    let without_end = body.trim_ascii_end();
    if without_end.len() < body.len() && fits(without_end) {
        let help =
            "the file ends with a line break that the request did not have: write it without one";
        return wrong("body", "it has an additional line break at its end", help);
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body)
        && fits(value.to_string().as_bytes())
    {
        let help =
            "check the bytes as they were received, before they are parsed and written again";
        return wrong("body", "it was formatted again after it was received", help);
    }
    let help = "the secret is of another endpoint or was rotated, or the body is not the one that was received: \
        `GET /admin/v1/apps/{id}` shows the endpoints, and a rotated secret is valid for a day";
    wrong(SIGNATURE, "it does not fit this secret, id, timestamp and body", help)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const TIME_S: i64 = 1_614_265_330;
    const HEADERS: &str = "HTTP/1.1 200 OK\nWebhook-Id: msg_p5jXN8AQM9LWM0D4loKWxJek\n\
        webhook-timestamp: 1614265330\n\
        Webhook-Signature: v1,other v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\n";
    const BODY: &str = r#"{"test": 2432232314}"#;

    fn part(secret: &str, headers: &str, body: &str, now_s: i64) -> Option<&'static str> {
        let found =
            check(&Secret::new(secret), &Headers(headers), body.as_bytes(), (now_s, Some(300)));
        found.unwrap().err().map(|wrong| {
            assert!(!wrong.help.is_empty());
            wrong.part
        })
    }

    #[test]
    fn valid_signature_is_accepted_among_several() {
        assert_eq!(part(SECRET, HEADERS, BODY, TIME_S + 10), None);
        let recorded = check(&Secret::new(SECRET), &Headers(HEADERS), BODY.as_bytes(), (0, None));
        assert_eq!(recorded.unwrap(), Ok(()));
    }

    #[test]
    fn the_wrong_part_is_named() {
        let now_s = TIME_S + 10;
        assert_eq!(part(OTHER, HEADERS, BODY, now_s), Some(SIGNATURE));
        assert_eq!(part(SECRET, HEADERS, "{}", now_s), Some(SIGNATURE));
        assert_eq!(part(SECRET, HEADERS, BODY, now_s + 1_000), Some(TIMESTAMP));
        assert_eq!(part(SECRET, HEADERS, &format!("{BODY}\n"), now_s), Some("body"));
        for (name, missing) in
            [("Webhook-Id", ID), ("webhook-timestamp", TIMESTAMP), ("Webhook-Signature", SIGNATURE)]
        {
            let without = HEADERS.replace(name, "x");
            assert_eq!(part(SECRET, &without, BODY, now_s), Some(missing));
        }
        let not_a_time = HEADERS.replace("1614265330", "2021-02-25");
        assert_eq!(part(SECRET, &not_a_time, BODY, now_s), Some(TIMESTAMP));
        let asymmetric = HEADERS.replace("v1,", "v1a,");
        assert_eq!(part(SECRET, &asymmetric, BODY, now_s), Some(SIGNATURE));
    }

    #[test]
    fn body_that_was_written_again_is_recognised() {
        let compact = r#"{"a":1,"b":[2]}"#;
        let signature = sign(&Secret::new(SECRET), "i", TIME_S, compact.as_bytes()).unwrap();
        let headers = format!("{ID}: i\n{TIMESTAMP}: {TIME_S}\n{SIGNATURE}: {signature}\n");
        let formatted = "{\n  \"a\": 1,\n  \"b\": [2]\n}";
        let found =
            check(&Secret::new(SECRET), &Headers(&headers), formatted.as_bytes(), (TIME_S, None));
        let wrong = found.unwrap().unwrap_err();
        assert!(wrong.message.contains("formatted again"), "{wrong:?}");
    }

    #[test]
    fn text_that_is_no_secret_is_a_usage_error() {
        let found = check(&Secret::new("whsec_!"), &Headers(HEADERS), b"", (TIME_S, None));
        assert!(found.unwrap_err().is::<UsageError>());
    }
}
