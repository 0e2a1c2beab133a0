//! What may help if nothing was found, and what an answer lacks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::find::Found;
use super::refusals;
use super::request::{Asked, EventsAsked};
use crate::api::error::ApiError;
use crate::api::json::rfc3339;
use crate::api::state::Shared;
use crate::domain::{CloudId, Product};
use crate::event::UnreadableEvent;
use crate::recovery::explain::{Deadline, EventSearch, SearchReport, find_events};

/// How long other sites are searched.
const SEARCH_MAX: Duration = Duration::from_secs(5);
/// Events of other sites that are looked at.
const EVENTS_MAX: usize = 1_000;
/// Other sites that are named.
const SITES_MAX: usize = 3;
/// Unreadable events that are named.
const UNREADABLE_MAX: usize = 3;
/// Where unreadable events are. One that nothing subscribes to is passed without being read.
const LETTERS: &str =
    "it is dead-lettered if a subscription could receive it, see `switchyard dlq ls`";

/// Returns hints about the events that were found, or not.
pub(super) async fn of_events(
    state: &Shared,
    asked: &Asked,
    found: &Found,
) -> Result<Vec<String>, ApiError> {
    let mut hints = Vec::new();
    let bounds = &found.bounds;
    let begins = bounds.first_ms.and_then(rfc3339);
    if let EventsAsked::Sequence(sequence) = asked.events
        && found.events.is_empty()
        && found.unreadable.is_empty()
    {
        hints.push(match (asked.asker.is_operator(), &asked.site) {
            (false, Some(site)) => format!("no event of site {site} has sequence {sequence}"),
            _ => format!(
                "no event with sequence {sequence} is stored: the retained stream has {} to {}",
                bounds.first, bounds.last
            ),
        });
    }
    hints.extend(unreadable(asked, &found.unreadable));
    let (Some(search), Some(site)) = (&found.search, &asked.site) else { return Ok(hints) };
    if search.matched == 0 {
        hints.push(nothing(asked, search, site));
        // About other events and other sites, and what the site does.
        if asked.asker.is_operator() {
            if !has_installation(state, site) {
                hints.push(format!("no installation is at site {site}"));
            }
            hints.extend(refusals::of_site(state, site, asked.since_ms, bounds).await);
            hints.extend(elsewhere(state, asked, site).await?);
        }
    }
    let kept = found.events.len() as u64;
    if kept > 0 && search.matched > kept {
        hints.push(match asked.asker.is_operator() {
            true => format!("{} events fit; the newest {kept} are explained", search.matched),
            false => format!("more events fit; the newest {kept} are explained"),
        });
    }
    if search.unreadable > 0 {
        hints.push(match asked.asker.is_operator() {
            true => format!(
                "{} events cannot be read, so they may be among those that are asked about; {LETTERS}",
                search.unreadable
            ),
            false => "some events cannot be read".to_owned(),
        });
    }
    if let Some(until) = search.cut_at_ms.and_then(rfc3339) {
        hints.push(format!("searched until {until} only: give a later `since`"));
    }
    let is_before = bounds.first > 1 && bounds.first_ms.is_some_and(|ms| asked.since_ms < ms);
    if let Some(begins) = begins.filter(|_| is_before) {
        hints.push(match asked.asker.is_operator() {
            true => format!("the retained stream begins at {begins}"),
            false => "events of a part of this time are not stored any more".to_owned(),
        });
    }
    Ok(hints)
}

/// Says which of the events that are asked about cannot be read, and why.
fn unreadable(asked: &Asked, events: &[UnreadableEvent]) -> Vec<String> {
    let is_operator = asked.asker.is_operator();
    let named = events.iter().rev().take(UNREADABLE_MAX).map(|one| {
        let (sequence, reason) = (one.sequence, &one.reason);
        match is_operator {
            true => format!("event {sequence} is stored but cannot be read ({reason}); {LETTERS}"),
            false => format!("an event is stored but cannot be read ({reason})"),
        }
    });
    let mut hints: Vec<String> = named.collect();
    let others = events.len().saturating_sub(UNREADABLE_MAX);
    if others > 0 {
        hints.push(format!("{others} more such events cannot be read"));
    }
    hints
}

fn nothing(asked: &Asked, search: &SearchReport, site: &CloudId) -> String {
    let since = match asked.since_ms {
        0 => String::new(),
        ms => rfc3339(ms).map(|since| format!(" since {since}")).unwrap_or_default(),
    };
    let what = match &asked.events {
        EventsAsked::Entity(Some(entity)) => format!("no event for {entity}"),
        EventsAsked::Id(id) => format!("no event with the id {id}"),
        _ => "no event".to_owned(),
    };
    let mut text = format!("{what} on site {site}{since}");
    if search.read > 0 && asked.asker.is_operator() {
        let events = if search.read == 1 { "event" } else { "events" };
        text.push_str(&format!("; the site has {} other {events} in this time", search.read));
        let entities: Vec<&str> = search.other_entities.iter().map(|one| &**one).collect();
        if !entities.is_empty() {
            text.push_str(&format!(", such as for {}", entities.join(", ")));
        }
    }
    text
}

/// Whether a site has an installation, or may have one that cannot be read.
fn has_installation(state: &Shared, site: &CloudId) -> bool {
    Product::ALL.into_iter().any(|product| state.registry.is_provisioned(product, site))
}

/// Says which other sites have such events, those without an installation included.
async fn elsewhere(state: &Shared, asked: &Asked, site: &CloudId) -> Result<Vec<String>, ApiError> {
    let (entity, event) = match &asked.events {
        EventsAsked::Id(id) => (None, Some(id.clone())),
        EventsAsked::Entity(entity) => (entity.clone(), None),
        EventsAsked::Sequence(_) => return Ok(Vec::new()),
    };
    let search = EventSearch {
        entity,
        event,
        from_ms: asked.since_ms,
        keep: EVENTS_MAX,
        ..Default::default()
    };
    let source = (&*state.recovery.replay.streams, &state.recovery.replay.reader);
    let report = find_events(source, search, Deadline::after(SEARCH_MAX), &|_| {}).await?;
    Ok(other_sites(&report, site, |other| has_installation(state, other)))
}

/// Says what a search of all sites found at others than `site`.
fn other_sites(
    report: &SearchReport,
    site: &CloudId,
    has_installation: impl Fn(&CloudId) -> bool,
) -> Vec<String> {
    // By site: how many, and the last one.
    let mut sites: BTreeMap<&CloudId, (u64, i64)> = BTreeMap::new();
    for one in report.found.iter().filter(|one| one.site != *site) {
        let (count, last_ms) = sites.entry(&one.site).or_default();
        *count += 1;
        *last_ms = one.stored_ms.max(*last_ms);
    }
    let mut sites: Vec<_> = sites.into_iter().collect();
    sites.sort_by_key(|(_, (_, last_ms))| std::cmp::Reverse(*last_ms));
    let others = sites.len().saturating_sub(SITES_MAX);
    // The newest events are kept, so that of the others neither the number nor the sites are known.
    let is_cut = report.cut_at_ms.is_some() || report.matched > report.found.len() as u64;
    let at_least = if is_cut { "at least " } else { "" };
    let mut hints: Vec<String> = sites
        .into_iter()
        .take(SITES_MAX)
        .map(|(other, (count, last_ms))| {
            let last = rfc3339(last_ms).unwrap_or_default();
            let unknown = if has_installation(other) { "" } else { "; no installation is there" };
            match count {
                1 if !is_cut => format!("site {other} had one at {last}{unknown}"),
                _ => format!("site {other} had {at_least}{count}, the last at {last}{unknown}"),
            }
        })
        .collect();
    if others > 0 {
        hints.push(format!("{at_least}{others} more sites had such events"));
    }
    if let Some(until) = report.cut_at_ms.and_then(rfc3339) {
        hints.push(format!("other sites were searched until {until} only"));
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::explain::FoundEvent;

    #[test]
    fn search_of_other_sites_that_was_cut_gives_least_numbers() {
        let one = |site: &str| FoundEvent { sequence: 1, stored_ms: 1_000, site: site.into() };
        let mut report = SearchReport {
            found: [one("a"), one("b"), one("b"), one("own")].into(),
            matched: 4,
            ..SearchReport::default()
        };
        let said = |report: &SearchReport| {
            other_sites(report, &"own".into(), |site| site.as_str() == "a").join("\n")
        };
        let at = "1970-01-01T00:00:01Z";
        let all = said(&report);
        assert!(all.contains(&format!("site a had one at {at}")), "{all}");
        assert!(
            all.contains(&format!("site b had 2, the last at {at}; no installation is there")),
            "{all}"
        );
        report.matched = 5;
        let cut = said(&report);
        assert!(
            cut.contains("site a had at least 1, ") && cut.contains("b had at least 2, "),
            "{cut}"
        );
        assert!(!cut.contains("searched"), "{cut}");
        report = SearchReport { cut_at_ms: Some(1_000), ..SearchReport::default() };
        assert_eq!(said(&report), format!("other sites were searched until {at} only"));
    }
}
