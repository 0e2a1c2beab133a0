//! The changes of a module that shadows make, as registrations: set, promote, roll back.

use serde_json::{Map, Value};

use super::context::{Context, Target};
use super::forge_modules::{RegisteredModule, check_paths, check_revision, check_source};
use super::registration::{Registration, RegistrationOutcome};
use crate::clock;
use crate::domain::{ModuleKey, UnknownMembers};
use crate::registry::error::RegisterError;
use crate::registry::model::{
    FILTER_MEMBERS, InstallationRecord, ModuleFields, ModuleRecord, Problem, Promotion,
    ShadowFilter, TRIGGER, code, filter_digest, filter_members, with_members,
};
use crate::registry::validation::{ValidatedTrigger, check_all_shadows, check_shadows};

/// Path of the data of a module in the problems of its validation; a shadow is a request of its own.
const DATA: &str = "data";

/// The data of a module that was validated, and what it would become.
pub(super) struct ValidatedShadow {
    /// The module that the request was validated for.
    before: ModuleRecord,
    data: ModuleFields,
    trigger: ValidatedTrigger,
}

/// Validates the module `key` with the data that `change` makes of it.
fn validate(
    context: &Context,
    target: &Target,
    key: &ModuleKey,
    change: impl FnOnce(&ModuleRecord) -> Result<Map<String, Value>, RegisterError>,
) -> Result<ValidatedShadow, RegisterError> {
    let before = target.installation.record.module(key.as_str());
    let before = before.ok_or_else(|| match target.installation.module(key.as_str()) {
        Some(_) => not_shadowed("a static module changes with a new version of its app only"),
        None => RegisterError::NotFound,
    })?;
    if before.module_type != TRIGGER {
        return Err(not_shadowed("only triggers have shadows"));
    }
    check_source(before)?;
    let data = change(before)?;
    let rules = context.rules(target);
    let trigger = rules.check(&data, DATA).map_err(|problems| {
        RegisterError::Invalid(problems.into_iter().map(of_request).collect())
    })?;
    let warnings = trigger.warnings.iter().cloned().map(of_request).collect();
    let trigger = ValidatedTrigger { warnings, ..trigger };
    Ok(ValidatedShadow { before: before.clone(), data: data.into(), trigger })
}

impl ValidatedShadow {
    /// Returns the module in a record that is still as it was validated.
    ///
    /// # Errors
    /// It was removed, or changed concurrently.
    fn module<'r>(
        &self,
        record: &'r mut InstallationRecord,
    ) -> Result<&'r mut ModuleRecord, RegisterError> {
        let module = module_mut(record, &self.before.key)?;
        let is_same = module.data == self.before.data
            && module.shadow == self.before.shadow
            && module.promotion == self.before.promotion;
        if is_same { Ok(module) } else { Err(RegisterError::StaleRevision) }
    }

    /// Gives a module the data; returns the data before, without what is not its filter.
    fn put(&self, module: &mut ModuleRecord) -> ModuleFields {
        let before = filter_members(&module.data);
        module.set_data(self.data.clone());
        touch(module);
        before
    }

    fn changed(&self, module: ModuleRecord) -> RegistrationOutcome<RegisteredModule> {
        let answer = RegisteredModule::new(module, &self.trigger);
        RegistrationOutcome::Changed { answer, usage: None }
    }
}

/// A path in the data of a module as a path in the request.
fn of_request(mut problem: Problem) -> Problem {
    if let Some(rest) = problem.path.strip_prefix(DATA) {
        problem.path = rest.trim_start_matches('.').to_owned();
    }
    problem
}

/// Returns the module `key` of a record.
///
/// # Errors
/// There is none.
pub(super) fn module_mut<'r>(
    record: &'r mut InstallationRecord,
    key: &ModuleKey,
) -> Result<&'r mut ModuleRecord, RegisterError> {
    let found = record.modules.iter_mut().find(|module| module.key == *key);
    found.ok_or(RegisterError::NotFound)
}

/// Notes that a module changes.
fn touch(module: &mut ModuleRecord) {
    module.revision += 1;
    module.updated_ms = clock::now_ms();
}

fn not_shadowed(message: &str) -> RegisterError {
    RegisterError::invalid(Problem::new(code::NOT_SHADOWED, "", message))
}

fn no_shadow(message: &str) -> RegisterError {
    RegisterError::invalid(Problem::new(code::NO_SHADOW, "", message))
}

/// The module is not what a shadow was compared with, or what a promotion made.
fn outdated(message: &str, module: &ModuleRecord) -> RegisterError {
    let help = format!("its revision is {}: look at it first", module.revision);
    RegisterError::invalid(Problem::new(code::SHADOW_OUTDATED, "", message).with_help(help))
}

/// Sets a shadow.
pub(super) struct SetShadow<'a> {
    pub(super) key: &'a ModuleKey,
    pub(super) members: ModuleFields,
    /// The last event that is not compared: its sequence, and when its stream was created.
    pub(super) after: (u64, i64),
    pub(super) expected: Option<u64>,
}

impl Registration for SetShadow<'_> {
    type Validated = ValidatedShadow;
    type Answer = RegisteredModule;

    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<ValidatedShadow, RegisterError> {
        let members = self.members.read();
        let mut problems = Vec::new();
        if members.is_empty() {
            let message = "a shadow has `filter`, `events` or both";
            problems.push(Problem::new(code::MISSING, "", message));
        }
        let unknown = members.keys().filter(|name| !FILTER_MEMBERS.contains(&name.as_str()));
        problems.extend(unknown.map(|name| {
            let message = format!("a shadow has no member `{name}`");
            let help = "it has `filter` and `events`; the rest is that of the module";
            Problem::new(code::UNKNOWN_MEMBER, name, message).with_help(help)
        }));
        if !problems.is_empty() {
            return Err(RegisterError::Invalid(problems));
        }
        let known = target.installation.record.module(self.key.as_str());
        if known.is_some_and(|module| module.shadow.is_none()) {
            check_all_shadows(context.state().counts().shadows).map_err(RegisterError::Invalid)?;
        }
        validate(context, target, self.key, |module| Ok(with_members(module.data.read(), members)))
    }

    fn apply(
        &self,
        context: &Context,
        _target: &Target,
        validated: &ValidatedShadow,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<RegisteredModule>, RegisterError> {
        let module = validated.module(record)?;
        let against = filter_digest(&module.data);
        let is_set =
            |known: &ShadowFilter| known.members == self.members && known.against == against;
        if module.shadow.as_deref().is_some_and(is_set) {
            let answer = RegisteredModule::new(module.clone(), &validated.trigger);
            return Ok(RegistrationOutcome::Unchanged(answer));
        }
        check_revision(module, self.expected)?;
        let had_one = module.shadow.is_some();
        module.shadow = Some(Box::new(ShadowFilter {
            members: self.members.clone(),
            after: self.after.0,
            stream_ms: self.after.1,
            set_ms: clock::broker_now_ms(),
            against,
            unknown: UnknownMembers::default(),
        }));
        // Not a change of what it delivers, whose time dates its revisions.
        module.revision += 1;
        let module = module.clone();
        if !had_one {
            check_shadows(record).map_err(RegisterError::Invalid)?;
        }
        check_paths(context, record, self.key, &validated.trigger)?;
        Ok(validated.changed(module))
    }
}

/// Makes the shadow the filter.
pub(super) struct Promote<'a> {
    pub(super) key: &'a ModuleKey,
    /// Name of the shadow; none for the one that there is.
    pub(super) shadow: Option<&'a str>,
    pub(super) expected: Option<u64>,
}

impl Promote<'_> {
    /// Checks that the shadow that is named, if one is, has the name `known`.
    fn check_name(&self, known: Option<&str>, what: &str) -> Result<(), RegisterError> {
        if self.shadow.is_none_or(|named| known == Some(named)) {
            return Ok(());
        }
        let message = format!("{what} is another one than the one that is named");
        let help = "look at it first, and name it: the answer to GET has its name";
        let problem = Problem::new(code::OTHER_SHADOW, "shadow", message).with_help(help);
        Err(RegisterError::invalid(problem))
    }
}

impl Registration for Promote<'_> {
    type Validated = ValidatedShadow;
    type Answer = RegisteredModule;

    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<ValidatedShadow, RegisterError> {
        validate(context, target, self.key, |module| match &module.shadow {
            Some(shadow) => Ok(shadow.applied_to(&module.data)),
            // Whether this is a repeated request is decided on the current record.
            None => Ok(module.data.read()),
        })
    }

    fn apply(
        &self,
        context: &Context,
        _target: &Target,
        validated: &ValidatedShadow,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<RegisteredModule>, RegisterError> {
        check_paths(context, record, self.key, &validated.trigger)?;
        let module = validated.module(record)?;
        let Some(shadow) = module.shadow.as_deref().map(ShadowFilter::name) else {
            let digest = filter_digest(&module.data);
            let promotion = module.promotion.as_deref();
            let made = promotion.filter(|one| one.before.is_some() && one.made == digest);
            let Some(made) = made else {
                return Err(no_shadow("the module has no shadow to promote"));
            };
            self.check_name(made.shadow.as_deref(), "the shadow that was promoted")?;
            let answer = RegisteredModule::new(module.clone(), &validated.trigger);
            return Ok(RegistrationOutcome::Unchanged(answer));
        };
        self.check_name(Some(&shadow), "the shadow of the module")?;
        check_revision(module, self.expected)?;
        if self.expected.is_none() && module.is_shadow_outdated() {
            let message = "the module changed since its shadow was set";
            return Err(outdated(message, module));
        }
        module.shadow = None;
        let before = Some(validated.put(module));
        module.promotion = Some(Box::new(promotion((before, Some(shadow)), module)));
        let module = module.clone();
        Ok(validated.changed(module))
    }
}

/// Puts the filter back that a promotion replaced.
pub(super) struct RollBack<'a> {
    pub(super) key: &'a ModuleKey,
    pub(super) expected: Option<u64>,
}

impl Registration for RollBack<'_> {
    type Validated = ValidatedShadow;
    type Answer = RegisteredModule;

    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<ValidatedShadow, RegisterError> {
        validate(context, target, self.key, |module| {
            let before = module.promotion.as_ref().and_then(|one| one.before.as_ref());
            let members = before.map(ModuleFields::read).unwrap_or_default();
            Ok(with_members(module.data.read(), members))
        })
    }

    fn apply(
        &self,
        context: &Context,
        _target: &Target,
        validated: &ValidatedShadow,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<RegisteredModule>, RegisterError> {
        check_paths(context, record, self.key, &validated.trigger)?;
        let module = validated.module(record)?;
        let Some(made) = &module.promotion else {
            return Err(no_shadow(
                "no shadow of the module was promoted, or its filter changed since then",
            ));
        };
        if made.made != filter_digest(&module.data) {
            return Err(outdated("the module changed since its shadow was promoted", module));
        }
        if made.before.is_none() {
            let answer = RegisteredModule::new(module.clone(), &validated.trigger);
            return Ok(RegistrationOutcome::Unchanged(answer));
        }
        check_revision(module, self.expected)?;
        validated.put(module);
        module.promotion = Some(Box::new(promotion((None, None), module)));
        let module = module.clone();
        Ok(validated.changed(module))
    }
}

/// The record of a change that made `module` what it is: what was replaced, and the name of the shadow.
fn promotion(
    (before, shadow): (Option<ModuleFields>, Option<String>),
    module: &ModuleRecord,
) -> Promotion {
    Promotion {
        before,
        shadow,
        made: filter_digest(&module.data),
        at_ms: clock::broker_now_ms(),
        unknown: UnknownMembers::default(),
    }
}
