//! Bytes to matches, on one thread and without a broker.

use std::hint::black_box;

use serde::de::IgnoredAny;
use switchyard::event::{Attributes, Decoder, Envelope, HeaderLookup};
use switchyard::matcher::Scratch;
use switchyard_expr::{Tape, TapeLimits};

use crate::corpus;
use crate::report::{Contest, Report, Stopwatch};

/// Passes over the bodies in one round.
const PASSES: usize = 500;

/// The headers of an event.
struct Sent(Envelope);

impl HeaderLookup for Sent {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "ce-id" => Some(self.0.event_id.as_str()),
            "ce-type" => Some(self.0.event_type.as_str()),
            "ce-cloudid" => Some(self.0.cloud_id.as_str()),
            "content-type" => Some("application/json"),
            "ce-time" => Some("2026-01-01T00:00:00Z"),
            "ce-subject" => self.0.entity.as_deref(),
            _ => None,
        }
    }
}

/// Measures both contests of this part: the whole match, and the tape alone.
pub(crate) fn measure(rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let bodies = corpus::bodies();
    let matcher = corpus::matcher_that_matches_nothing()?;
    let mut decoder = Decoder::new(1 << 20, false);
    let (mut scratch, mut tape) = (Scratch::default(), Tape::new());
    let limits = TapeLimits::default();
    let sent = Sent(corpus::envelope(1));
    let mut whole =
        Contest::new("match", "events/s", "IgnoredAny", "decode + match, 1,000 filters");
    let mut parse = Contest::new("tape", "events/s", "IgnoredAny", "tape");
    let events = PASSES * bodies.len();
    let pass = |body: &mut dyn FnMut(&bytes::Bytes) -> anyhow::Result<()>| {
        let watch = Stopwatch::start();
        for body_at in (0..PASSES).flat_map(|_| &bodies) {
            body(body_at)?;
        }
        anyhow::Ok(watch.stop())
    };
    for _ in 0..rounds {
        let bare =
            pass(&mut |body| Ok(_ = black_box(serde_json::from_slice::<IgnoredAny>(body)?)))?;
        let taped = pass(&mut |body| Ok(black_box(&mut tape).parse(body, &limits)?))?;
        let matched = pass(&mut |body| {
            let attributes = Attributes::from_headers(&sent)?;
            let event = decoder.decode_if_subscribed(attributes, body.clone(), 1, |_| true)?;
            black_box(matcher.matches(event.routing_key(), &decoder, &mut scratch));
            Ok(())
        })?;
        parse.round(events, bare, taped);
        whole.round(events, bare, matched);
    }
    report.add(parse);
    report.add(whole);
    Ok(())
}
