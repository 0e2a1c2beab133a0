//! Operator commands on OAuth clients.

use serde::Deserialize;
use tracing::{info, warn};

use super::context::Context;
use crate::domain::{InstallationId, Secret, UnknownMembers};
use crate::registry::credentials;
use crate::registry::error::RegisterError;
use crate::registry::model::{ClientRecord, FORMAT, Problem, code};
use crate::registry::transaction::Mutation;
use crate::registry::validation::{issued_secret_problem, issued_secret_warning};

/// An OAuth client as an operator submits it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    token: Secret,
    user: String,
    installation: InstallationId,
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

    /// Provisions an OAuth client.
    ///
    /// # Errors
    /// The client is invalid, or the installation does not exist.
    pub async fn put(self, id: &str, spec: ClientSpec) -> Result<ClientPut, RegisterError> {
        let installation = spec.installation.as_str();
        let state = self.context.state();
        let found = state.installation(installation);
        found.ok_or_else(|| RegisterError::not_provisioned("installation", installation))?;
        if let Some(problem) = issued_secret_problem(Some(&spec.token), "token") {
            return Err(RegisterError::invalid(problem));
        }
        let warnings: Vec<_> =
            issued_secret_warning(Some(&spec.token), "token").into_iter().collect();
        let token_hash = credentials::digest(spec.token.reveal());
        if state.client_by_token(&token_hash).is_some_and(|other| other.id != id) {
            let problem = Problem::new(code::DUPLICATE, "token", "another client has this token");
            return Err(RegisterError::invalid(problem));
        }
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
        if !warnings.is_empty() {
            warn!(client = id, "the token of an OAuth client is short");
        }
        info!(client = id, created, "OAuth client provisioned");
        Ok(ClientPut { created, warnings })
    }

    /// Deletes an OAuth client; its token is rejected from then on.
    ///
    /// # Errors
    /// The client does not exist.
    pub async fn delete(self, id: &str) -> Result<(), RegisterError> {
        self.context
            .transactions
            .update_document(id, |current: Option<ClientRecord>| {
                current.map(|_| Mutation::Delete(())).ok_or(RegisterError::NotFound)
            })
            .await?;
        info!(client = id, "OAuth client removed");
        Ok(())
    }
}
