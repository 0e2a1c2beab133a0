//! JQL of webhooks: the documented subset, translated into the filter language.
//!
//! The matcher knows one language, so a JQL filter becomes an expression with the same verdict:
//! names and keys are compared without regard to case, a project, type, status or priority is meant
//! by name, id or (project) key, and `!=` and `NOT IN` hold only where there is a value. On an event
//! without an issue every clause but `= EMPTY` is false.
//!
//! **Source:** Jira Cloud platform, "Webhooks", dynamic webhooks: fields `issueKey`, `project`,
//! `issuetype`, `status`, `priority`, `assignee`, `reporter`, `issue.property`, `cf[id]`; operators
//! `=`, `!=`, `IN`, `NOT IN`; `AND`, `OR`, `NOT` and parentheses as in all JQL.

use std::fmt::Write as _;

mod lex;

use lex::{Token, lex};

/// Deepest nesting of parentheses and `NOT`.
const DEPTH_MAX: usize = 64;

/// The expression that a JQL text means; none if it is empty, which every issue matches.
///
/// # Errors
/// What of it is not supported, or not JQL, in one sentence.
pub(super) fn translate(text: &str) -> Result<Option<String>, String> {
    let tokens = lex(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser { tokens: &tokens, depth: 0 };
    let expression = parser.any()?;
    match parser.peek() {
        None => Ok(Some(expression)),
        Some(token) if token.is_word("order") => Err(unsupported("ORDER BY")),
        Some(token) => Err(format!("the JQL has {token} where AND, OR or its end was expected")),
    }
}

fn unsupported(clause: &str) -> String {
    format!("The clause {clause} is unsupported")
}

struct Parser<'t> {
    tokens: &'t [Token],
    depth: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.first()
    }

    fn next(&mut self) -> Option<&'t Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// Takes the next token if it is `wanted`.
    fn take(&mut self, wanted: impl Fn(&Token) -> bool) -> bool {
        let found = self.peek().is_some_and(wanted);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, wanted: &'static str) -> Result<(), String> {
        match self.next() {
            Some(Token::Sign(sign)) if *sign == wanted => Ok(()),
            Some(found) => Err(format!("the JQL has {found} where `{wanted}` was expected")),
            None => Err(format!("the JQL ends where `{wanted}` was expected")),
        }
    }

    fn any(&mut self) -> Result<String, String> {
        let mut text = self.all()?;
        while self.take(|token| token.is_word("or") || token.is_sign("||")) {
            text = format!("{text} || {}", self.all()?);
        }
        Ok(text)
    }

    fn all(&mut self) -> Result<String, String> {
        let mut text = self.one()?;
        while self.take(|token| token.is_word("and") || token.is_sign("&&")) {
            text = format!("{text} && {}", self.one()?);
        }
        Ok(text)
    }

    /// A clause, negated or in parentheses; what it yields stands beside `&&` as it is.
    fn one(&mut self) -> Result<String, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("the JQL nests deeper than {DEPTH_MAX}"));
        }
        let text = if self.take(|token| token.is_word("not") || token.is_sign("!")) {
            format!("!({})", self.one()?)
        } else if self.take(|token| token.is_sign("(")) {
            let inner = self.any()?;
            self.expect(")")?;
            format!("({inner})")
        } else {
            self.clause()?
        };
        self.depth -= 1;
        Ok(text)
    }

    fn clause(&mut self) -> Result<String, String> {
        let field = self.field()?;
        let negated = match self.next() {
            Some(Token::Sign("=")) => return Ok(field.is_one_of(&[self.value()?])),
            Some(Token::Sign("!=")) => return Ok(field.is_none_of(&[self.value()?])),
            Some(token) if token.is_word("in") => false,
            Some(token) if token.is_word("not") && self.take(|token| token.is_word("in")) => true,
            Some(token) => {
                return Err(format!("The operator {token} is unsupported; =, !=, IN, NOT IN are"));
            }
            None => return Err("the JQL ends where an operator was expected".into()),
        };
        self.expect("(")?;
        let mut values = vec![self.value()?];
        while self.take(|token| token.is_sign(",")) {
            values.push(self.value()?);
        }
        self.expect(")")?;
        Ok(if negated { field.is_none_of(&values) } else { field.is_one_of(&values) })
    }

    fn field(&mut self) -> Result<Field, String> {
        let name = match self.next() {
            Some(Token::Word(name) | Token::Text(name)) => name,
            Some(token) => return Err(format!("the JQL has {token} where a field was expected")),
            None => return Err("the JQL ends where a field was expected".into()),
        };
        if !self.take(|token| token.is_sign("[")) {
            return Field::named(name).ok_or_else(|| unsupported(name));
        }
        let inside = match self.next() {
            Some(Token::Word(inside) | Token::Text(inside)) => inside,
            _ => return Err(format!("the JQL needs a name in the brackets behind {name}")),
        };
        self.expect("]")?;
        match name.to_lowercase().as_str() {
            "cf" if inside.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Field::plain(format!("event.issue?.fields?.customfield_{inside}")))
            }
            "issue.property" => {
                let mut path = format!("event.runtime?.issue?.properties?.[{}]", quoted(inside));
                if let Some(Token::Word(rest)) = self.peek()
                    && let Some(rest) = rest.strip_prefix('.')
                {
                    self.next();
                    for name in rest.split('.') {
                        let _ = write!(path, "?.[{}]", quoted(name));
                    }
                }
                Ok(Field::plain(path))
            }
            _ => Err(unsupported(&format!("{name}[{inside}]"))),
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        let value = match self.next() {
            Some(Token::Text(text)) => Value::Text(text.clone()),
            Some(Token::Word(word)) if is_empty(word) => Value::Empty,
            Some(Token::Word(word)) if self.peek().is_some_and(|token| token.is_sign("(")) => {
                return Err(unsupported(&format!("{word}()")));
            }
            Some(Token::Word(word)) => Value::Text(word.clone()),
            Some(token) => return Err(format!("the JQL has {token} where a value was expected")),
            None => return Err("the JQL ends where a value was expected".into()),
        };
        Ok(value)
    }
}

fn is_empty(word: &str) -> bool {
    word.eq_ignore_ascii_case("empty") || word.eq_ignore_ascii_case("null")
}

/// What a clause compares with.
enum Value {
    /// No value.
    Empty,
    /// A name, key or id.
    Text(String),
}

/// A field as the expression reads it.
struct Field {
    /// Where it is; null = it has no value.
    path: String,
    /// Members below it of which each may be meant.
    members: &'static [Member],
}

#[derive(Clone, Copy)]
enum Member {
    /// The value itself, as written.
    Itself,
    /// An id or account, as written.
    Exact(&'static str),
    /// An id, where a number is written.
    Number(&'static str),
    /// A key, which is upper-case.
    Key(&'static str),
    /// A name, without regard to case.
    Name(&'static str),
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        use Member::{Exact, Key, Name, Number};
        const NAMED: &[Member] = &[Number("id"), Name("name")];
        let name = name.to_lowercase();
        let (path, members): (_, &'static [Member]) = match name.as_str() {
            "issuekey" | "issue" | "key" | "id" => ("", &[Number("id"), Key("key")]),
            "project" => ("project", &[Number("id"), Key("key"), Name("name")]),
            "issuetype" | "type" => ("issuetype", NAMED),
            "status" | "priority" => (name.as_str(), NAMED),
            "assignee" | "reporter" => (name.as_str(), &[Exact("accountId")]),
            _ => return None,
        };
        let fields = if path.is_empty() { "" } else { "?.fields?." };
        Some(Self { path: format!("event.issue{fields}{path}"), members })
    }

    fn plain(path: String) -> Self {
        Self { path, members: &[Member::Itself] }
    }

    fn is_none_of(&self, values: &[Value]) -> String {
        let text = self.is_one_of(values);
        // What has no value is not found by `!=`, except by `!= EMPTY`, which says the same.
        format!("({} != null && !({text}))", self.path)
    }

    fn is_one_of(&self, values: &[Value]) -> String {
        let mut ways: Vec<String> =
            self.members.iter().filter_map(|member| self.way(*member, values)).collect();
        if values.iter().any(|value| matches!(value, Value::Empty)) {
            ways.push(format!("{} == null", self.path));
        }
        match ways.as_slice() {
            [only] => only.clone(),
            _ => format!("({})", ways.join(" || ")),
        }
    }

    /// That a member is one of the values that it could hold; none if it could hold none of them.
    fn way(&self, member: Member, values: &[Value]) -> Option<String> {
        let path = &self.path;
        let left = match member {
            Member::Itself => path.clone(),
            Member::Exact(name) | Member::Number(name) | Member::Key(name) => {
                format!("{path}?.{name}")
            }
            Member::Name(name) => format!("{path}?.{name}?.toLowerCase()"),
        };
        let texts = values.iter().filter_map(|value| match value {
            Value::Text(text) => Some(text),
            Value::Empty => None,
        });
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let held = texts.filter_map(|text| match member {
            Member::Itself | Member::Exact(_) => Some(quoted(text)),
            Member::Number(_) => is_number(text).then(|| quoted(text)),
            Member::Key(_) => (!is_number(text)).then(|| quoted(&text.to_uppercase())),
            Member::Name(_) => Some(quoted(&text.to_lowercase())),
        });
        match held.collect::<Vec<_>>().as_slice() {
            [] => None,
            [only] => Some(format!("{left} == {only}")),
            held => Some(format!("[{}].includes({left})", held.join(", "))),
        }
    }
}

/// Text as a string of the expression language.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        match character {
            '\'' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let mut units = [0; 2];
                for unit in control.encode_utf16(&mut units) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests;
