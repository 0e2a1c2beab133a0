//! Batch registration and dry-run validation of Forge modules; extensions to the vendor's API.

use tracing::info;

use crate::domain::{InstallationId, ModuleKey};
use crate::registry::commands::forge_modules::{ModuleSpec, RegisteredModule, require_enabled};
use crate::registry::model::document::ModuleRecord;
use crate::registry::model::problem::Problem;
use crate::registry::registry::{Mutation, RegisterError, Registry};
use crate::registry::validation::trigger_rules::ValidatedTrigger;

/// One module of a batch with the key chosen by its author, or the problems of its form.
pub type BatchItem = Result<(ModuleSpec, Option<ModuleKey>), Vec<Problem>>;

/// Result for one module of a batch.
pub type BatchResult = Result<RegisteredModule, Vec<Problem>>;

impl Registry {
    /// Returns the result of registering `spec` without storing anything.
    ///
    /// # Errors
    /// As [`Registry::register`].
    pub fn validate(
        &self,
        installation: &InstallationId,
        spec: ModuleSpec,
        key: Option<ModuleKey>,
    ) -> Result<ValidatedTrigger, RegisterError> {
        let accepted = self.validate_spec(installation, &spec)?;
        let live = self.installation(installation.as_str()).ok_or(RegisterError::NotFound)?;
        let mut record = live.record.as_ref().clone();
        self.add(&mut record, &spec.record(key), &accepted)?;
        Ok(accepted)
    }

    /// As [`Registry::validate`], for a module that replaces the one with its key, if there is one.
    ///
    /// # Errors
    /// As [`Registry::register`].
    pub fn validate_under(
        &self,
        installation: &InstallationId,
        spec: ModuleSpec,
        key: &ModuleKey,
    ) -> Result<Vec<Problem>, RegisterError> {
        let accepted = self.validate_spec(installation, &spec)?;
        let live = self.installation(installation.as_str()).ok_or(RegisterError::NotFound)?;
        let mut record = live.record.as_ref().clone();
        record.modules.retain(|module| module.key != *key);
        self.add(&mut record, &spec.record(Some(key.clone())), &accepted)?;
        Ok(accepted.warnings)
    }

    /// Registers the modules of a batch in one write, so that a crash leaves all of them or none.
    /// Results are in the order of `items`. If `is_atomic`, one rejected module rejects the batch.
    ///
    /// # Errors
    /// Every problem of a rejected atomic batch, each with the index of its module.
    pub async fn register_batch(
        &self,
        installation: &InstallationId,
        items: Vec<BatchItem>,
        is_atomic: bool,
    ) -> Result<Vec<BatchResult>, RegisterError> {
        let checked = items.into_iter().map(|item| self.check_item(installation, item));
        let checked: Vec<_> = checked.collect::<Result<_, RegisterError>>()?;
        let (results, usage) = self
            .update_document(installation.as_str(), |current| {
                let mut record = require_enabled(current)?;
                let before = record.modules.len();
                let mut results: Vec<BatchResult> = Vec::with_capacity(checked.len());
                for item in &checked {
                    let added = match item {
                        Ok((module, accepted)) => self.add(&mut record, module, accepted),
                        Err(problems) => Err(RegisterError::Invalid(problems.clone())),
                    };
                    results.push(match (added, item) {
                        (Ok(module), Ok((_, accepted))) => {
                            Ok(RegisteredModule::new(module, accepted))
                        }
                        (Err(error), _) => Err(problems_of(error)?),
                        (Ok(_), Err(problems)) => Err(problems.clone()),
                    });
                }
                let refused = refusals(&results);
                if is_atomic && !refused.is_empty() {
                    return Err(RegisterError::Invalid(refused));
                }
                let usage = self.usage(before, &record);
                Ok(Mutation::Put(record, (results, usage)))
            })
            .await?;
        let registered = results.iter().filter(|result| result.is_ok()).count();
        self.notify_near_limit(installation, usage);
        info!(installation = %installation, registered, of = results.len(), "batch registered");
        Ok(results)
    }

    fn check_item(
        &self,
        installation: &InstallationId,
        item: BatchItem,
    ) -> Result<Result<(ModuleRecord, ValidatedTrigger), Vec<Problem>>, RegisterError> {
        let (spec, key) = match item {
            Ok(item) => item,
            Err(problems) => return Ok(Err(problems)),
        };
        Ok(match self.validate_spec(installation, &spec) {
            Ok(accepted) => Ok((spec.record(key), accepted)),
            Err(error) => Err(problems_of(error)?),
        })
    }
}

/// Returns the problems of one module; any other error fails the whole request.
fn problems_of(error: RegisterError) -> Result<Vec<Problem>, RegisterError> {
    match error {
        RegisterError::Invalid(problems) => Ok(problems),
        other => Err(other),
    }
}

/// All problems, each with the index of its module in the batch.
fn refusals(results: &[BatchResult]) -> Vec<Problem> {
    let located = results.iter().enumerate().flat_map(|(index, result)| {
        let problems = result.as_ref().err().into_iter().flatten();
        problems.map(move |problem| problem.clone().inside(&format!("items[{index}]")))
    });
    located.collect()
}
