//! Dynamic webhooks whose OAuth client does not exist: releases that stored no clients in webhooks left
//! those of a deleted client. They are signed as the tenant until they expire, since only their client
//! could refresh them; the list of problems has them, and operators remove them.
//!
//! No task removes them: while a client is provisioned, its webhooks are named before its own
//! document is stored, and a replica that cannot read that document does not know the client either.

use std::collections::HashSet;

use super::compile::{AppliedInstallation, AppliedModule};
use super::model::{ClientRecord, Document, DynamicWebhook, EffectiveStatus};
use super::replica::ReplicaState;

/// Returns the webhooks of an installation that are delivered to an OAuth client that does not exist in
/// it. None while a document of a client is unreadable.
pub(super) fn without_client<'i>(
    state: &ReplicaState,
    installation: &'i AppliedInstallation,
) -> Vec<&'i AppliedModule> {
    let live = installation.registered().filter(|(_, module)| {
        matches!(module.effective_status, EffectiveStatus::Active | EffectiveStatus::Paused)
    });
    let webhooks =
        live.filter_map(|(record, module)| Some((DynamicWebhook::of_module(record)?, module)));
    let mut webhooks = webhooks.filter(|(webhook, _)| webhook.user.is_some()).peekable();
    if webhooks.peek().is_none() || has_unreadable_client(state) {
        return Vec::new();
    }
    let ids = state.clients_of(installation.record.id.as_str());
    let users = ids.iter().filter_map(|id| Some(state.client(id)?.user.clone()));
    let users: HashSet<String> = users.collect();
    let has_client = |webhook: &DynamicWebhook| match (&webhook.client, &webhook.user) {
        (Some(client), _) => ids.contains(client),
        (None, Some(user)) => users.contains(user),
        (None, None) => true,
    };
    webhooks.filter(|(webhook, _)| !has_client(webhook)).map(|(_, module)| module).collect()
}

fn has_unreadable_client(state: &ReplicaState) -> bool {
    let family = format!("{}.", ClientRecord::FAMILY);
    state.unreadable().documents.iter().any(|document| document.key.starts_with(&family))
}
