//! Batch registration of Forge modules, an extension to the vendor's API.

use tracing::info;

use super::context::{Context, Target};
use super::forge_modules::{
    RegisteredModule, ValidatedModule, add_module, module_usage, validate_module,
};
use super::registration::{self, Registration, RegistrationOutcome};
use crate::domain::{InstallationId, ModuleKey};
use crate::registry::error::RegisterError;
use crate::registry::model::{InstallationRecord, Problem};
use crate::registry::validation::ModuleSpec;

/// One module of a batch with the key chosen by its author, or the problems of its form.
pub type BatchItem = Result<(ModuleSpec, Option<ModuleKey>), Vec<Problem>>;

/// Result for one module of a batch.
pub type BatchResult = Result<RegisteredModule, Vec<Problem>>;

/// Commands on batches of Forge modules.
#[derive(Clone, Copy)]
pub struct ForgeBatches<'a> {
    context: &'a Context,
}

impl<'a> ForgeBatches<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Registers the modules of a batch in one write, so that a crash leaves all of them or none.
    /// Results are in the order of `items`. If `is_atomic`, one rejected module rejects the batch.
    ///
    /// # Errors
    /// Every problem of a rejected atomic batch, each with the index of its module.
    pub async fn register(
        self,
        installation: &InstallationId,
        items: Vec<BatchItem>,
        is_atomic: bool,
    ) -> Result<Vec<BatchResult>, RegisterError> {
        let request = Batch { items, is_atomic };
        let results = registration::register(self.context, installation, request).await?;
        let registered = results.iter().filter(|result| result.is_ok()).count();
        info!(installation = %installation, registered, of = results.len(), "batch registered");
        Ok(results)
    }
}

struct Batch {
    items: Vec<BatchItem>,
    is_atomic: bool,
}

impl Registration for Batch {
    type Validated = Vec<Result<ValidatedModule, Vec<Problem>>>;
    type Answer = Vec<BatchResult>;

    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<Self::Validated, RegisterError> {
        let validate = |item: &BatchItem| {
            let (spec, key) = item.as_ref().map_err(Clone::clone)?;
            validate_module(context, target, spec, key.as_ref())
        };
        Ok(self.items.iter().map(validate).collect())
    }

    fn apply(
        &self,
        context: &Context,
        _target: &Target,
        validated: &Self::Validated,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<Vec<BatchResult>>, RegisterError> {
        let before = record.modules.len();
        let mut results: Vec<BatchResult> = Vec::with_capacity(validated.len());
        for item in validated {
            results.push(match item {
                Err(problems) => Err(problems.clone()),
                Ok(valid) => match add_module(context, record, valid) {
                    Ok(module) => Ok(RegisteredModule::new(module, &valid.trigger)),
                    Err(RegisterError::Invalid(problems)) => Err(problems),
                    Err(other) => return Err(other),
                },
            });
        }
        let rejected = problems_of(&results);
        if self.is_atomic && !rejected.is_empty() {
            return Err(RegisterError::Invalid(rejected));
        }
        let usage = module_usage(context, before, record);
        Ok(RegistrationOutcome::Changed { answer: results, usage: Some(usage) })
    }
}

/// All problems, each with the index of its module in the batch.
fn problems_of(results: &[BatchResult]) -> Vec<Problem> {
    let located = results.iter().enumerate().flat_map(|(index, result)| {
        let problems = result.as_ref().err().into_iter().flatten();
        problems.map(move |problem| problem.clone().inside(&format!("items[{index}]")))
    });
    located.collect()
}
