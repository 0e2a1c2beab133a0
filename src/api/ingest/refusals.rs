//! Refused webhooks: counted by site and reason for a bounded number of sites, and logged with a budget
//! for each. And refused events of the event API, counted by site and code.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing::warn;

use super::recent_refusals::{RecentRefusals, RefusedEvents, RefusedSite};
use crate::api::error::ApiError;
use crate::clock;
use crate::domain::CloudId;
use crate::telemetry::{LogBudget, names};

/// Maximum number of sites with series of their own.
const NAMED_MAX: usize = 50;
/// Maximum number of sites that are counted one by one.
const COUNTED_MAX: usize = 1_000;
/// Label of the refusals without a series of their own: those of sites that were never provisioned, too.
const OTHER: &str = "other";
/// Time within which one line is logged for a site.
const SITE_LOG_WINDOW: Duration = Duration::from_secs(10);

/// Why a webhook is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum Reason {
    /// The path names no site.
    NoSite,
    /// The site has no installation.
    UnknownSite,
    /// Nothing says how webhooks of the site are authenticated.
    Closed,
    /// The signature is missing.
    NoSignature,
    /// The signature is no SHA-256 in hexadecimal digits.
    MalformedSignature,
    /// The signature does not match.
    WrongSignature,
    /// The token in the path is missing or wrong.
    WrongToken,
    /// A web page sends the webhook, which needs no secret.
    WebPage,
    /// The body is not declared as JSON.
    MediaType,
    /// The body is compressed.
    Packed,
    /// The body is too large.
    TooLarge,
    /// The body ended early, or is not read.
    Incomplete,
    /// The memory for bodies, or the part of the sender or the site, is used up.
    Busy,
    /// The event stream has no space, or the broker does not confirm.
    NotStored,
    /// The body has no bytes.
    EmptyBody,
    /// The body is not JSON, or has a number that is out of range.
    NotJson,
    /// The body is nested too deeply.
    TooDeep,
    /// The body is JSON, but not an object.
    NotAWebhook,
    /// Nothing names the webhook, or its name is too long.
    BadName,
}

impl Reason {
    const ALL: [Self; 19] = [
        Self::NoSite,
        Self::UnknownSite,
        Self::Closed,
        Self::NoSignature,
        Self::MalformedSignature,
        Self::WrongSignature,
        Self::WrongToken,
        Self::WebPage,
        Self::MediaType,
        Self::Packed,
        Self::TooLarge,
        Self::Incomplete,
        Self::Busy,
        Self::NotStored,
        Self::EmptyBody,
        Self::NotJson,
        Self::TooDeep,
        Self::NotAWebhook,
        Self::BadName,
    ];

    /// Returns the label of the reason.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoSite => "no_site",
            Self::UnknownSite => "unknown_site",
            Self::Closed => "closed",
            Self::NoSignature => "no_signature",
            Self::MalformedSignature => "malformed_signature",
            Self::WrongSignature => "wrong_signature",
            Self::WrongToken => "wrong_token",
            Self::WebPage => "web_page",
            Self::MediaType => "media_type",
            Self::Packed => "packed",
            Self::TooLarge => "too_large",
            Self::Incomplete => "incomplete",
            Self::Busy => "busy",
            Self::NotStored => "not_stored",
            Self::EmptyBody => "empty_body",
            Self::NotJson => "not_json",
            Self::TooDeep => "too_deep",
            Self::NotAWebhook => "not_a_webhook",
            Self::BadName => "bad_name",
        }
    }
}

/// Number of refusals by reason.
type ByReason = [u64; Reason::ALL.len()];

/// Refused webhooks and events by site. Of webhooks, at most 50 provisioned sites, those with most refusals, have series of
/// their own; those of others are counted together.
#[derive(Debug)]
pub struct IngestRefusals {
    counts: Mutex<Counts>,
    events: RefusedEvents,
    /// Of the sites that are not counted one by one.
    other_log: LogBudget,
}

#[derive(Debug)]
struct Counts {
    sites: HashMap<CloudId, SiteCount>,
    other: ByReason,
}

#[derive(Debug)]
struct SiteCount {
    refusals: u64,
    /// The refusals in its own series, if it has them: those since it got them. Earlier ones stay in
    /// `other`, and series that end are added there, so that each refusal counts once.
    own_series: Option<ByReason>,
    /// Those since the site last recovered.
    recent: RecentRefusals,
    log: LogBudget,
}

impl Default for IngestRefusals {
    fn default() -> Self {
        let counts = Counts { sites: HashMap::new(), other: ByReason::default() };
        let other_log = LogBudget::new(Duration::from_secs(1), 1);
        Self { counts: Mutex::new(counts), events: RefusedEvents::default(), other_log }
    }
}

impl IngestRefusals {
    /// Counts a refused webhook and logs it within the budget of its site. `is_provisioned` says
    /// whether the site has an installation: names that strangers choose get no series.
    pub(super) fn count(
        &self,
        site: &CloudId,
        is_provisioned: bool,
        reason: Reason,
        error: &ApiError,
    ) {
        let now_ms = clock::now_ms();
        let suppressed = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            match is_provisioned.then(|| counts.count(site, reason, now_ms)).flatten() {
                Some(log) => log.take(),
                None => {
                    counts.count_other(reason);
                    self.other_log.take()
                }
            }
        };
        if let Some(suppressed) = suppressed {
            let (reason, error) = (reason.as_str(), error.refusal_text());
            warn!(site = %site, reason, error, suppressed, "webhook refused");
        }
    }

    /// Returns the provisioned sites with refusals in the last 15 minutes, at most 1,000.
    #[must_use]
    pub fn refused_sites(&self) -> Vec<RefusedSite> {
        self.refused_sites_at(clock::now_ms())
    }

    fn refused_sites_at(&self, now_ms: i64) -> Vec<RefusedSite> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = counts.sites.iter().map(|(site, count)| (site, &count.recent));
        let refused = recent.filter(|(_, recent)| !recent.has_recovered(now_ms));
        refused.map(|(site, recent)| recent.view(site)).collect()
    }

    /// Counts an event of a site that the event API refused with a code.
    pub(super) fn count_event(&self, site: &CloudId, code: &'static str) {
        self.events.count(site, code);
    }

    /// Returns what of the webhooks of a site was refused last; none if nothing was, or if it is not
    /// counted one by one.
    #[must_use]
    pub fn webhooks_of(&self, site: &CloudId) -> Option<RefusedSite> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.sites.get(site).map(|count| count.recent.view(site))
    }

    /// Returns which events of a site the event API refused last, by code; none if it refused none.
    #[must_use]
    pub fn events_of(&self, site: &CloudId) -> Option<RefusedSite> {
        self.events.of(site)
    }

    /// Renders the series in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        // A new recorder, so that a site that loses its series leaves no stale ones.
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            names::describe_families(names::SITE_FAMILIES);
            let series = |site: &str, refusals: &ByReason| {
                for (reason, refused) in Reason::ALL.iter().zip(refusals) {
                    if *refused > 0 {
                        let labels =
                            [("site", site.to_owned()), ("reason", reason.as_str().into())];
                        counter!("switchyard_ingest_refused_total", &labels).absolute(*refused);
                    }
                }
            };
            for (site, count) in &counts.sites {
                if let Some(refusals) = &count.own_series {
                    series(site.as_str(), refusals);
                }
            }
            series(OTHER, &counts.other);
        });
        recorder.handle().render()
    }
}

impl Counts {
    /// Counts a refusal of a provisioned site and returns its log budget; none if there are too many
    /// sites to count this one.
    fn count(&mut self, site: &CloudId, reason: Reason, now_ms: i64) -> Option<&LogBudget> {
        if let Some(count) = self.sites.get_mut(site)
            && let Some(refusals) = &mut count.own_series
        {
            add_one(refusals, reason);
            count.refusals = count.refusals.saturating_add(1);
        } else if self.sites.len() < COUNTED_MAX || self.sites.contains_key(site) {
            self.count_unnamed(site, reason);
        }
        let count = self.sites.get_mut(site)?;
        count.recent.add(reason.as_str(), now_ms);
        Some(&count.log)
    }

    /// Counts a refusal of a site without series of its own, which it gets if it has very many.
    fn count_unnamed(&mut self, site: &CloudId, reason: Reason) {
        let named = self.sites.iter().filter(|(_, count)| count.own_series.is_some());
        let is_full = named.clone().count() >= NAMED_MAX;
        let rival = named.min_by_key(|(_, count)| count.refusals).filter(|_| is_full);
        let rival = rival.map(|(site, count)| (site.clone(), count.refusals));
        let own = self.sites.entry(site.clone()).or_insert_with(|| SiteCount {
            refusals: 0,
            own_series: None,
            recent: RecentRefusals::default(),
            log: LogBudget::new(SITE_LOG_WINDOW, 1),
        });
        own.refusals = own.refusals.saturating_add(1);
        // Twice as many: two sites of about equal rank do not replace each other.
        let outranks = |(_, most): &(CloudId, u64)| own.refusals > most.saturating_mul(2);
        if rival.as_ref().is_none_or(outranks) {
            let mut first = ByReason::default();
            add_one(&mut first, reason);
            own.own_series = Some(first);
            let rival = rival.and_then(|(site, _)| self.sites.get_mut(&site));
            let ended = rival.and_then(|count| count.own_series.take()).unwrap_or_default();
            for (other, ended) in self.other.iter_mut().zip(ended) {
                *other = other.saturating_add(ended);
            }
        } else {
            add_one(&mut self.other, reason);
        }
    }

    fn count_other(&mut self, reason: Reason) {
        add_one(&mut self.other, reason);
    }
}

fn add_one(refusals: &mut ByReason, reason: Reason) {
    if let Some(refused) = refusals.get_mut(reason as usize) {
        *refused = refused.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::recent_refusals::RECOVERED_AFTER_MS;
    use super::*;

    fn sum(text: &str) -> u64 {
        let series = text.lines().filter(|line| line.starts_with("switchyard_ingest_refused"));
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    #[test]
    fn labels_are_distinct_and_in_the_order_of_the_counts() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{}", reason.as_str());
        }
    }

    #[test]
    fn provisioned_sites_with_most_refusals_have_series_and_others_have_none() {
        let refusals = IngestRefusals::default();
        for stranger in 0..10_000 {
            let site = CloudId::from(format!("stranger-{stranger}"));
            refusals.count(&site, false, Reason::UnknownSite, &ApiError::NotFound);
        }
        for site in 0..NAMED_MAX {
            refusals.count(
                &format!("s{site}").into(),
                true,
                Reason::NoSignature,
                &ApiError::NotFound,
            );
        }
        for _ in 0..3 {
            refusals.count(&"busy".into(), true, Reason::WrongSignature, &ApiError::NotFound);
        }
        let text = refusals.render();
        // The third refusal of the busy site is the first in its own series.
        let busy = r#"{site="busy",reason="wrong_signature"} 1"#;
        assert!(text.contains(busy), "{text}");
        assert!(text.contains(r#"{site="other",reason="wrong_signature"} 2"#), "{text}");
        assert!(text.contains(r#"{site="other",reason="unknown_site"} 10000"#), "{text}");
        assert!(!text.contains("stranger"), "{text}");
        let named = text.lines().filter(|line| line.contains("{site=") && !line.contains("other"));
        assert_eq!(named.count(), NAMED_MAX, "{text}");
        assert_eq!(sum(&text), 10_000 + NAMED_MAX as u64 + 3, "each refusal counts once: {text}");
    }

    #[test]
    fn a_site_is_listed_until_it_had_no_refusal_for_a_while() {
        let refusals = IngestRefusals::default();
        let count = |reason, now_ms| {
            let mut counts = refusals.counts.lock().unwrap();
            counts.count(&"s".into(), reason, now_ms);
        };
        let start_ms = 1_000_000_000_000;
        for after_ms in [0, RECOVERED_AFTER_MS] {
            count(Reason::WrongSignature, start_ms + after_ms);
        }
        count(Reason::Closed, start_ms + RECOVERED_AFTER_MS);
        let last_ms = start_ms + RECOVERED_AFTER_MS;
        let listed = RefusedSite {
            site: "s".into(),
            since_ms: start_ms,
            last_ms,
            reasons: vec![("closed", 1), ("wrong_signature", 2)],
        };
        assert_eq!(refusals.refused_sites_at(last_ms + RECOVERED_AFTER_MS), [listed]);
        let later_ms = last_ms + RECOVERED_AFTER_MS + 1;
        assert_eq!(refusals.refused_sites_at(later_ms), []);
        count(Reason::Closed, later_ms);
        let found = refusals.refused_sites_at(later_ms);
        assert_eq!((found[0].since_ms, &*found[0].reasons), (later_ms, &[("closed", 1)][..]));
    }

    #[test]
    fn number_of_counted_sites_is_bounded() {
        let refusals = IngestRefusals::default();
        for site in 0..COUNTED_MAX + 5 {
            refusals.count(&format!("s{site}").into(), true, Reason::Closed, &ApiError::NotFound);
        }
        assert_eq!(refusals.counts.lock().unwrap().sites.len(), COUNTED_MAX);
        assert_eq!(sum(&refusals.render()), COUNTED_MAX as u64 + 5);
    }
}
