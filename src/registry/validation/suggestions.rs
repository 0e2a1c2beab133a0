//! "Did you mean" for one request: a bounded number of searches, each name searched once.
//!
//! A search compares a name with every known one. A request may have tens of thousands of unknown names
//! and lists the first [`PROBLEMS_LISTED_MAX`] of its problems, so that is the bound of the searches, too.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::catalog;
use crate::domain::Product;
use crate::registry::model::PROBLEMS_LISTED_MAX;

/// Suggestions of one request.
#[derive(Debug, Default)]
pub struct Suggestions {
    found: Mutex<HashMap<UnknownName, Option<String>>>,
}

/// A name that was searched, and where.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum UnknownName {
    EventType(String),
    Webhook(String, Vec<Product>),
}

impl Suggestions {
    /// Returns the event type that `name` probably means.
    pub(crate) fn event_type(&self, name: &str) -> Option<String> {
        let searched = UnknownName::EventType(name.to_owned());
        self.find(searched, || catalog::nearest(name))
    }

    /// Returns the webhook of one of these products that `name` probably means.
    pub(crate) fn webhook(&self, name: &str, products: &[Product]) -> Option<String> {
        let searched = UnknownName::Webhook(name.to_owned(), products.to_vec());
        self.find(searched, || catalog::nearest_webhook(name, products))
    }

    /// Returns the number of searches so far.
    #[cfg(test)]
    pub(crate) fn searches(&self) -> usize {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn find(&self, name: UnknownName, search: impl FnOnce() -> Option<String>) -> Option<String> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.get(&name) {
            return known.clone();
        }
        if found.len() >= PROBLEMS_LISTED_MAX {
            return None;
        }
        let suggestion = search();
        found.insert(name, suggestion.clone());
        suggestion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_searched_once_and_the_searches_are_bounded() {
        let suggestions = Suggestions::default();
        for _ in 0..3 {
            let near = suggestions.event_type("avi:jira:craeted:issue");
            assert_eq!(near.as_deref(), Some("avi:jira:created:issue"));
            let near = suggestions.webhook("issue_created", &[Product::Jira]);
            assert_eq!(near.as_deref(), Some("jira:issue_created"));
        }
        assert_eq!(suggestions.searches(), 2);
        for number in 0..10 * PROBLEMS_LISTED_MAX {
            suggestions.event_type(&format!("unknown-{number}"));
        }
        assert_eq!(suggestions.searches(), PROBLEMS_LISTED_MAX);
        assert_eq!(suggestions.event_type("avi:jira:udpated:issue"), None);
        assert!(suggestions.event_type("avi:jira:craeted:issue").is_some());
    }
}
