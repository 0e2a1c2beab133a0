//! One pass over the chunks of a text: finds tokens and checks which token may follow which.
//!
//! A rule on neighbouring tokens takes a few operations for a whole chunk: apart from whitespace,
//! the byte after a token is the next token. Two rules differ between lists and maps; their
//! violations are reported as masks, which [`crate::event::scan`] resolves, since it knows the
//! nesting.
//!
//! **Source:** Langdale and Lemire, "Parsing gigabytes of JSON per second", 2019, for the masks of
//! quotes and escapes.

use super::bits::Bits;
use super::classify::{self, Chunk, Classes, InputBlock};

/// The state carried from chunk to chunk.
#[derive(Default)]
pub(super) struct PassState {
    /// Whether the text is invalid, independent of nesting.
    pub(super) is_invalid: bool,
    /// Not zero after a control character in a string.
    pub(super) controls: u64,
    /// Not zero after a byte that is not ASCII.
    pub(super) high: u64,
    pub(super) has_escapes: bool,
    /// Whether a possible name has an escape.
    pub(super) has_escaped_names: bool,
    /// All ones inside a string.
    pub(super) in_text: u64,
    /// One if the first byte of the next chunk is escaped.
    escaped: u64,
    /// Whether the next chunk begins inside a possible name.
    in_name: bool,
    scalars: Follows,
    values: Follows,
    opens: Follows,
    commas: Follows,
    names: Follows,
}

/// The byte classes of one chunk.
#[derive(Default)]
struct ChunkClasses {
    /// Unescaped quotes.
    quotes: Bits,
    /// From each opening quote up to, but not including, the closing one.
    inside: Bits,
    escaped: Bits,
    open: Bits,
    close: Bits,
    comma: Bits,
    colon: Bits,
    whitespace: Bits,
}

/// The token masks of a chunk. All tokens are outside strings.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::event) struct Tokens {
    /// One of `{}[]`.
    pub(super) brackets: Bits,
    pub(super) colons: Bits,
    /// The first bytes of numbers and literals.
    pub(super) scalars: Bits,
    /// Tokens that would be members without a name, if they are in a map.
    pub(super) unnamed: Bits,
}

/// The token masks of one block.
#[derive(Clone, Copy, Debug)]
pub(in crate::event) struct BlockTokens {
    pub(in crate::event) brackets: u64,
    pub(in crate::event) colons: u64,
    pub(in crate::event) scalars: u64,
    pub(in crate::event) unnamed: u64,
}

impl Tokens {
    /// Iterates over the blocks.
    #[inline(always)]
    pub(in crate::event) fn blocks(&self) -> impl Iterator<Item = BlockTokens> {
        let rows = self.brackets.0.iter().zip(&self.colons.0);
        let rows = rows.zip(&self.scalars.0).zip(&self.unnamed.0);
        rows.map(|(((brackets, colons), scalars), unnamed)| BlockTokens {
            brackets: *brackets,
            colons: *colons,
            scalars: *scalars,
            unnamed: *unnamed,
        })
    }
}

/// All masks of one chunk.
pub(super) struct ChunkMasks {
    pub(super) tokens: Tokens,
    pub(super) quotes: Bits,
    pub(super) escaped: Bits,
}

impl PassState {
    /// Processes the next chunk.
    #[inline(always)]
    pub(super) fn chunk(
        &mut self,
        chunk: &Chunk,
        classes: &impl Fn(&InputBlock) -> Classes,
        prefix_xor: &impl Fn(u64) -> u64,
    ) -> ChunkMasks {
        let mut found = ChunkClasses::default();
        for (at, block) in chunk.as_chunks().0.iter().enumerate() {
            self.block(block, &classes(block), prefix_xor, &mut found, at);
        }
        if found.whitespace.any() {
            self.check_order::<true>(&found)
        } else {
            self.check_order::<false>(&found)
        }
    }

    #[inline(always)]
    fn block(
        &mut self,
        block: &InputBlock,
        classes: &Classes,
        prefix_xor: &impl Fn(u64) -> u64,
        found: &mut ChunkClasses,
        at: usize,
    ) {
        let escaped = self.escaped(classes.backslash);
        let quotes = classes.quote & !escaped;
        let inside = prefix_xor(quotes) ^ self.in_text;
        self.in_text = (inside.cast_signed() >> 63).cast_unsigned();
        self.high |= classes.high;
        self.controls |= classes.control & inside;
        let whitespace = match classes.control & !inside {
            0 => classes.space,
            _ => classes.space | classify::line_whitespace(block),
        };
        found.quotes.set(at, quotes);
        found.inside.set(at, inside);
        found.escaped.set(at, escaped);
        found.open.set(at, classes.open & !inside);
        found.close.set(at, classes.close & !inside);
        found.comma.set(at, classes.comma & !inside);
        found.colon.set(at, classes.colon & !inside);
        found.whitespace.set(at, whitespace & !inside);
    }

    #[inline(always)]
    fn check_order<const HAS_WHITESPACE: bool>(&mut self, found: &ChunkClasses) -> ChunkMasks {
        let &ChunkClasses { quotes, inside, escaped, open, close, comma, colon, whitespace } =
            found;
        let (text_starts, text_ends) = (quotes & inside, quotes & !inside);
        let plain = !(inside | open | close | comma | colon | quotes | whitespace);
        let scalars = plain & !self.scalars.of::<false>(plain, whitespace);
        let after_value = self.values.of::<HAS_WHITESPACE>(text_ends | close | plain, whitespace);
        let after_open = self.opens.of::<HAS_WHITESPACE>(open, whitespace);
        let after_comma = self.commas.of::<HAS_WHITESPACE>(comma, whitespace);
        // In a map, a string at such a position must be a name; strings in a list are harmless.
        let name_positions = after_open | after_comma;
        let (passed, in_name) = inside.plus(&(text_starts & name_positions), self.in_name);
        self.in_name = in_name;
        let after_name = self.names.of::<HAS_WHITESPACE>(passed & text_ends, whitespace);
        if escaped.any() {
            self.has_escapes = true;
            self.has_escaped_names |= ((passed ^ inside) & escaped).any();
        }
        let others = open | scalars;
        let ends = comma | (close & !after_open);
        let violations = ((text_starts | others) & after_value) | (ends & !after_value);
        self.is_invalid |= violations.any();
        let tokens = Tokens {
            brackets: open | close,
            colons: colon,
            scalars,
            unnamed: (name_positions & others) | (after_name ^ colon),
        };
        ChunkMasks { tokens, quotes, escaped }
    }

    /// Returns the bytes after a backslash that is not itself escaped.
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        if backslash == 0 {
            return std::mem::take(&mut self.escaped);
        }
        let starts = backslash & !self.escaped;
        // The subtraction carries through each run of backslashes, so that the bit after it shows
        // whether their number is even or odd.
        let ends = ((starts << 1) | ODD).wrapping_sub(starts) ^ ODD;
        let escaped = ends ^ (backslash | self.escaped);
        self.escaped = (ends & backslash) >> 63;
        escaped
    }
}

/// Whether the next chunk's first token follows a token of this kind.
#[derive(Default)]
struct Follows(bool);

impl Follows {
    /// Returns the first bytes after `bytes` that are not whitespace.
    #[inline(always)]
    fn of<const HAS_WHITESPACE: bool>(&mut self, bytes: Bits, whitespace: Bits) -> Bits {
        let after = bytes.up(self.0);
        self.0 = bytes.last();
        if !HAS_WHITESPACE {
            return after;
        }
        // The addition carries through each run of whitespace that begins there.
        let (passed, is_beyond) = whitespace.plus(&(after & whitespace), false);
        self.0 |= is_beyond;
        (after | passed) & !whitespace
    }
}
