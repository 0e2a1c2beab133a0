//! The one path of registration: Forge modules, Connect modules and dynamic webhooks take it.
//!
//! ```text
//! authenticate, parse        the API: the caller, and a request of valid form
//! 1. target                  the installation with its app, as applied here
//! 2. validate and compile    against the app and the catalogue; filters become programs
//! 3. reserve                 what must be unique beyond the installation
//! 4. commit                  compare-and-set: quotas and keys are checked on the current record
//! 5. notify                  the app, if a quota is nearly used up
//! 6. answer                  the API: in the format of the vendor
//! ```
//!
//! A [`Registration`] supplies the steps in which the vendors differ. A budget that is charged to an
//! owner belongs between 1 and 2, so that rejected requests are charged too.

use std::future::Future;

use super::context::{Context, Target};
use super::notices::Notices;
use crate::domain::InstallationId;
use crate::registry::error::RegisterError;
use crate::registry::model::{InstallationRecord, QuotaUsage};
use crate::registry::transaction::Mutation;

/// The steps of a registration in which the vendors differ.
pub(super) trait Registration: Send {
    /// The validated request. It holds the compiled filters, so that applying the registration
    /// finds them compiled.
    type Validated: Send;
    /// Result for the API.
    type Answer: Send;

    /// Validates the request and compiles its filters.
    ///
    /// # Errors
    /// Every problem that rejects the whole request.
    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<Self::Validated, RegisterError>;

    /// Reserves what must be unique beyond the installation.
    ///
    /// # Errors
    /// The store fails.
    fn reserve(
        &mut self,
        _context: &Context,
        _target: &Target,
        _validated: &Self::Validated,
    ) -> impl Future<Output = Result<(), RegisterError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Changes the current record. Called again with a newer record after a conflict.
    ///
    /// # Errors
    /// What the current record does not allow: a taken key, a used-up quota, a replay.
    fn apply(
        &self,
        context: &Context,
        target: &Target,
        validated: &Self::Validated,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<Self::Answer>, RegisterError>;
}

/// Result of [`Registration::apply`].
pub(super) enum RegistrationOutcome<A> {
    /// The record changed.
    Changed {
        /// Result for the API.
        answer: A,
        /// Usage of the module quota, if the app is notified of it.
        usage: Option<QuotaUsage>,
    },
    /// The record did not change; nothing is written.
    Unchanged(A),
}

/// Registers a request. See the file header.
///
/// # Errors
/// Those of the steps, and of
/// [`update_document`](crate::registry::transaction::Transactions::update_document).
pub(super) async fn register<R: Registration>(
    context: &Context,
    id: &InstallationId,
    mut request: R,
) -> Result<R::Answer, RegisterError> {
    let target = context.target(id)?;
    let validated = request.validate(context, &target)?;
    request.reserve(context, &target, &validated).await?;
    context
        .update_installation(id, |mut record| {
            Ok(match request.apply(context, &target, &validated, &mut record)? {
                RegistrationOutcome::Changed { answer, usage } => {
                    if let Some(usage) = usage {
                        Notices::new(context).near_limit(&mut record, usage);
                    }
                    Mutation::Put(record, answer)
                }
                RegistrationOutcome::Unchanged(answer) => Mutation::Keep(answer),
            })
        })
        .await
}

/// Takes the same steps on a copy of the applied record, and stores nothing.
///
/// # Errors
/// As [`register`].
pub(super) fn dry_run<R: Registration>(
    context: &Context,
    id: &InstallationId,
    request: &R,
) -> Result<R::Validated, RegisterError> {
    let target = context.target(id)?;
    let validated = request.validate(context, &target)?;
    let mut record = target.installation.record.as_ref().clone();
    request.apply(context, &target, &validated, &mut record)?;
    Ok(validated)
}
