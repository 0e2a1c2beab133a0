//! Operator commands that replace secrets: two are valid for a day, or until the old one is retired.

use tracing::info;

use super::context::Context;
use crate::clock;
use crate::domain::Secret;
use crate::registry::credentials;
use crate::registry::error::RegisterError;
use crate::registry::model::{AppRecord, Endpoint, InstallationRecord, RetiringSecret};
use crate::registry::transaction::Mutation;
use crate::registry::validation::signing_secret_problem;

/// Operator commands that replace and retire secrets.
#[derive(Clone, Copy)]
pub struct SecretRotation<'a> {
    context: &'a Context,
}

impl<'a> SecretRotation<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Replaces the secret of an endpoint by a given one, else by a generated one; returns the
    /// endpoint. Deliveries are signed with both for a day.
    ///
    /// # Errors
    /// The app or the endpoint does not exist, or the secret is too short or not base64.
    pub async fn replace_endpoint_secret(
        self,
        app: &str,
        endpoint: &str,
        given: Option<Secret>,
    ) -> Result<Endpoint, RegisterError> {
        if let Some(problem) = signing_secret_problem(given.as_ref(), "secret") {
            return Err(RegisterError::invalid(problem));
        }
        let new = match given {
            Some(given) => given,
            None => credentials::new_secret()?,
        };
        let changed = self
            .change_endpoint(app, endpoint, |endpoint| {
                let (now_ms, retiring) = (clock::now_ms(), endpoint.previous.as_ref());
                endpoint.previous = RetiringSecret::after(&endpoint.secret, retiring, &new, now_ms);
                endpoint.secret = new.clone();
            })
            .await?;
        info!(app, endpoint, "secret of the endpoint replaced");
        Ok(changed)
    }

    /// Ends the validity of the previous secret of an endpoint.
    ///
    /// # Errors
    /// The app or the endpoint does not exist.
    pub async fn retire_endpoint_secret(
        self,
        app: &str,
        endpoint: &str,
    ) -> Result<(), RegisterError> {
        self.change_endpoint(app, endpoint, |endpoint| endpoint.previous = None).await?;
        info!(app, endpoint, "previous secret of the endpoint retired");
        Ok(())
    }

    async fn change_endpoint(
        &self,
        app: &str,
        key: &str,
        change: impl Fn(&mut Endpoint),
    ) -> Result<Endpoint, RegisterError> {
        self.context
            .transactions
            .update_document(app, |current: Option<AppRecord>| {
                let mut record = current.ok_or(RegisterError::NotFound)?;
                let found = record.endpoints.iter_mut().find(|endpoint| endpoint.key == key);
                let endpoint = found.ok_or(RegisterError::NotFound)?;
                change(endpoint);
                let changed = endpoint.clone();
                record.updated_ms = clock::now_ms();
                Ok(Mutation::Put(Box::new(record), changed))
            })
            .await
    }

    /// Ends the validity of the previous shared secret of a Connect installation.
    ///
    /// # Errors
    /// The installation does not exist.
    pub async fn retire_shared_secret(self, id: &str) -> Result<(), RegisterError> {
        self.context
            .transactions
            .update_document(id, |current: Option<InstallationRecord>| {
                let mut record = current.ok_or(RegisterError::NotFound)?;
                if record.previous_shared_secret.take().is_none() {
                    return Ok(Mutation::Keep(()));
                }
                record.updated_ms = clock::now_ms();
                Ok(Mutation::Put(Box::new(record), ()))
            })
            .await?;
        info!(installation = id, "previous shared secret retired");
        Ok(())
    }
}
