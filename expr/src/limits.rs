//! Every bound of the language, in one place.

/// Longest source, in Unicode scalar values. **Source:** Forge events page, "Filter out events".
pub const SOURCE_CHARS_MAX: usize = 10_000;

/// How deep brackets, blocks, functions and unary operators may nest. Bounds the parser's stack.
pub const NESTING_MAX: usize = 128;

/// How high the tree may grow when operators of different precedence alternate inside brackets.
/// Bounds the stack of everything that walks the tree.
pub const TREE_HEIGHT_MAX: u16 = 256;

/// Steps of one evaluation. **Source:** Forge events page, "Filter out events".
pub const STEPS_MAX: u32 = 50_000;

/// Sum of the tree heights of all functions active at one time, each with [`CALL_HEIGHT`] on top.
/// Bounds the evaluator's stack for functions that call themselves through an argument.
pub const ACTIVE_HEIGHT_MAX: u32 = 384;

/// What a call adds to the height of the function it enters.
pub const CALL_HEIGHT: u32 = 8;

/// Bytes that one evaluation may allocate, whether or not it keeps them.
pub const MEMORY_BYTES_MAX: u32 = 1024 * 1024;

/// How deep a value built by an expression may nest.
pub const VALUE_DEPTH_MAX: u16 = 128;

/// Largest count for `repeat`, `padStart` and `padEnd`.
pub const REPEAT_MAX: f64 = 100.0;

/// UTF-16 units of a `join` before it is cut and `...` appended.
pub const JOIN_UNITS_MAX: usize = 10_000;

/// Size of the automaton of one regular expression, in bytes.
pub const REGEX_BYTES_MAX: usize = 64 * 1024;

/// Size of each of the two tables of one regular expression, in bytes. One that would need more is
/// simulated instead.
pub const REGEX_DFA_BYTES_MAX: usize = 32 * 1024;

/// Different patterns that stand in one source. One may take half a millisecond to compile, and all
/// of a source must take less than 5 ms.
pub const PATTERNS_MAX: usize = 8;
/// Bytes of all these patterns together: a class of thousands of characters takes a microsecond for
/// each of them.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Steps of an element of a list, or an entry of a map, that a builtin or operator reads.
pub const STEPS_PER_ELEMENT: u32 = 3;

/// Bytes of text that are compared or copied for one step.
pub const TEXT_BYTES_PER_STEP: usize = 64;

/// Bytes of text that are searched for one step: by `includes`, `indexOf`, `split`, `trim`, `slice`.
pub const SEARCH_BYTES_PER_STEP: usize = 8;
/// Steps for beginning to search a text, however short: its length, a unit of it, where another
/// stands in it.
pub const STEPS_PER_SEARCH: u32 = 4;

/// Steps of a remainder, beside that of its node: numbers far apart take a division for each few
/// bits between them.
pub const STEPS_PER_REMAINDER: u32 = 7;

/// Steps of entering a function, beside those of its body.
pub const STEPS_PER_ENTRY: u32 = 7;

/// Steps of naming a builtin function, or a list of constants beside those for its elements: the
/// value is larger than others that a node yields.
pub const STEPS_PER_CONSTANT: u32 = 2;

/// Steps of anything that is put on the heap, beside those for its bytes.
pub const STEPS_PER_BUILT: u32 = 8;

/// Steps of writing a number or a date as text, or of reading one.
pub const STEPS_PER_NUMBER_TEXT: u32 = 32;

/// Steps of the words of an error that does not end the evaluation.
pub const STEPS_PER_ERROR: u32 = 128;

/// Diagnostics that are rendered before "and n more".
pub const DIAGNOSTICS_SHOWN_MAX: usize = 10;

/// Warnings that a checker looks for; behind so many, one more helps nobody.
pub const WARNINGS_MAX: usize = 32;

/// Findings that a checker words; a source of 10,000 characters may hold thousands.
pub const FINDINGS_MAX: usize = 64;

/// Event types of one trigger whose payloads the checker tells apart.
pub const BODIES_MAX: usize = 8;

/// Things the checker remembers of one condition: paths that are there, values they equal.
pub const REMEMBERED_MAX: usize = 64;

/// Syntax errors that are told at once; each costs one more reading.
pub const SYNTAX_ERRORS_MAX: usize = 10;
