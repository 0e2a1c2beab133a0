//! Hints about stored events that no app can receive: their type is not in the catalogue, or no app is
//! installed in their site.
//!
//! Such events are stored all the same: an app may be installed later, and events are kept for hours.

use std::collections::BTreeSet;

use crate::api::ingest::sites::SiteDirectory;
use crate::api::suggest::help_with;
use crate::domain::{CloudId, EventType, Product};
use crate::event::{Envelope, unmapped};
use crate::registry::{Problem, catalog};

/// Sites and event types of one request that have hints, each.
const HINTS_MAX: usize = 10;
/// Path of the hint about a site in an answer: the parameter that names it.
const SITE: &str = "cloudId";
/// Path of the hint about an event type.
const TYPE: &str = "type";

/// What the events of one request name that does not exist.
pub(super) struct EventHints<'d> {
    directory: &'d dyn SiteDirectory,
    /// Whether triggers may name types that are not in the catalogue.
    allows_unknown: bool,
    types: BTreeSet<EventType>,
    sites: BTreeSet<CloudId>,
}

impl<'d> EventHints<'d> {
    pub(super) fn new(directory: &'d dyn SiteDirectory, allows_unknown: bool) -> Self {
        Self { directory, allows_unknown, types: BTreeSet::new(), sites: BTreeSet::new() }
    }

    /// Looks at one event.
    pub(super) fn add(&mut self, envelope: &Envelope) {
        let Envelope { cloud_id, event_type, .. } = envelope;
        let is_known = self.allows_unknown
            || event_type.as_str().starts_with(unmapped::PREFIX)
            || catalog::find(event_type.as_str()).is_some();
        if !is_known && self.types.len() < HINTS_MAX {
            self.types.insert(event_type.clone());
        }
        if self.sites.len() < HINTS_MAX && !self.is_known_site(cloud_id) {
            self.sites.insert(cloud_id.clone());
        }
    }

    /// Returns the hints. An app may have been installed at another replica just now, so this replica catches up
    /// before it says that there is none.
    pub(super) async fn listed(mut self) -> Vec<Problem> {
        if !self.sites.is_empty() {
            self.directory.catch_up().await;
            let sites = std::mem::take(&mut self.sites);
            self.sites = sites.into_iter().filter(|site| !self.is_known_site(site)).collect();
        }
        let types = self.types.iter().map(|event_type| type_hint(event_type.as_str()));
        let known = if self.sites.is_empty() { Vec::new() } else { self.directory.sites() };
        let sites = self.sites.iter().map(|site| site_hint(site, &known));
        types.chain(sites).collect()
    }

    fn is_known_site(&self, site: &CloudId) -> bool {
        Product::ALL.into_iter().any(|product| self.directory.is_provisioned(product, site))
    }
}

fn type_hint(event_type: &str) -> Problem {
    let message = format!(
        "`{event_type}` is no event type of the catalogue: the event is stored, and no trigger may name its type"
    );
    let help = match catalog::nearest(event_type) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "set `events.allow_unknown = true` if apps send events of their own types".into(),
    };
    Problem::new("SY-1033", TYPE, message).with_help(help)
}

fn site_hint(site: &CloudId, known: &[CloudId]) -> Problem {
    let message = format!(
        "no app is installed in site `{site}`: the event is stored, and no app receives it"
    );
    let help = help_with(site.as_str(), known.iter().map(CloudId::as_str));
    let help = help.unwrap_or_else(|| {
        "there is no installation yet; create one with `PUT /admin/v1/installations/{id}`".into()
    });
    Problem::new("SY-1032", SITE, message).with_help(help)
}
