//! JQL text to tokens.

use std::fmt;

/// Signs, longest first.
const SIGNS: &[&str] = &[
    "!=", "!~", "<=", ">=", "&&", "||", "=", "<", ">", "~", "!", "&", "|", "(", ")", "[", "]", ",",
];
/// Characters that end a bare word, beside whitespace.
const ENDS_WORD: &str = "=!<>~&|()[],\"'";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// A bare word: field, keyword or value.
    Word(String),
    /// Text in quotes: field or value, never a keyword.
    Text(String),
    /// One of [`SIGNS`].
    Sign(&'static str),
}

impl Token {
    /// Whether it is this keyword, in any case.
    pub(super) fn is_word(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn is_sign(&self, wanted: &str) -> bool {
        matches!(self, Self::Sign(sign) if *sign == wanted)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Text(text) => write!(f, "`{text}`"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
        }
    }
}

pub(super) fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = if first == '"' || first == '\'' {
            in_quotes(rest, first)?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(same(sign)), rest.strip_prefix(sign).unwrap_or_default())
        } else {
            let ends = |c: char| c.is_whitespace() || ENDS_WORD.contains(c);
            let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
            (Token::Word(word.to_owned()), after)
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// `&` and `|` are spelt twice in the tree.
fn same(sign: &'static str) -> &'static str {
    match sign {
        "&" => "&&",
        "|" => "||",
        sign => sign,
    }
}

/// A text in quotes and what follows; a backslash takes the next character as it is.
fn in_quotes(text: &str, quote: char) -> Result<(Token, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            end if end == quote => {
                let after = text.get(at + end.len_utf8()..).unwrap_or_default();
                return Ok((Token::Text(value), after));
            }
            other => value.push(other),
        }
    }
    Err("the JQL has a quote without an end".into())
}
