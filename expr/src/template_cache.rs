//! What is compiled once for many filters: equal ones are one program, and those that differ only
//! in parameters share all but these.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::parameter_slots::ParameterSlots;
use crate::program::{Program, ProgramTemplate};
use crate::{CheckProfile, CompileError, compile, parse_and_check};

/// Fewer entries than this are kept without asking whether they are still in use.
const UNSWEPT_MAX: usize = 1024;

/// Programs and templates in use, by hash. Holds none of them alive; their number is bounded by those
/// that others hold.
#[derive(Debug, Default)]
pub struct TemplateCache {
    programs: WeakTable<Program>,
    templates: WeakTable<ProgramTemplate>,
    hashers: RandomState,
}

impl TemplateCache {
    /// No templates yet.
    pub fn new() -> TemplateCache {
        TemplateCache::default()
    }

    /// The program of an expression, compiled only as far as no one in use is like it.
    ///
    /// # Errors
    /// As [`crate::compile`].
    pub fn compile(
        &self,
        source: &str,
        profile: CheckProfile,
    ) -> Result<Arc<Program>, CompileError> {
        let hash = self.hash(profile, |state| source.hash(state));
        if let Some(known) = self.programs.find(hash, |program| program.is_of(source)) {
            return Ok(known);
        }
        let slots = ParameterSlots::of(source);
        let template_hash = self.hash(profile, |state| slots.hash_template(source, state));
        let program = match self.from_known_template(template_hash, source, &slots) {
            Some(program) => program,
            None => {
                let (typed, _) = parse_and_check(source, profile)?;
                let (program, is_shared) = compile::compile(&typed);
                if is_shared {
                    self.templates.insert(template_hash, &program.template);
                }
                program
            }
        };
        let program = Arc::new(program);
        self.programs.insert(hash, &program);
        Ok(program)
    }

    fn from_known_template(
        &self,
        hash: u64,
        source: &str,
        slots: &ParameterSlots,
    ) -> Option<Program> {
        let is_same = |template: &ProgramTemplate| {
            template.slots.same_template(&template.source, slots, source)
        };
        let template = self.templates.find(hash, is_same)?;
        Some(Program { template, parameters: slots.parameters(source)? })
    }

    /// How many programs and templates are entry_counts, those that are gone but not swept included.
    pub fn entry_counts(&self) -> (usize, usize) {
        (self.programs.entries().len(), self.templates.entries().len())
    }

    fn hash(
        &self,
        profile: CheckProfile,
        with: impl FnOnce(&mut <RandomState as BuildHasher>::Hasher),
    ) -> u64 {
        let mut hasher = self.hashers.build_hasher();
        (profile == CheckProfile::Filter).hash(&mut hasher);
        with(&mut hasher);
        hasher.finish()
    }
}

/// Things in use by hash; of two with the same one, only the later is found.
#[derive(Debug)]
struct WeakTable<T>(Mutex<HashMap<u64, Weak<T>>>);

impl<T> Default for WeakTable<T> {
    fn default() -> WeakTable<T> {
        WeakTable(Mutex::default())
    }
}

impl<T> WeakTable<T> {
    fn find(&self, hash: u64, is_it: impl FnOnce(&T) -> bool) -> Option<Arc<T>> {
        let found = self.entries().get(&hash).and_then(Weak::upgrade)?;
        is_it(&found).then_some(found)
    }

    fn insert(&self, hash: u64, one: &Arc<T>) {
        let mut all = self.entries();
        // Swept when the table would grow, so that sweeping costs little per entry and the table
        // stays within a parameter factor of what is in use.
        if all.len() == all.capacity() && all.len() >= UNSWEPT_MAX {
            all.retain(|_, one| one.strong_count() > 0);
        }
        all.insert(hash, Arc::downgrade(one));
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
