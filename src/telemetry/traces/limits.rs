//! Which spans are recorded: sampling, and limits per second on what is.
//!
//! The publisher of an event may ask for its trace, or say that there is none. It cannot ask for more than
//! the limits allow: of all spans, and of those of one site.

use std::hash::{BuildHasher, RandomState};
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::domain::TraceContext;

/// Counters of sites. Two sites that share one share a limit.
const SITE_SLOTS: usize = 1024;

/// What an operator allows.
#[derive(Clone, Copy, Debug)]
pub struct SpanLimits {
    /// Part of the events without a trace of their publisher that are recorded, 0.0 to 1.0.
    pub sample: f64,
    /// Spans recorded per second.
    pub spans_per_second: u32,
    /// Those of one site.
    pub site_spans_per_second: u32,
}

/// Decides which spans are recorded.
#[derive(Debug)]
pub(super) struct Sampler {
    limits: SpanLimits,
    random: RandomState,
    drawn: AtomicU64,
    all: SpansOfSecond,
    sites: Box<[SpansOfSecond]>,
}

/// The number of spans in the current second. The upper half has the second, the lower one the number.
#[derive(Debug, Default)]
struct SpansOfSecond(AtomicU64);

impl Sampler {
    pub(super) fn new(limits: SpanLimits) -> Self {
        let sites = std::iter::repeat_with(SpansOfSecond::default).take(SITE_SLOTS).collect();
        let (random, drawn) = (RandomState::new(), AtomicU64::new(0));
        Self { limits, random, drawn, all: SpansOfSecond::default(), sites }
    }

    /// Whether an event is to be recorded, if the limits allow it: as its publisher decided, else at
    /// random.
    pub(super) fn samples(&self, publisher: Option<TraceContext>) -> bool {
        match publisher {
            Some(context) => context.is_sampled(),
            None if self.limits.sample >= 1.0 => true,
            None => self.unit() < self.limits.sample,
        }
    }

    /// Takes a number of spans of a site from its limit and from that of all; returns false if either is
    /// used up.
    pub(super) fn admits(&self, site: &str, spans: u32, now_s: u32) -> bool {
        let slot = usize::try_from(self.random.hash_one(site) % SITE_SLOTS as u64).ok();
        let Some(of_site) = slot.and_then(|slot| self.sites.get(slot)) else { return false };
        of_site.take(spans, self.limits.site_spans_per_second, now_s)
            && self.all.take(spans, self.limits.spans_per_second, now_s)
    }

    /// Returns a new id of a span.
    pub(super) fn span_id(&self) -> NonZeroU64 {
        NonZeroU64::new(self.draw()).unwrap_or(NonZeroU64::MIN)
    }

    /// Returns a new id of a trace.
    pub(super) fn trace_id(&self) -> NonZeroU128 {
        let id = u128::from(self.draw()) << 64 | u128::from(self.draw());
        NonZeroU128::new(id).unwrap_or(NonZeroU128::MIN)
    }

    /// Returns a number that cannot be predicted outside the process: the keyed hash of a counter.
    fn draw(&self) -> u64 {
        self.random.hash_one(self.drawn.fetch_add(1, Relaxed))
    }

    /// Returns a number from 0.0 to 1.0.
    fn unit(&self) -> f64 {
        let high = u32::try_from(self.draw() >> 32).unwrap_or(u32::MAX);
        f64::from(high) / f64::from(u32::MAX)
    }
}

impl SpansOfSecond {
    fn take(&self, spans: u32, most: u32, now_s: u32) -> bool {
        let second = u64::from(now_s) << 32;
        let add = |used: u64| {
            // A thread that is late counts for the later second.
            let begun = used.max(second);
            let after = begun.checked_add(u64::from(spans))?;
            (after & u64::from(u32::MAX) <= u64::from(most) && after >> 32 == begun >> 32)
                .then_some(after)
        };
        self.0.fetch_update(Relaxed, Relaxed, add).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(sample: f64) -> Sampler {
        Sampler::new(SpanLimits { sample, spans_per_second: 100, site_spans_per_second: 25 })
    }

    fn publisher(flags: &str) -> Option<TraceContext> {
        let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        Some(TraceContext::parse(&text).unwrap())
    }

    #[test]
    fn publisher_decides_else_a_part_of_the_events_is_sampled() {
        for sample in [0.0, 1.0] {
            let sampler = sampler(sample);
            assert!(sampler.samples(publisher("01")));
            assert!(!sampler.samples(publisher("00")));
            assert_eq!(sampler.samples(None), sample >= 1.0);
        }
        let sampler = sampler(0.1);
        let sampled = (0..10_000).filter(|_| sampler.samples(None)).count();
        assert!((800..1200).contains(&sampled), "{sampled}");
    }

    #[test]
    fn one_site_gets_its_part_and_all_together_the_limit() {
        let sampler = sampler(1.0);
        let admitted =
            |site: &str, now_s| (0..1_000).filter(|_| sampler.admits(site, 3, now_s)).count();
        assert_eq!(admitted("flood", 7), 8, "24 of 25 spans");
        let others: usize = (0..100).map(|site| admitted(&format!("site-{site}"), 7)).sum();
        assert_eq!(others, 25, "75 of the 76 that are left");
        assert_eq!(admitted("flood", 8), 8, "the next second");
        assert_eq!(admitted("flood", 7), 0, "a thread that is late");
    }

    #[test]
    fn ids_differ() {
        let sampler = sampler(1.0);
        let ids: std::collections::HashSet<_> = (0..1_000).map(|_| sampler.span_id()).collect();
        assert_eq!(ids.len(), 1_000);
        assert_ne!(sampler.trace_id(), sampler.trace_id());
    }
}
