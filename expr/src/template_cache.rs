//! A cache of compiled programs: equal filters share one program, and filters that differ only in
//! parameters share one template.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::compile::generate;
use crate::diagnostic::CompileError;
use crate::frontend::parse_and_check_translated;
use crate::parameter_slots::ParameterSlots;
use crate::profile::CheckProfile;
use crate::program::{Program, ProgramTemplate};

/// Capacity below which unused entries are not removed.
const UNSWEPT_MAX: usize = 1024;

/// Programs and templates in use, by hash. The cache holds weak references, so its size is bounded
/// by the number of live programs.
#[derive(Debug, Default)]
pub struct TemplateCache {
    programs: WeakTable<Program>,
    templates: WeakTable<ProgramTemplate>,
    hashers: RandomState,
}

impl TemplateCache {
    /// An empty cache.
    pub fn new() -> TemplateCache {
        TemplateCache::default()
    }

    /// Returns the program of an expression. Reuses an equal program, or the template of a program
    /// that differs only in parameters, if one is in use. The source may be as long as a translated
    /// query: what authors write is checked before.
    ///
    /// # Errors
    /// As [`crate::compile()`].
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
        let program = match self.program_of_known_template(template_hash, source, &slots) {
            Some(program) => program,
            None => {
                let (typed, _) = parse_and_check_translated(source, profile)?;
                let (program, is_shared) = generate(&typed);
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

    fn program_of_known_template(
        &self,
        hash: u64,
        source: &str,
        slots: &ParameterSlots,
    ) -> Option<Program> {
        let is_same = |template: &ProgramTemplate| {
            template.slots.same_template(&template.source, slots, source)
        };
        let template = self.templates.find(hash, is_same)?;
        Some(Program::new(template, slots.parameters(source)?))
    }

    /// The number of cached programs and templates, including dropped ones that are not removed
    /// yet.
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

/// Weak references by hash; of two values with the same hash only the later one is found.
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
        // Removing dropped entries when the table would grow costs amortized constant time per
        // insert and keeps the table within a constant factor of the live entries.
        if all.len() == all.capacity() && all.len() >= UNSWEPT_MAX {
            all.retain(|_, one| one.strong_count() > 0);
        }
        all.insert(hash, Arc::downgrade(one));
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
