//! Operator commands on OAuth clients.

use serde::Deserialize;
use tracing::{info, warn};
use utoipa::ToSchema;

use super::client_webhooks::{adopt, take_over};
use super::context::Context;
use crate::clock;
use crate::domain::{InstallationId, Secret, UnknownMembers};
use crate::registry::credentials;
use crate::registry::error::RegisterError;
use crate::registry::model::{
    ClientRecord, ClientSecret, ClientUser, FORMAT, InstallationRecord, Problem, code,
};
use crate::registry::transaction::Mutation;
use crate::registry::validation::{issued_secret_problem, issued_secret_warning};

/// Clients of an installation that sign their webhooks.
const CLIENT_SECRETS_MAX: usize = 100;

/// An OAuth client as an operator submits it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientSpec {
    /// The bearer token of the client, of which a digest is stored.
    #[schema(value_type = String)]
    token: Secret,
    user: String,
    #[schema(value_type = String)]
    installation: InstallationId,
    /// Signs its webhooks; without one the secret of before stays.
    #[schema(value_type = Option<String>)]
    client_secret: Option<Secret>,
}

/// Result of [`Clients::put`].
#[derive(Clone, Debug)]
pub struct ClientPut {
    /// Whether the client did not exist before.
    pub created: bool,
    /// What is questionable.
    pub warnings: Vec<Problem>,
}

/// Operator commands on OAuth clients.
#[derive(Clone, Copy)]
pub struct Clients<'a> {
    context: &'a Context,
}

impl<'a> Clients<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    fn no_installation(self, id: &str) -> RegisterError {
        let known = self.context.state().installation_ids();
        RegisterError::not_provisioned("installation", id, known.iter().map(|id| id.as_str()))
    }

    /// Provisions an OAuth client.
    ///
    /// # Errors
    /// The client is invalid, or the installation does not exist.
    pub async fn put(self, id: &str, spec: ClientSpec) -> Result<ClientPut, RegisterError> {
        let installation = spec.installation.as_str();
        let state = self.context.state();
        let found = state.installation(installation);
        found.ok_or_else(|| self.no_installation(installation))?;
        let secrets = [(Some(&spec.token), "token"), (spec.client_secret.as_ref(), "clientSecret")];
        let problems: Vec<_> = secrets
            .into_iter()
            .filter_map(|(secret, path)| issued_secret_problem(secret, path))
            .collect();
        if !problems.is_empty() {
            return Err(RegisterError::Invalid(problems));
        }
        let warnings: Vec<_> = secrets
            .into_iter()
            .filter_map(|(secret, path)| issued_secret_warning(secret, path))
            .collect();
        let token_hash = credentials::digest(spec.token.reveal());
        if state.client_by_token(&token_hash).is_some_and(|other| other.id != id) {
            let problem = Problem::new(code::DUPLICATE, "token", "another client has this token");
            return Err(RegisterError::invalid(problem));
        }
        self.put_secret(id, &spec).await?;
        let owner = ClientUser { client: id.to_owned(), user: spec.user.clone() };
        let target = spec.installation.clone();
        let (user, installation) = (spec.user, spec.installation);
        let (id_text, unknown) = (id.to_owned(), UnknownMembers::default());
        let record =
            ClientRecord { format: FORMAT, id: id_text, token_hash, user, installation, unknown };
        let created = self
            .context
            .transactions
            .update_document(id, |current: Option<ClientRecord>| {
                let is_new = current.is_none();
                let unknown = current.map(|current| current.unknown).unwrap_or_default();
                let record = ClientRecord { unknown, ..record.clone() };
                Ok(Mutation::Put(Box::new(record), is_new))
            })
            .await?;
        self.take_over(&target, &owner).await?;
        if !warnings.is_empty() {
            warn!(client = id, "a secret of an OAuth client is short");
        }
        info!(client = id, created, "OAuth client provisioned");
        Ok(ClientPut { created, warnings })
    }

    /// Stores the secret that signs the webhooks of a client in the document of its installation. A
    /// client that changes its installation takes its secret with it, and leaves its webhooks.
    async fn put_secret(&self, id: &str, spec: &ClientSpec) -> Result<(), RegisterError> {
        let before = self.context.state().client(id);
        let former = before.as_ref().filter(|before| before.user != spec.user);
        let former = former.filter(|before| before.installation == spec.installation);
        let former = former.filter(|before| self.is_only_client_of(spec, id, &before.user));
        let former = former.map(|before| before.user.clone());
        let left = before.filter(|before| before.installation != spec.installation);
        let left = left.map(|left| left.installation.clone());
        let taken = left.as_ref().and_then(|left| {
            let left = self.context.state().installation(left.as_str())?;
            left.record.oauth_clients.get(id).cloned()
        });
        let owner = ClientUser { client: id.to_owned(), user: spec.user.clone() };
        let is_only = self.is_only_client_of(spec, id, &spec.user);
        let update = |current: Option<InstallationRecord>| {
            let not_provisioned = || self.no_installation(spec.installation.as_str());
            let mut record = current.ok_or_else(not_provisioned)?;
            // The client is named from now on.
            let mut is_changed = record.resume_client(id);
            if let Some(user) = &former {
                let former = ClientUser { user: user.clone(), ..owner.clone() };
                is_changed |= adopt(&mut record, &former)?;
            }
            if is_only {
                is_changed |= adopt(&mut record, &owner)?;
            }
            is_changed |= take_over(&mut record, &owner)?;
            let known = record.oauth_clients.get(id).or(taken.as_ref());
            let signing = match &spec.client_secret {
                Some(new) => Some(ClientSecret::replaced(known, new, clock::now_ms())),
                None => known.cloned(),
            };
            if !is_changed && signing.as_ref() == record.oauth_clients.get(id) {
                return Ok(Mutation::Keep(()));
            }
            if let Some(signing) = signing {
                record.oauth_clients.insert(id.to_owned(), signing);
            }
            if record.oauth_clients.len() > CLIENT_SECRETS_MAX {
                let message = format!(
                    "at most {CLIENT_SECRETS_MAX} clients of an installation have a secret"
                );
                let problem = Problem::new(code::FORM, "clientSecret", message);
                return Err(RegisterError::invalid(problem.with_help("delete a client")));
            }
            record.updated_ms = clock::now_ms();
            Ok(Mutation::Put(Box::new(record), ()))
        };
        self.context.transactions.update_document(spec.installation.as_str(), update).await?;
        // Last, so that a refusal or a crash before loses nothing; a repeat finds what was done.
        if let Some(left) = left {
            self.remove_from(&left, id).await?;
        }
        Ok(())
    }

    /// Assigns the webhooks of a client to its user: also those that were registered for its former
    /// user while the record changed.
    async fn take_over(
        &self,
        installation: &InstallationId,
        owner: &ClientUser,
    ) -> Result<(), RegisterError> {
        let update = |current: Option<InstallationRecord>| {
            let Some(mut record) = current else { return Ok(Mutation::Keep(())) };
            if !take_over(&mut record, owner)? {
                return Ok(Mutation::Keep(()));
            }
            record.updated_ms = clock::now_ms();
            Ok(Mutation::Put(Box::new(record), ()))
        };
        self.context.transactions.update_document(installation.as_str(), update).await
    }

    /// Whether no other client acts for the user in the installation.
    fn is_only_client_of(&self, spec: &ClientSpec, id: &str, user: &str) -> bool {
        let state = self.context.state();
        let others = state.clients_of(spec.installation.as_str());
        let others = others.iter().filter(|other| *other != id);
        !others.filter_map(|other| state.client(other)).any(|other| other.user == user)
    }

    /// Removes the secret and the webhooks of a client from its installation, which accepts no further
    /// ones: a replica that still knows the client may be asked for one.
    async fn remove_from(
        &self,
        installation: &InstallationId,
        id: &str,
    ) -> Result<(), RegisterError> {
        let update = |current: Option<InstallationRecord>| {
            let Some(mut record) = current else { return Ok(Mutation::Keep(())) };
            let Some(webhooks) = record.end_client(id) else { return Ok(Mutation::Keep(())) };
            info!(client = id, %installation, webhooks, "OAuth client removed from installation");
            record.updated_ms = clock::now_ms();
            Ok(Mutation::Put(Box::new(record), ()))
        };
        self.context.transactions.update_document(installation.as_str(), update).await
    }

    /// Ends the validity of the previous secret of a client.
    ///
    /// # Errors
    /// The client does not exist.
    pub async fn retire_secret(self, id: &str) -> Result<(), RegisterError> {
        let client = self.context.state().client(id).ok_or(RegisterError::NotFound)?;
        let update = |current: Option<InstallationRecord>| {
            let mut record = current.ok_or(RegisterError::NotFound)?;
            let signing = record.oauth_clients.get_mut(id);
            if signing.and_then(|signing| signing.previous.take()).is_none() {
                return Ok(Mutation::Keep(()));
            }
            record.updated_ms = clock::now_ms();
            Ok(Mutation::Put(Box::new(record), ()))
        };
        self.context.transactions.update_document(client.installation.as_str(), update).await?;
        info!(client = id, "previous secret of the OAuth client retired");
        Ok(())
    }

    /// Deletes an OAuth client with its webhooks; its token is rejected from then on.
    ///
    /// # Errors
    /// The client does not exist.
    pub async fn delete(self, id: &str) -> Result<(), RegisterError> {
        if let Some(client) = self.context.state().client(id) {
            self.remove_from(&client.installation, id).await?;
        }
        let installation = self
            .context
            .transactions
            .update_document(id, |current: Option<ClientRecord>| {
                let current = current.ok_or(RegisterError::NotFound)?;
                Ok(Mutation::Delete(current.installation))
            })
            .await?;
        // Also what a replica of the previous release accepted until then.
        self.remove_from(&installation, id).await?;
        info!(client = id, "OAuth client removed");
        Ok(())
    }
}
