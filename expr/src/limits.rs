//! All limits of the language.

/// Longest source, in Unicode scalar values. **Source:** Forge events page, "Filter out events".
pub const SOURCE_CHARS_MAX: usize = 10_000;

/// Longest source of which the author wrote another form, in Unicode scalar values: the expression
/// of a JQL query. A query within [`SOURCE_CHARS_MAX`] that lists short values is translated to less
/// than half of this.
pub const TRANSLATED_CHARS_MAX: usize = 50_000;

/// Nesting depth of brackets, blocks, functions and unary operators. Bounds the parser's stack.
pub const NESTING_MAX: usize = 128;

/// Height of the tree, which grows when operators of different precedence alternate inside
/// brackets. Bounds the stack of all recursive tree visitors.
pub const TREE_HEIGHT_MAX: u16 = 256;

/// Steps of one evaluation. **Source:** Forge events page, "Filter out events".
pub const STEPS_MAX: u32 = 50_000;

/// Sum of the tree heights of all active functions, each increased by [`CALL_HEIGHT`]. Bounds the
/// evaluator's stack for functions that call themselves through an argument.
pub const ACTIVE_HEIGHT_MAX: u32 = 384;

/// Height that a call adds to the tree height of the called function.
pub const CALL_HEIGHT: u32 = 8;

/// Bytes that one evaluation may allocate in total, freed memory included.
pub const MEMORY_BYTES_MAX: u32 = 1024 * 1024;

/// Nesting depth of a value built by an expression.
pub const VALUE_DEPTH_MAX: u16 = 128;

/// Largest count accepted by `repeat`, `padStart` and `padEnd`.
pub const REPEAT_MAX: f64 = 100.0;

/// UTF-16 units of the result of `join`; a longer result is truncated and `...` is appended.
pub const JOIN_UNITS_MAX: usize = 10_000;

/// Size of the NFA of one regular expression, in bytes.
pub const REGEX_BYTES_MAX: usize = 64 * 1024;

/// Size of each of the two DFAs of one regular expression, in bytes. A pattern that needs more is
/// matched by NFA simulation.
pub const REGEX_DFA_BYTES_MAX: usize = 32 * 1024;

/// Distinct regular expressions in one source. One takes up to half a millisecond to compile, and a
/// whole source must compile in 5 ms.
pub const PATTERNS_MAX: usize = 8;
/// Bytes of all regular expressions of a source together: a class of thousands of characters takes
/// a microsecond for each character.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Steps for each list element or map entry that a builtin or operator reads.
pub const STEPS_PER_ELEMENT: u32 = 3;

/// Bytes of text that are compared or copied for one step.
pub const TEXT_BYTES_PER_STEP: usize = 64;

/// Bytes of text that are searched for one step: by `includes`, `indexOf`, `split`, `trim`,
/// `slice`.
pub const SEARCH_BYTES_PER_STEP: usize = 8;
/// Steps to start a search in text of any length: its length, a unit of it, the position of another
/// text in it.
pub const STEPS_PER_SEARCH: u32 = 4;

/// Steps of `%` in addition to the step of its node: operands of very different magnitude need one
/// division for every few bits of difference.
pub const STEPS_PER_REMAINDER: u32 = 7;

/// Steps of entering a function, in addition to those of its body.
pub const STEPS_PER_ENTRY: u32 = 7;

/// Steps of reading a builtin function, or a list of constants of any length, which is not copied:
/// the value is larger than other values of a node.
pub const STEPS_PER_CONSTANT: u32 = 2;

/// Steps of a heap allocation, in addition to those for its bytes.
pub const STEPS_PER_BUILT: u32 = 8;

/// Steps of formatting a number or date as text, or of parsing one.
pub const STEPS_PER_NUMBER_TEXT: u32 = 32;

/// Steps of formatting the message of an error that an expression can catch.
pub const STEPS_PER_ERROR: u32 = 128;

/// Diagnostics that are rendered before "and n more".
pub const DIAGNOSTICS_SHOWN_MAX: usize = 10;

/// Warnings that the schema checks report for one filter.
pub const WARNINGS_MAX: usize = 32;

/// Findings that the checker reports; a source of 10,000 characters may hold thousands.
pub const FINDINGS_MAX: usize = 64;

/// Distinct payload schemas that one filter is checked against.
pub const BODIES_MAX: usize = 8;

/// Paths known to be non-null, and values known to be equal, that the checker keeps for one
/// condition.
pub const REMEMBERED_MAX: usize = 64;

/// Syntax errors that are reported for one source; each costs one more parse.
pub const SYNTAX_ERRORS_MAX: usize = 10;
