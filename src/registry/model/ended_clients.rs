//! OAuth clients that an installation had. The same document has their names and the webhooks, so that
//! a webhook of such a client is refused whatever a replica knows of the client's own record.

use std::collections::HashSet;

use super::dynamic_webhook::DynamicWebhook;
use super::installation::InstallationRecord;

/// Former clients that an installation remembers; beyond it the oldest without webhooks is forgotten.
const ENDED_MAX: usize = 100;

impl InstallationRecord {
    /// Whether a client was deleted or left for another installation.
    pub(crate) fn has_ended(&self, client: &str) -> bool {
        self.ended_clients.iter().any(|ended| ended == client)
    }

    /// Removes the secret and the webhooks of a client, and remembers that it ended. Returns the number
    /// of its webhooks; none if nothing changed.
    pub(crate) fn end_client(&mut self, client: &str) -> Option<usize> {
        let had_secret = self.oauth_clients.remove(client).is_some();
        let before = self.modules.len();
        self.modules.retain(|module| {
            DynamicWebhook::of_module(module).is_none_or(|known| !known.is_of_client(client))
        });
        let webhooks = before - self.modules.len();
        let is_new = !self.has_ended(client);
        if is_new {
            self.ended_clients.push(client.to_owned());
            self.forget_ended();
        }
        (had_secret || webhooks > 0 || is_new).then_some(webhooks)
    }

    /// Forgets that a client ended; returns whether it had.
    pub(crate) fn resume_client(&mut self, client: &str) -> bool {
        let before = self.ended_clients.len();
        self.ended_clients.retain(|ended| ended != client);
        self.ended_clients.len() < before
    }

    fn forget_ended(&mut self) {
        let mut excess = self.ended_clients.len().saturating_sub(ENDED_MAX);
        if excess == 0 {
            return;
        }
        let webhooks = self.modules.iter().filter_map(DynamicWebhook::of_module);
        let named: HashSet<String> = webhooks.filter_map(|webhook| webhook.client).collect();
        self.ended_clients.retain(|ended| {
            let is_kept = excess == 0 || named.contains(ended);
            excess -= usize::from(!is_kept);
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::connect_installation;

    #[test]
    fn a_client_ends_once_and_the_newest_are_remembered() {
        let mut record = connect_installation();
        assert_eq!(record.end_client("a"), Some(0));
        assert_eq!((record.end_client("a"), record.has_ended("a")), (None, true));
        assert!(record.resume_client("a") && !record.resume_client("a") && !record.has_ended("a"));
        for number in 0..=ENDED_MAX {
            record.end_client(&number.to_string());
        }
        assert_eq!(record.ended_clients.len(), ENDED_MAX);
        assert!(!record.has_ended("0") && record.has_ended("1"));
    }
}
