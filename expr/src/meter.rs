//! Counts what an evaluation spends. Both evaluators charge through it by the same rules.

use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::{
    ACTIVE_HEIGHT_MAX, CALL_HEIGHT, ELEMENTS_PER_STEP, MEMORY_BYTES_MAX, TEXT_BYTES_PER_STEP,
    VALUE_DEPTH_MAX,
};

/// What is left of one evaluation's budget.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    steps_max: u32,
    steps_left: u32,
    memory_left: u32,
    height_left: u32,
}

impl Meter {
    pub(crate) fn new(steps_max: u32) -> Meter {
        Meter {
            steps_max,
            steps_left: steps_max,
            memory_left: MEMORY_BYTES_MAX,
            height_left: ACTIVE_HEIGHT_MAX,
        }
    }

    /// Steps charged so far; the whole budget once it is overdrawn.
    pub(crate) fn steps(&self) -> u32 {
        self.steps_max - self.steps_left
    }

    /// Charges `count` steps.
    #[inline]
    pub(crate) fn step<'v>(&mut self, count: u32) -> Result<(), Fault<'v>> {
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

    /// Charges for list elements or map entries that a builtin reads.
    pub(crate) fn read_elements<'v>(&mut self, count: usize) -> Result<(), Fault<'v>> {
        self.step(u32::try_from(count / ELEMENTS_PER_STEP).unwrap_or(u32::MAX))
    }

    /// Charges for bytes of text that a builtin or operator reads.
    pub(crate) fn read_text<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        self.step(u32::try_from(bytes / TEXT_BYTES_PER_STEP).unwrap_or(u32::MAX))
    }

    /// Charges memory for something about to be built.
    pub(crate) fn memory<'v>(&mut self, bytes: usize) -> Result<(), Fault<'v>> {
        match u32::try_from(bytes).ok().and_then(|bytes| self.memory_left.checked_sub(bytes)) {
            Some(left) => {
                self.memory_left = left;
                Ok(())
            }
            None => {
                self.memory_left = 0;
                Err(Fault::new(Code::TooMuchMemory, "The evaluation builds too much text or data"))
            }
        }
    }

    /// Refuses values that nest deeper than what walks them may recurse.
    pub(crate) fn depth<'v>(&self, depth: u16) -> Result<u16, Fault<'v>> {
        if depth > VALUE_DEPTH_MAX {
            return Err(Fault::new(Code::TooDeepValue, "The value nests too deep"));
        }
        Ok(depth)
    }

    /// Enters a function body of the given height; [`Meter::leave`] must follow.
    pub(crate) fn enter<'v>(&mut self, height: u16) -> Result<(), Fault<'v>> {
        match self.height_left.checked_sub(u32::from(height) + CALL_HEIGHT) {
            Some(left) => {
                self.height_left = left;
                Ok(())
            }
            None => Err(Fault::new(Code::TooDeepValue, "Functions call each other too deep")),
        }
    }

    /// Leaves a function body that [`Meter::enter`] admitted.
    pub(crate) fn leave(&mut self, height: u16) {
        self.height_left += u32::from(height) + CALL_HEIGHT;
    }
}
