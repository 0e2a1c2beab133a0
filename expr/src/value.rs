//! Values of the language.
//!
//! A value borrows from the event or the program where possible, and shares what the evaluation
//! built. Values are immutable, so sharing needs no copies.

use std::borrow::Cow;
use std::rc::Rc;

use jiff::civil;

use crate::constant_table::{ConstantTable, Key};
use crate::diagnostic::Code;
use crate::parameters::{Parameter, ParameterList};
use crate::span::Span;
use crate::view::{NodeId, NodeValue, View};

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Type {
    /// `null`
    Null,
    /// `true`, `false`
    Boolean,
    /// An IEEE 754 double.
    Number,
    /// Text.
    String,
    /// A sequence of values.
    List,
    /// Values by name, in order of insertion.
    Map,
    /// An instant.
    Date,
    /// A day without a time.
    CalendarDate,
    /// A document of Atlassian's editor.
    RichText,
    /// What `catch` binds.
    Error,
    /// An arrow function or a builtin.
    Function,
}

impl Type {
    /// All types.
    pub(crate) const ALL: [Type; 11] = [
        Type::Null,
        Type::Boolean,
        Type::Number,
        Type::String,
        Type::List,
        Type::Map,
        Type::Date,
        Type::CalendarDate,
        Type::RichText,
        Type::Error,
        Type::Function,
    ];

    /// The name that `typeof` yields.
    pub fn name(self) -> &'static str {
        match self {
            Type::Null => "null",
            Type::Boolean => "Boolean",
            Type::Number => "Number",
            Type::String => "String",
            Type::List => "List",
            Type::Map => "Map",
            Type::Date => "Date",
            Type::CalendarDate => "CalendarDate",
            Type::RichText => "RichText",
            Type::Error => "Error",
            Type::Function => "Function",
        }
    }
}

/// A value in the source: null, a Boolean, a number or text.
///
/// Equality is that of the language, except that NaN equals itself: numbers are compared by bits
/// after `-0` is replaced by `0`. A literal can therefore be a hash key.
#[derive(Clone, Debug)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    String(Box<str>),
}

impl Literal {
    fn bits(number: f64) -> u64 {
        if number == 0.0 { 0 } else { number.to_bits() }
    }
}

impl Literal {
    /// The key in the table of a list.
    fn key(&self) -> Key<'_> {
        match self {
            Literal::Null => Key::Null,
            Literal::Bool(truth) => Key::Bool(*truth),
            Literal::Number(number) => Key::Number(*number),
            Literal::String(text) => Key::Text(text),
        }
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Literal) -> bool {
        match (self, other) {
            (Literal::Null, Literal::Null) => true,
            (Literal::Bool(a), Literal::Bool(b)) => a == b,
            (Literal::Number(a), Literal::Number(b)) => Literal::bits(*a) == Literal::bits(*b),
            // The address of an empty text is dangling; `memcmp` at such an address was measured to
            // be a hundred times slower.
            (Literal::String(a), Literal::String(b)) => {
                a.len() == b.len() && (a.is_empty() || a == b)
            }
            _ => false,
        }
    }
}

impl Eq for Literal {}

/// Formats as JSON.
impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Literal::Null => f.write_str("null"),
            Literal::Bool(value) => write!(f, "{value}"),
            Literal::Number(number) => write!(f, "{number}"),
            Literal::String(text) => {
                write!(f, "{}", serde_json::Value::from(&**text))
            }
        }
    }
}

impl std::hash::Hash for Literal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Literal::Null => {}
            Literal::Bool(value) => value.hash(state),
            Literal::Number(number) => Literal::bits(*number).hash(state),
            Literal::String(text) => text.hash(state),
        }
    }
}

/// A value of the language.
#[derive(Clone, Debug)]
pub enum Value<'v> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    String(Text<'v>),
    /// A sequence of values.
    List(List<'v>),
    /// Values by name.
    Map(Map<'v>),
    /// Milliseconds since 1970-01-01T00:00Z.
    Date(i64),
    /// A day without a time.
    CalendarDate(civil::Date),
    /// The plain text of a document.
    RichText(Text<'v>),
    /// What `catch` binds.
    Error(Rc<CaughtError>),
    /// An arrow function or a builtin.
    Function(Function<'v>),
}

/// Text, borrowed from the event or program, or built.
#[derive(Clone, Debug)]
pub enum Text<'v> {
    /// Lives in the event or program.
    Borrowed(&'v str),
    /// Built by the evaluation.
    Built(Rc<str>),
}

impl Text<'_> {
    /// The characters.
    pub fn as_str(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Built(text) => text,
        }
    }
}

/// A list: part of the event, written in the source, or built.
#[derive(Clone, Debug)]
pub enum List<'v> {
    /// Part of the event.
    Node {
        /// The node.
        node: NodeId,
        /// Number of elements.
        len: u32,
    },
    /// Written in the source.
    Literal(&'v [Literal]),
    /// Written in the source, with the table that the compiler built.
    Constants(&'v LiteralList),
    /// Written in the source and consisting of parameters only.
    Parameters(ParameterList<'v>),
    /// Built by the evaluation.
    Built(Rc<BuiltList<'v>>),
}

/// A list of literals with its table.
#[derive(Debug)]
pub struct LiteralList {
    pub(crate) literals: Box<[Literal]>,
    /// None if the list is short.
    table: Option<ConstantTable>,
}

impl LiteralList {
    pub(crate) fn new(literals: Box<[Literal]>) -> LiteralList {
        let table = ConstantTable::of(literals.len(), |at| literals.get(at).map(Literal::key));
        LiteralList { literals, table }
    }

    /// Bytes of the table on the heap.
    pub(crate) fn table_bytes(&self) -> usize {
        self.table.as_ref().map_or(0, ConstantTable::heap_bytes)
    }
}

/// Elements of a built list.
#[derive(Debug)]
pub struct BuiltList<'v> {
    pub(crate) values: Vec<Value<'v>>,
    pub(crate) depth: u16,
}

/// A map: part of the event, or built.
#[derive(Clone, Debug)]
pub enum Map<'v> {
    /// Part of the event.
    Node {
        /// The node.
        node: NodeId,
        /// Number of members.
        len: u32,
    },
    /// Built by the evaluation.
    Built(Rc<BuiltMap<'v>>),
}

/// Entries of a built map, in order of insertion, names distinct.
#[derive(Debug)]
pub struct BuiltMap<'v> {
    pub(crate) entries: Vec<(Text<'v>, Value<'v>)>,
    pub(crate) depth: u16,
}

impl<'v> BuiltMap<'v> {
    pub(crate) fn get(&self, name: &str) -> Option<&Value<'v>> {
        self.entries.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value)
    }

    /// Replaces the value of an existing entry, or appends an entry.
    pub(crate) fn set(&mut self, name: Text<'v>, value: Value<'v>) {
        match self.entries.iter_mut().find(|(key, _)| key.as_str() == name.as_str()) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name, value)),
        }
    }
}

/// The value that `catch` binds; `throw` of it raises the same error again.
#[derive(Debug)]
pub struct CaughtError {
    pub(crate) code: Code,
    pub(crate) span: Span,
    pub(crate) message: Cow<'static, str>,
    /// The failing part of the source; none for thrown values.
    pub(crate) location: Option<Box<str>>,
}

/// A callable value.
#[derive(Clone, Debug)]
pub enum Function<'v> {
    /// An arrow function.
    Lambda {
        /// Index of the function in the program.
        id: u32,
        /// Values of the captured names.
        captured: Option<Rc<Captured<'v>>>,
    },
    /// A function of the language.
    Native(Native),
    /// A method that was read without being called.
    Bound(Rc<(Value<'v>, MethodId)>),
    /// A method whose receiver is below it on the stack. It never leaves the evaluator.
    Method(MethodId),
}

/// The captured values of an arrow function.
#[derive(Debug)]
pub struct Captured<'v> {
    pub(crate) values: Vec<Value<'v>>,
    pub(crate) depth: u16,
}

/// A builtin function that is not a method, by its index in the table of functions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Native(pub(crate) u8);

/// A builtin method or property: the type it belongs to, and its index in the table of that type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MethodId {
    pub(crate) on: Type,
    pub(crate) index: u8,
}

/// A constructor of `new`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Constructor {
    /// A builtin constructor, by its index in the table of constructors.
    Builtin(u8),
    /// A constructor that would load data, which an evaluation cannot do.
    Loading,
    /// An unknown constructor.
    Unknown,
}

impl<'v> Value<'v> {
    /// The value of an event node.
    #[inline]
    pub(crate) fn of_node<V: View>(view: &'v V, node: NodeId) -> Value<'v> {
        match view.read(node) {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(value) => Value::Bool(value),
            NodeValue::Number(number) => Value::Number(number),
            NodeValue::String(text) => Value::String(Text::Borrowed(text)),
            NodeValue::List { len } => Value::List(List::Node { node, len }),
            NodeValue::Map { len } => Value::Map(Map::Node { node, len }),
        }
    }

    /// The value of a literal.
    #[inline]
    pub(crate) fn of_literal(literal: &'v Literal) -> Value<'v> {
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Number(number) => Value::Number(*number),
            Literal::String(text) => Value::String(Text::Borrowed(text)),
        }
    }

    /// The value of a parameter.
    #[inline]
    pub(crate) fn of_parameter(constant: Parameter<'v>) -> Value<'v> {
        match constant {
            Parameter::Number(number) => Value::Number(number),
            Parameter::Text(text) => Value::String(Text::Borrowed(text)),
        }
    }

    /// A text built by the evaluation.
    pub(crate) fn text(text: impl Into<Rc<str>>) -> Value<'v> {
        Value::String(Text::Built(text.into()))
    }

    /// The type of the value.
    pub fn type_of(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Boolean,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::List(_) => Type::List,
            Value::Map(_) => Type::Map,
            Value::Date(_) => Type::Date,
            Value::CalendarDate(_) => Type::CalendarDate,
            Value::RichText(_) => Type::RichText,
            Value::Error(_) => Type::Error,
            Value::Function(_) => Type::Function,
        }
    }

    /// Truthiness as in JavaScript: false, null, 0, NaN and empty text are false.
    #[inline]
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(number) => *number != 0.0 && !number.is_nan(),
            Value::String(text) => !text.as_str().is_empty(),
            _ => true,
        }
    }

    /// Nesting depth of the built part of the value; event nodes count as flat.
    pub(crate) fn depth(&self) -> u16 {
        match self {
            Value::List(List::Built(list)) => list.depth,
            Value::Map(Map::Built(map)) => map.depth,
            Value::Function(Function::Lambda { captured: Some(captured), .. }) => captured.depth,
            Value::Function(Function::Bound(bound)) => bound.0.depth().saturating_add(1),
            _ => 0,
        }
    }
}

/// Whether a list of constants has one that equals a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConstantLookup {
    pub(crate) is_found: bool,
    /// Whether the key was hashed or compared: it is not longer than the longest text.
    pub(crate) is_compared: bool,
}

impl ConstantLookup {
    fn of<'k>(
        table: Option<&ConstantTable>,
        len: usize,
        get: impl Fn(usize) -> Option<Key<'k>>,
        key: Key<'_>,
    ) -> ConstantLookup {
        let keys = || (0..len).filter_map(&get);
        let longest = match table {
            Some(table) => table.longest(),
            None => keys().map(Key::text_len).max().unwrap_or(0),
        };
        let is_compared = key.text_len() <= longest;
        let is_found = is_compared
            && match table {
                Some(table) => table.contains(key, &get),
                None => keys().any(|constant| constant == key),
            };
        ConstantLookup { is_found, is_compared }
    }
}

impl<'v> List<'v> {
    /// Looks up a value in a list of constants; none if it is another list.
    pub(crate) fn lookup(&self, value: &Value<'_>) -> Option<ConstantLookup> {
        let key = match value {
            Value::Null => Some(Key::Null),
            Value::Bool(truth) => Some(Key::Bool(*truth)),
            Value::Number(number) => Some(Key::Number(*number)),
            Value::String(text) => Some(Key::Text(text.as_str())),
            _ => None,
        };
        let found = |table: Option<&ConstantTable>, literals: &[Literal]| {
            let get = |at: usize| literals.get(at).map(Literal::key);
            key.map(|key| ConstantLookup::of(table, literals.len(), get, key))
        };
        let found = match self {
            List::Literal(literals) => found(None, literals),
            List::Constants(list) => found(list.table.as_ref(), &list.literals),
            List::Parameters(list) => {
                key.map(|key| ConstantLookup::of(list.table(), list.len(), |at| list.key(at), key))
            }
            List::Node { .. } | List::Built(_) => return None,
        };
        // A value of another type equals no constant.
        Some(found.unwrap_or(ConstantLookup { is_found: false, is_compared: false }))
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        match self {
            List::Node { len, .. } => *len as usize,
            List::Literal(literals) => literals.len(),
            List::Constants(list) => list.literals.len(),
            List::Parameters(parameters) => parameters.len(),
            List::Built(list) => list.values.len(),
        }
    }

    /// The elements in order.
    pub(crate) fn iter<V: View>(&self, view: &'v V) -> Elements<'v, V> {
        let at = match self {
            List::Node { node, .. } => At::Node(view, view.first_child(*node)),
            List::Literal(literals) => At::Literal(literals.iter()),
            List::Constants(list) => At::Literal(list.literals.iter()),
            List::Parameters(parameters) => At::Parameters(*parameters, 0),
            List::Built(list) => At::Built(Rc::clone(list), 0),
        };
        Elements { at }
    }
}

/// Iterates over the elements of a list. It shares the list instead of borrowing it, so that
/// callbacks may run between elements.
pub(crate) struct Elements<'v, V> {
    at: At<'v, V>,
}

enum At<'v, V> {
    Node(&'v V, Option<NodeId>),
    Literal(std::slice::Iter<'v, Literal>),
    Parameters(ParameterList<'v>, usize),
    Built(Rc<BuiltList<'v>>, usize),
}

impl<'v, V: View> Iterator for Elements<'v, V> {
    type Item = Value<'v>;

    fn next(&mut self) -> Option<Value<'v>> {
        match &mut self.at {
            At::Node(view, next) => {
                let node = (*next)?;
                *next = view.next_sibling(node);
                Some(Value::of_node(*view, node))
            }
            At::Literal(literals) => literals.next().map(Value::of_literal),
            At::Parameters(parameters, at) => {
                let constant = parameters.get(*at)?;
                *at += 1;
                Some(Value::of_parameter(constant))
            }
            At::Built(list, at) => {
                let value = list.values.get(*at)?.clone();
                *at += 1;
                Some(value)
            }
        }
    }
}

impl<'v> Map<'v> {
    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        match self {
            Map::Node { len, .. } => *len as usize,
            Map::Built(map) => map.entries.len(),
        }
    }

    /// The value under `name`.
    pub(crate) fn get<V: View>(&self, view: &'v V, name: &str) -> Option<Value<'v>> {
        match self {
            Map::Node { node, .. } => {
                view.member(*node, name).map(|child| Value::of_node(view, child))
            }
            Map::Built(map) => map.get(name).cloned(),
        }
    }

    /// Names and values in order.
    pub(crate) fn entries<V: View>(&self, view: &'v V) -> Vec<(Text<'v>, Value<'v>)> {
        match self {
            Map::Node { node, .. } => {
                std::iter::successors(view.first_child(*node), |child| view.next_sibling(*child))
                    .map(|child| (Text::Borrowed(view.name(child)), Value::of_node(view, child)))
                    .collect()
            }
            Map::Built(map) => map.entries.clone(),
        }
    }
}
