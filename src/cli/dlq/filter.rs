//! Flags that select dead letters.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::client::path_segment;

/// Which dead letters; those that have every value that is given
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Site of the event
    #[arg(long, value_name = "CLOUD_ID")]
    site: Option<String>,
    /// Installation of the delivery
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// Subscription of the delivery
    #[arg(long, value_name = "INSTALLATION/KEY")]
    subscription: Option<String>,
    /// Why it was dead-lettered, such as exhausted, expired, rejected_4xx, rejected_404
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Dead-lettered since then: an age such as 30m, 2h, 7d, or RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

impl FilterArgs {
    fn values(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("site", &self.site),
            ("installation", &self.installation),
            ("subscription", &self.subscription),
            ("reason", &self.reason),
            ("since", &self.since),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// Whether no flag is given.
    pub(super) fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }

    /// Returns the flags as parameters of an address, each after a `&`.
    pub(super) fn query_string(&self) -> String {
        self.values().map(|(name, value)| format!("&{name}={}", path_segment(value))).collect()
    }

    /// Returns the flags as the query of a request.
    pub(super) fn query(&self) -> Map<String, Value> {
        self.values().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    }
}
