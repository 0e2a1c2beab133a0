//! One stretch after the other: where its tokens stand, and whether each may stand behind the one
//! before it.
//!
//! A rule on neighbours is a few operations on a stretch of bytes at once, since the byte behind a token is
//! the next one, but for blanks. Two rules differ in lists and maps; what breaks them is told apart
//! by [`crate::event::scan`], which knows what is open.
//!
//! **Source:** Langdale and Lemire, "Parsing gigabytes of JSON per second", 2019, for the masks of
//! quotes and escapes.

use super::Chunk;
use super::bits::Bits;
use super::classify::{self, Block, Classes};

/// What a stretch must know of those before it.
#[derive(Default)]
pub(super) struct PassState {
    /// Whether the text is no JSON, whatever is open where.
    pub(super) is_invalid: bool,
    /// Not zero once there was a control character in text.
    pub(super) controls: u64,
    /// Not zero once there was a byte beyond ASCII.
    pub(super) high: u64,
    pub(super) has_escapes: bool,
    /// Whether there was an escape in what may be a name.
    pub(super) has_escaped_names: bool,
    /// All ones inside of text.
    pub(super) in_text: u64,
    /// One if the first byte is escaped.
    escaped: u64,
    /// Whether the first byte is inside of what may be a name.
    in_name: bool,
    scalars: Follows,
    values: Follows,
    opens: Follows,
    commas: Follows,
    names: Follows,
}

/// What the bytes of a stretch are by themselves.
#[derive(Default)]
struct ChunkClasses {
    /// Those that are not escaped.
    quotes: Bits,
    /// From each opening quote up to, and without, the closing one.
    inside: Bits,
    escaped: Bits,
    open: Bits,
    close: Bits,
    comma: Bits,
    colon: Bits,
    whitespace: Bits,
}

/// The tokens of a stretch, a bit for each. They are all outside of text.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::event) struct Tokens {
    /// One of `{}[]`.
    pub(super) brackets: Bits,
    pub(super) colons: Bits,
    /// The first bytes of numbers and words.
    pub(super) scalars: Bits,
    /// In a map, breaks the rule that members have names.
    pub(super) unnamed: Bits,
}

/// The tokens of 64 bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::event) struct BlockTokens {
    pub(in crate::event) brackets: u64,
    pub(in crate::event) colons: u64,
    pub(in crate::event) scalars: u64,
    pub(in crate::event) unnamed: u64,
}

impl Tokens {
    /// Block by block.
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

/// All that is known of a stretch.
pub(super) struct ChunkMasks {
    pub(super) tokens: Tokens,
    pub(super) quotes: Bits,
    pub(super) escaped: Bits,
}

impl PassState {
    /// Reads the next stretch.
    #[inline(always)]
    pub(super) fn chunk(
        &mut self,
        chunk: &Chunk,
        classes: &impl Fn(&Block) -> Classes,
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
        block: &Block,
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
        let behind_value = self.values.of::<HAS_WHITESPACE>(text_ends | close | plain, whitespace);
        let behind_open = self.opens.of::<HAS_WHITESPACE>(open, whitespace);
        let behind_comma = self.commas.of::<HAS_WHITESPACE>(comma, whitespace);
        // Of a map, what stands there must be a name; the text of a list harms nobody.
        let name_places = behind_open | behind_comma;
        let (passed, in_name) = inside.plus(&(text_starts & name_places), self.in_name);
        self.in_name = in_name;
        let behind_name = self.names.of::<HAS_WHITESPACE>(passed & text_ends, whitespace);
        if escaped.any() {
            self.has_escapes = true;
            self.has_escaped_names |= ((passed ^ inside) & escaped).any();
        }
        let others = open | scalars;
        let ends = comma | (close & !behind_open);
        let violations = ((text_starts | others) & behind_value) | (ends & !behind_value);
        self.is_invalid |= violations.any();
        let tokens = Tokens {
            brackets: open | close,
            colons: colon,
            scalars,
            unnamed: (name_places & others) | (behind_name ^ colon),
        };
        ChunkMasks { tokens, quotes, escaped }
    }

    /// Which bytes stand behind a backslash that is not itself escaped.
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        if backslash == 0 {
            return std::mem::take(&mut self.escaped);
        }
        let starts = backslash & !self.escaped;
        // Subtracting carries through each row of backslashes, so that the bit behind it tells
        // whether their number is even or odd.
        let ends = ((starts << 1) | ODD).wrapping_sub(starts) ^ ODD;
        let escaped = ends ^ (backslash | self.escaped);
        self.escaped = (ends & backslash) >> 63;
        escaped
    }
}

/// Whether the first byte is behind something else than a blank.
#[derive(Default)]
struct Follows(bool);

impl Follows {
    /// The first bytes behind `bytes`, none of which is a blank.
    #[inline(always)]
    fn of<const HAS_WHITESPACE: bool>(&mut self, bytes: Bits, whitespace: Bits) -> Bits {
        let behind = bytes.up(self.0);
        self.0 = bytes.last();
        if !HAS_WHITESPACE {
            return behind;
        }
        // Adding carries through each row of blanks that begins there.
        let (passed, is_beyond) = whitespace.plus(&(behind & whitespace), false);
        self.0 |= is_beyond;
        (behind | passed) & !whitespace
    }
}
