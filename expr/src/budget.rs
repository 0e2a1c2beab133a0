//! The budget of an evaluation: steps, memory and stack. Both evaluators charge it by the same
//! rules.
//!
//! Prices are set so that no step takes much longer than 10 ns. The limit on steps therefore bounds
//! the time for any event; `benches/worst` measures it.
//!
//! Design: `docs/design/step-prices.md`.

use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::{
    ACTIVE_HEIGHT_MAX, CALL_HEIGHT, MEMORY_BYTES_MAX, SEARCH_BYTES_PER_STEP, STEPS_PER_BUILT,
    STEPS_PER_ELEMENT, STEPS_PER_SEARCH, TEXT_BYTES_PER_STEP, VALUE_DEPTH_MAX,
};
use crate::value::Value;

/// Bytes of a value inside a list.
pub(crate) const VALUE_BYTES: usize = size_of::<Value<'static>>();
/// Bytes of the reference counts and lengths that precede a shared allocation.
const HEADER_BYTES: usize = 48;
/// Names that a member lookup compares for one step, and the most it compares: larger maps have an
/// index.
const NAMES_PER_STEP: u32 = 4;
const NAMES_WALKED_MAX: u32 = 16;
/// Slots of a function that are initialized for one step.
const SLOTS_PER_STEP: u32 = 8;
/// A vector that doubles takes at most three times its contents while it grows: the old buffer and
/// the new one.
const GROWTH: usize = 3;

/// The remaining budget of one evaluation.
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

    /// Steps charged so far; the whole budget if it is exhausted.
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

    /// Charges one step for each of `count` items: list elements, map entries, or expensive bytes.
    pub(crate) fn charge_each<'v>(&mut self, count: usize) -> Result<(), Fault<'v>> {
        self.charge(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Charges for bytes of text that are compared or copied.
    #[inline]
    pub(crate) fn charge_text<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.charge_each(bytes / TEXT_BYTES_PER_STEP)
    }

    /// Charges for looking up a member of an event map with `members` entries.
    #[inline]
    pub(crate) fn charge_lookup<'v>(&mut self, members: u32) -> Result<(), Fault<'v>> {
        self.charge(members.min(NAMES_WALKED_MAX) / NAMES_PER_STEP)
    }

    /// Charges for bytes of text that are searched.
    pub(crate) fn charge_search<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.charge(STEPS_PER_SEARCH)?;
        self.charge_each(bytes / SEARCH_BYTES_PER_STEP)
    }

    /// Charges for a heap allocation of `bytes`.
    pub(crate) fn charge_allocation<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.charge(STEPS_PER_BUILT)?;
        self.charge_memory(bytes.saturating_add(HEADER_BYTES))
    }

    /// Charges for a heap allocation of text and of the buffer in which it is built.
    pub(crate) fn charge_text_allocation<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.charge_allocation(bytes.saturating_mul(GROWTH))
    }

    /// Charges for collecting `count` names and values.
    pub(crate) fn charge_entries<'v>(&mut self, count: usize) -> Result<(), Fault<'v>> {
        self.charge_allocation(0)?;
        self.charge_growth(2 * count)?;
        self.charge_each(count.saturating_mul(STEPS_PER_ELEMENT as usize))
    }

    /// Charges for `count` more values of a growing list.
    pub(crate) fn charge_growth<'v>(&mut self, count: usize) -> Result<(), Fault<'v>> {
        self.charge_memory(count.saturating_mul(GROWTH * VALUE_BYTES))
    }

    /// Charges for allocating and filling `bytes`.
    pub(crate) fn charge_memory<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.reserve_memory(bytes)?;
        self.charge_text(bytes)
    }

    /// Charges memory, but no steps.
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

    /// Returns `depth`, or an error if recursive operations on the value could overflow the stack.
    pub(crate) fn check_depth<'v>(&self, depth: u16) -> Result<u16, Fault<'v>> {
        if depth > VALUE_DEPTH_MAX {
            return Err(Fault::new(Code::TooDeepValue, "The value nests too deep"));
        }
        Ok(depth)
    }

    /// Enters a function. On success the caller must call [`Budget::leave_function`].
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

    /// Leaves a function entered by [`Budget::enter_function`].
    pub(crate) fn leave_function(&mut self, size: FrameSize) {
        self.height_left += size.active_height();
        // An exhausted memory budget stays exhausted.
        if self.memory_left > 0 {
            self.memory_left += size.stack_bytes();
        }
    }
}

/// The stack use of a running function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameSize {
    /// Named values, including parameters.
    pub(crate) slots: u32,
    /// Nodes of its tree: an upper bound of the operands on the stack.
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
