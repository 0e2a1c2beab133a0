//! Operator commands on OAuth clients.

use serde::Deserialize;

use super::context::Context;
use crate::domain::{InstallationId, UnknownMembers};
use crate::registry::credentials;
use crate::registry::error::RegisterError;
use crate::registry::model::{ClientRecord, FORMAT, Problem, code};
use crate::registry::transaction::Mutation;

/// An OAuth client as an operator submits it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    token: String,
    user: String,
    installation: InstallationId,
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

    /// Provisions an OAuth client; returns whether it did not exist before.
    ///
    /// # Errors
    /// The client is invalid, or the installation does not exist.
    pub async fn put(self, id: &str, spec: ClientSpec) -> Result<bool, RegisterError> {
        let installation = spec.installation.as_str();
        let state = self.context.state();
        let found = state.installation(installation);
        found.ok_or_else(|| RegisterError::not_provisioned("installation", installation))?;
        if spec.token.is_empty() {
            let problem = Problem::new(code::FORM, "token", "a token is a non-empty string");
            return Err(RegisterError::invalid(problem));
        }
        let token_hash = credentials::digest(&spec.token);
        if state.client_by_token(&token_hash).is_some_and(|other| other.id != id) {
            let problem = Problem::new(code::DUPLICATE, "token", "another client has this token");
            return Err(RegisterError::invalid(problem));
        }
        let (user, installation) = (spec.user, spec.installation);
        let (id_text, unknown) = (id.to_owned(), UnknownMembers::default());
        let record =
            ClientRecord { format: FORMAT, id: id_text, token_hash, user, installation, unknown };
        self.context
            .transactions
            .update_document(id, |current: Option<ClientRecord>| {
                let is_new = current.is_none();
                let unknown = current.map(|current| current.unknown).unwrap_or_default();
                let record = ClientRecord { unknown, ..record.clone() };
                Ok(Mutation::Put(Box::new(record), is_new))
            })
            .await
    }
}
