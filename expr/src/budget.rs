//! Counts what an evaluation spends. Both evaluators charge through it by the same rules.
//!
//! Prices are such that no step takes much longer than 10 ns, so that the bound on steps bounds the
//! time whatever the event: `benches/worst` holds them against the clock.

use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::{
    ACTIVE_HEIGHT_MAX, CALL_HEIGHT, MEMORY_BYTES_MAX, SEARCH_BYTES_PER_STEP, STEPS_PER_BUILT,
    STEPS_PER_CONSTANT, STEPS_PER_ELEMENT, STEPS_PER_SEARCH, TEXT_BYTES_PER_STEP, VALUE_DEPTH_MAX,
};
use crate::value::Value;

/// Bytes of a value inside a list.
pub(crate) const VALUE_BYTES: usize = size_of::<Value<'static>>();
/// Bytes of the counts and lengths in front of what is shared.
const HEADER_BYTES: usize = 48;
/// Names that a lookup walks over for one step, and at most: larger maps have an index.
const NAMES_PER_STEP: u32 = 4;
const NAMES_WALKED_MAX: u32 = 16;
/// ParameterSlots of a function that are made ready for one step.
const SLOTS_PER_STEP: u32 = 8;
/// What grows by doubling takes at most three times its size: the old buffer beside the new one.
const GROWTH: usize = 3;

/// What is left of one evaluation's budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    steps_max: u32,
    steps_left: u32,
    memory_left: u32,
    height_left: u32,
}

impl Budget {
    pub(crate) fn new(steps_max: u32) -> Budget {
        Budget {
            steps_max,
            steps_left: steps_max,
            memory_left: MEMORY_BYTES_MAX,
            height_left: ACTIVE_HEIGHT_MAX,
        }
    }

    /// Steps charged so far; the whole budget once it is overdrawn.
    pub(crate) fn steps_used(&self) -> u32 {
        self.steps_max - self.steps_left
    }

    /// Charges `count` steps.
    #[inline]
    pub(crate) fn charge<'v>(&mut self, count: u32) -> Result<(), Fault<'v>> {
        match self.steps_left.checked_sub(count) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => {
                self.steps_left = 0;
                Err(Fault::new(Code::TooManySteps, "The evaluation takes too many steps"))
            }
        }
    }

    /// Charges one step for each of `count` things: list elements, map entries, dear bytes.
    pub(crate) fn charge_each<'v>(&mut self, count: usize) -> Result<(), Fault<'v>> {
        self.charge(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Charges for a list of `count` constants.
    pub(crate) fn charge_constant_list<'v>(&mut self, count: usize) -> Result<(), Fault<'v>> {
        self.charge(STEPS_PER_CONSTANT)?;
        self.charge_each(count)
    }

    /// Charges for bytes of text that are compared or copied.
    #[inline]
    pub(crate) fn charge_text<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.charge_each(bytes / TEXT_BYTES_PER_STEP)
    }

    /// Charges for finding a member of a map of the event by its name.
    #[inline]
    pub(crate) fn charge_lookup<'v>(&mut self, members: u32) -> Result<(), Fault<'v>> {
        self.charge(members.min(NAMES_WALKED_MAX) / NAMES_PER_STEP)
    }

    /// Charges for bytes of text that are searched.
    pub(crate) fn charge_search<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.charge(STEPS_PER_SEARCH)?;
        self.charge_each(bytes / SEARCH_BYTES_PER_STEP)
    }

    /// Charges for something of so many bytes that is about to be put on the heap.
    pub(crate) fn charge_allocation<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.charge(STEPS_PER_BUILT)?;
        self.charge_memory(bytes.saturating_add(HEADER_BYTES))
    }

    /// Charges for text that is about to be put on the heap, itself and the buffer it grew in.
    pub(crate) fn charge_text_allocation<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.charge_allocation(bytes.saturating_mul(GROWTH))
    }

    /// Charges for collecting `count` names and values.
    pub(crate) fn charge_entries<'v>(&mut self, count: usize) -> Result<(), Fault<'v>> {
        self.charge_allocation(0)?;
        self.charge_growth(2 * count)?;
        self.charge_each(count.saturating_mul(STEPS_PER_ELEMENT as usize))
    }

    /// Charges for `count` more values of a list that grows.
    pub(crate) fn charge_growth<'v>(&mut self, count: usize) -> Result<(), Fault<'v>> {
        self.charge_memory(count.saturating_mul(GROWTH * VALUE_BYTES))
    }

    /// Charges for bytes that are about to be allocated, and for filling them.
    pub(crate) fn charge_memory<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.reserve_memory(bytes)?;
        self.charge_text(bytes)
    }

    /// Charges for bytes that are about to be allocated, but no steps.
    pub(crate) fn reserve_memory<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        match u32::try_from(bytes).ok().and_then(|bytes| self.memory_left.checked_sub(bytes)) {
            Some(left) => {
                self.memory_left = left;
                Ok(())
            }
            None => {
                self.memory_left = 0;
                Err(too_much_memory())
            }
        }
    }

    /// Refuses values that nest deeper than what walks them may recurse.
    pub(crate) fn check_depth<'v>(&self, depth: u16) -> Result<u16, Fault<'v>> {
        if depth > VALUE_DEPTH_MAX {
            return Err(Fault::new(Code::TooDeepValue, "The value nests too deep"));
        }
        Ok(depth)
    }

    /// Enters a function; [`Budget::leave_function`] must follow if it may.
    pub(crate) fn enter_function<'v>(&mut self, size: FrameSize) -> Result<(), Fault<'v>> {
        let height_left = self.height_left.checked_sub(size.active_height());
        let Some(height_left) = height_left else {
            return Err(Fault::new(Code::TooDeepValue, "Functions call each other too deep"));
        };
        self.charge(size.slots / SLOTS_PER_STEP)?;
        let Some(memory_left) = self.memory_left.checked_sub(size.stack_bytes()) else {
            return Err(too_much_memory());
        };
        (self.height_left, self.memory_left) = (height_left, memory_left);
        Ok(())
    }

    /// Leaves a function that [`Budget::enter_function`] admitted.
    pub(crate) fn leave_function(&mut self, size: FrameSize) {
        self.height_left += size.active_height();
        // An overdrawn account stays empty.
        if self.memory_left > 0 {
            self.memory_left += size.stack_bytes();
        }
    }
}

/// What a running function takes of the stacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameSize {
    /// Named values, parameters among them.
    pub(crate) slots: u32,
    /// Nodes of its tree: it never holds more operands at one time.
    pub(crate) nodes: u32,
    /// Height of its tree.
    pub(crate) height: u16,
}

impl FrameSize {
    fn active_height(self) -> u32 {
        u32::from(self.height) + CALL_HEIGHT
    }

    fn stack_bytes(self) -> u32 {
        let bytes = (self.slots + self.nodes) as usize * GROWTH * VALUE_BYTES;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

fn too_much_memory<'v>() -> Fault<'v> {
    Fault::new(Code::TooMuchMemory, "The evaluation builds too much text or data")
}
