//! What is compiled once for many filters: equal ones are one program, and those that differ only
//! in constants share all but these.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::program::{Program, Shape};
use crate::slots::Slots;
use crate::{Profile, Rejected, compile, read};

/// Fewer entries than this are kept without asking whether they are still in use.
const UNSWEPT_MAX: usize = 1024;

/// Programs and shapes in use, by hash. Holds none of them alive; their number is bounded by those
/// that others hold.
#[derive(Debug, Default)]
pub struct Shapes {
    programs: Table<Program>,
    shapes: Table<Shape>,
    hashers: RandomState,
}

impl Shapes {
    /// No shapes yet.
    pub fn new() -> Shapes {
        Shapes::default()
    }

    /// The program of an expression, compiled only as far as no one in use is like it.
    ///
    /// # Errors
    /// As [`crate::compile`].
    pub fn compile(&self, source: &str, profile: Profile) -> Result<Arc<Program>, Rejected> {
        let hash = self.hash(profile, |state| source.hash(state));
        if let Some(known) = self.programs.find(hash, |program| program.is_of(source)) {
            return Ok(known);
        }
        let slots = Slots::of(source);
        let hash_of_shape = self.hash(profile, |state| slots.hash_shape(source, state));
        let program = match self.of_known_shape(hash_of_shape, source, &slots) {
            Some(program) => program,
            None => {
                let (typed, _) = read(source, profile)?;
                let (program, is_shared) = compile::compile(&typed);
                if is_shared {
                    self.shapes.keep(hash_of_shape, &program.shape);
                }
                program
            }
        };
        let program = Arc::new(program);
        self.programs.keep(hash, &program);
        Ok(program)
    }

    fn of_known_shape(&self, hash: u64, source: &str, slots: &Slots) -> Option<Program> {
        let is_same = |shape: &Shape| shape.slots.same_shape(&shape.source, slots, source);
        let shape = self.shapes.find(hash, is_same)?;
        Some(Program { shape, constants: slots.constants(source)? })
    }

    /// How many programs and shapes are remembered, those that are gone but not swept included.
    pub fn remembered(&self) -> (usize, usize) {
        (self.programs.locked().len(), self.shapes.locked().len())
    }

    fn hash(
        &self,
        profile: Profile,
        with: impl FnOnce(&mut <RandomState as BuildHasher>::Hasher),
    ) -> u64 {
        let mut hasher = self.hashers.build_hasher();
        (profile == Profile::Filter).hash(&mut hasher);
        with(&mut hasher);
        hasher.finish()
    }
}

/// Things in use by hash; of two with the same one, only the later is found.
#[derive(Debug)]
struct Table<T>(Mutex<HashMap<u64, Weak<T>>>);

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table(Mutex::default())
    }
}

impl<T> Table<T> {
    fn find(&self, hash: u64, is_it: impl FnOnce(&T) -> bool) -> Option<Arc<T>> {
        let found = self.locked().get(&hash).and_then(Weak::upgrade)?;
        is_it(&found).then_some(found)
    }

    fn keep(&self, hash: u64, one: &Arc<T>) {
        let mut all = self.locked();
        // Swept when the table would grow, so that sweeping costs little per entry and the table
        // stays within a constant factor of what is in use.
        if all.len() == all.capacity() && all.len() >= UNSWEPT_MAX {
            all.retain(|_, one| one.strong_count() > 0);
        }
        all.insert(hash, Arc::downgrade(one));
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<u64, Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
