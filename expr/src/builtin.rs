//! Builtin members, functions and constructors.
//!
//! Implementations use the [`Machine`] trait, so both evaluators share them and call functions in
//! their own way.

mod date;
mod json;
mod list;
mod map;
pub(crate) mod pattern;
pub(crate) mod regex;
mod string;

use std::rc::Rc;
use std::sync::Arc;

use crate::budget::{Budget, VALUE_BYTES};
use crate::builtin::pattern::Pattern;
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::{STEPS_PER_ENTRY, STEPS_PER_ERROR};
use crate::operator::{build_map, charge_map_lookup};
use crate::text::{TextBuilder, stringify};
use crate::value::{
    Captured, CaughtError, Constructor, Function, List, Map, Member, Native, Text, Type, Value,
};
use crate::view::View;

/// The services of an evaluator that builtins use.
pub(crate) trait Machine<'v> {
    /// The type of the event view.
    type View: View + 'v;

    fn view(&self) -> &'v Self::View;

    fn budget(&mut self) -> &mut Budget;

    /// The value of `new Date()`, in milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// The regular expression literals of the source.
    fn patterns(&self) -> &'v [(Box<str>, Arc<Pattern>)];

    /// Runs an arrow function; missing arguments are null, surplus ones are ignored.
    fn call_lambda(
        &mut self,
        function: &Function<'v>,
        arguments: &[Value<'v>],
    ) -> Result<Value<'v>, Fault<'v>>;
}

pub(crate) type EvalResult<'v> = Result<Value<'v>, Fault<'v>>;

const STRING: &[Member] = &[
    Member::Length,
    Member::Trim,
    Member::ToLowerCase,
    Member::ToUpperCase,
    Member::Split,
    Member::Slice,
    Member::Includes,
    Member::IndexOf,
    Member::PadStart,
    Member::PadEnd,
    Member::Repeat,
    Member::Replace,
    Member::Match,
    Member::MatchAll,
];

const LIST: &[Member] = &[
    Member::Length,
    Member::Map,
    Member::FlatMap,
    Member::Flatten,
    Member::Filter,
    Member::Every,
    Member::Some,
    Member::Includes,
    Member::IndexOf,
    Member::Slice,
    Member::Concat,
    Member::Reduce,
    Member::Join,
    Member::Sort,
];

const MAP: &[Member] = &[Member::Get, Member::Set, Member::Entries];

const DATE: &[Member] = &[
    Member::ToString,
    Member::ToIsoString,
    Member::ToCalendarDate,
    Member::ToCalendarDateUtc,
    Member::PlusMonths,
    Member::MinusMonths,
    Member::PlusDays,
    Member::MinusDays,
    Member::PlusHours,
    Member::MinusHours,
    Member::PlusMinutes,
    Member::MinusMinutes,
    Member::GetDate,
    Member::GetDay,
    Member::GetFullYear,
    Member::GetHours,
    Member::GetMilliseconds,
    Member::GetMinutes,
    Member::GetMonth,
    Member::GetSeconds,
    Member::GetTime,
    Member::GetTimezoneOffset,
    Member::GetUtcDate,
    Member::GetUtcDay,
    Member::GetUtcFullYear,
    Member::GetUtcHours,
    Member::GetUtcMilliseconds,
    Member::GetUtcMinutes,
    Member::GetUtcMonth,
    Member::GetUtcSeconds,
    Member::ValueOf,
];

const CALENDAR_DATE: &[Member] = &[
    Member::GetDay,
    Member::GetDate,
    Member::GetMonth,
    Member::GetFullYear,
    Member::ToIsoString,
    Member::ToString,
    Member::PlusMonths,
    Member::MinusMonths,
    Member::PlusDays,
    Member::MinusDays,
];

/// The members of a type, in the order of the manual.
pub(crate) fn members_of(ty: Type) -> &'static [Member] {
    match ty {
        Type::String => STRING,
        Type::List => LIST,
        Type::Map => MAP,
        Type::Date => DATE,
        Type::CalendarDate => CALENDAR_DATE,
        Type::RichText => &[Member::PlainText],
        Type::Error => &[Member::Message, Member::Location],
        Type::Null | Type::Boolean | Type::Number | Type::Function => &[],
    }
}

/// The result of a member lookup.
pub(crate) enum MemberLookup<'v> {
    /// A property, an own key or an element.
    Value(Value<'v>),
    /// A method of the receiver's type.
    Method(Member),
    /// Not found. Null on maps, lists and by index on text; otherwise the error.
    Missing(Option<Fault<'v>>),
}

/// Looks up `receiver.name`. `member` is the builtin of that name, if there is one.
///
/// # Errors
/// The receiver is null. The evaluator handles `?.` before the lookup.
pub(crate) fn lookup<'v, V: View>(
    receiver: &Value<'v>,
    name: &str,
    member: Option<Member>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<MemberLookup<'v>, Fault<'v>> {
    if let Value::Map(map) = receiver {
        charge_map_lookup(map, name, budget)?;
        if let Some(value) = map.get(view, name) {
            return Ok(MemberLookup::Value(value));
        }
    }
    let ty = receiver.type_of();
    match member.filter(|member| members_of(ty).contains(member)) {
        Some(member) => Ok(match property(receiver, member, budget)? {
            Some(value) => MemberLookup::Value(value),
            None => MemberLookup::Method(member),
        }),
        None => match ty {
            Type::Map => Ok(MemberLookup::Missing(None)),
            Type::Null => Err(Fault::null_access()),
            _ => {
                budget.charge(STEPS_PER_ERROR)?;
                Ok(MemberLookup::Missing(Some(unknown_member(ty, name))))
            }
        },
    }
}

/// Looks up `receiver[index]`.
pub(crate) fn lookup_index<'v, V: View>(
    receiver: &Value<'v>,
    index: &Value<'v>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<MemberLookup<'v>, Fault<'v>> {
    match (receiver, index) {
        (Value::Null, _) => Err(Fault::null_access()),
        (_, Value::String(name)) => {
            let name = name.as_str();
            lookup(receiver, name, Member::from_name(name), view, budget)
        }
        (Value::List(list), Value::Number(number)) => {
            let Some(at) = element_index(*number, list.len()) else {
                return Ok(MemberLookup::Missing(None));
            };
            Ok(element(list, at, view, budget)?
                .map_or(MemberLookup::Missing(None), MemberLookup::Value))
        }
        (Value::String(text), Value::Number(number)) => string::unit_at(text, *number, budget),
        (receiver, index) => {
            let (receiver, index) = (receiver.type_of().name(), index.type_of().name());
            let message = format!("{receiver} cannot be indexed with {index}");
            Err(Fault::new(Code::BadOperand, message))
        }
    }
}

/// Returns the element at `at`. Event lists are walked from their first element.
fn element<'v, V: View>(
    list: &List<'v>,
    at: usize,
    view: &'v V,
    budget: &mut Budget,
) -> Result<Option<Value<'v>>, Fault<'v>> {
    Ok(match list {
        List::Node { node, .. } => {
            budget.charge_each(at / ELEMENTS_SKIPPED_PER_STEP)?;
            let mut children =
                std::iter::successors(view.first_child(*node), |node| view.next_sibling(*node));
            children.nth(at).map(|node| Value::of_node(view, node))
        }
        List::Literal(literals) => literals.get(at).map(Value::of_literal),
        List::Parameters(constants) => constants.get(at).map(Value::of_parameter),
        List::Built(built) => built.values.get(at).cloned(),
    })
}

/// Elements that are skipped for one step.
const ELEMENTS_SKIPPED_PER_STEP: usize = 2;

/// Returns a whole number from 0 to `len` exclusive, or none.
fn element_index(number: f64, len: usize) -> Option<usize> {
    let at = to_count(number, len);
    // Negative, fractional and too large numbers change when clamped.
    #[expect(clippy::cast_precision_loss, reason = "lists are far shorter than 2^52")]
    let same = at as f64 == number;
    (same && at < len).then_some(at)
}

/// Clamps a number to `0..=max`, NaN to 0, and truncates the fraction.
pub(crate) fn to_count(number: f64, max: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is what clamping means"
    )]
    let count = number as usize;
    count.min(max)
}

/// Converts a length or position to a number of the language.
pub(crate) fn from_count<'v>(count: usize) -> Value<'v> {
    #[expect(clippy::cast_precision_loss, reason = "sizes are bounded far below 2^52")]
    let number = count as f64;
    Value::Number(number)
}

/// The vendor's message for an unknown member. **Source:** REST v3, Jira expressions.
pub(crate) fn unknown_member<'v>(ty: Type, name: &str) -> Fault<'v> {
    let mut message = format!("Unrecognized property of {}: \"{name}\".", ty.name());
    let members: Vec<&str> = members_of(ty).iter().map(|member| member.name()).collect();
    if !members.is_empty() {
        message.push_str(&format!(
            " Available properties of type '{}' are: {}",
            ty.name(),
            members.join(", ")
        ));
    }
    Fault::new(Code::UnknownMember, message)
}

/// Returns the value of a builtin property; none for methods.
fn property<'v>(
    receiver: &Value<'v>,
    member: Member,
    budget: &mut Budget,
) -> Result<Option<Value<'v>>, Fault<'v>> {
    Ok(match (receiver, member) {
        (Value::String(text), Member::Length) => Some(string::length(text.as_str(), budget)?),
        (Value::List(list), Member::Length) => Some(from_count(list.len())),
        (Value::RichText(text), Member::PlainText) => Some(Value::String(text.clone())),
        (Value::Error(error), Member::Message) => {
            budget.charge_text_allocation(error.message.len())?;
            Some(Value::text(error.message.as_ref()))
        }
        (Value::Error(error), Member::Location) => {
            budget.charge_text_allocation(error.location.as_deref().map_or(0, str::len))?;
            Some(error.location.as_deref().map_or(Value::Null, Value::text))
        }
        _ => None,
    })
}

/// Reads a member without a call: a method becomes a function bound to its receiver.
pub(crate) fn read_member<'v>(
    found: MemberLookup<'v>,
    receiver: &Value<'v>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    match found {
        MemberLookup::Value(value) => Ok(value),
        MemberLookup::Missing(None) => Ok(Value::Null),
        MemberLookup::Missing(Some(fault)) => Err(fault),
        MemberLookup::Method(member) => {
            budget.charge_allocation(2 * VALUE_BYTES)?;
            budget.check_depth(receiver.depth().saturating_add(1))?;
            Ok(Value::Function(Function::Bound(Rc::new((receiver.clone(), member)))))
        }
    }
}

/// Creates an arrow function with the captured `values`.
pub(crate) fn close_over<'v>(
    id: u32,
    values: Vec<Value<'v>>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    if values.is_empty() {
        return Ok(Value::Function(Function::Lambda { id, captured: None }));
    }
    budget.charge_allocation(values.len() * VALUE_BYTES)?;
    let deepest = values.iter().map(Value::depth).max().unwrap_or(0);
    let depth = budget.check_depth(deepest.saturating_add(1))?;
    let captured = Some(Rc::new(Captured { values, depth }));
    Ok(Value::Function(Function::Lambda { id, captured }))
}

/// Calls a value. `receiver` is used only by a [`Function::Method`].
pub(crate) fn call<'v, M: Machine<'v>>(
    machine: &mut M,
    callee: &Value<'v>,
    receiver: &Value<'v>,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    match callee {
        Value::Function(function) => match function {
            Function::Lambda { .. } => enter(machine, function, arguments),
            Function::Native(native) => call_native(machine, *native, arguments),
            Function::Bound(bound) => call_method(machine, &bound.0, bound.1, arguments),
            Function::Method(member) => call_method(machine, receiver, *member, arguments),
        },
        Value::Null => Err(Fault::new(Code::NullAccess, "null cannot be called")),
        other => {
            let message = format!("{} is not a function", other.type_of().name());
            Err(Fault::new(Code::NotCallable, message))
        }
    }
}

fn enter<'v, M: Machine<'v>>(
    machine: &mut M,
    function: &Function<'v>,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    machine.budget().charge(STEPS_PER_ENTRY)?;
    machine.call_lambda(function, arguments)
}

/// Calls a function argument of a builtin, for one step.
pub(crate) fn call_back<'v, M: Machine<'v>>(
    machine: &mut M,
    function: &Function<'v>,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    machine.budget().charge(1)?;
    match function {
        Function::Lambda { .. } => enter(machine, function, arguments),
        other => call(machine, &Value::Function(other.clone()), &Value::Null, arguments),
    }
}

fn call_method<'v, M: Machine<'v>>(
    machine: &mut M,
    receiver: &Value<'v>,
    member: Member,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    let arguments = Arguments { of: member.name(), values: arguments };
    match receiver {
        Value::String(text) => string::call(machine, text, member, arguments),
        Value::List(list) => list::call(machine, list, member, arguments),
        Value::Map(map) => map::call(machine, map, member, arguments),
        Value::Date(ms) => date::call(*ms, member, arguments, machine.budget()),
        Value::CalendarDate(day) => date::call_calendar(*day, member, arguments, machine.budget()),
        other => Err(unknown_member(other.type_of(), member.name())),
    }
}

fn call_native<'v, M: Machine<'v>>(
    machine: &mut M,
    native: Native,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    match native {
        Native::Number => {
            let arguments = Arguments { of: "Number", values: arguments };
            string::to_number(arguments.value(0)?, machine.budget())
        }
        Native::JsonParse => {
            let arguments = Arguments { of: "JSON.parse", values: arguments };
            json::parse(arguments.text(0)?.as_str(), machine.budget())
        }
        Native::JsonStringify => {
            let arguments = Arguments { of: "JSON.stringify", values: arguments };
            let view = machine.view();
            stringify(arguments.value(0)?, view, machine.budget()).map(Value::text)
        }
    }
}

/// Evaluates `new class(arguments)`.
pub(crate) fn construct<'v, M: Machine<'v>>(
    machine: &mut M,
    class: Constructor,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    match class {
        Constructor::Date => {
            let arguments = Arguments { of: "new Date", values: arguments };
            date::new_date(machine.now_ms(), arguments, machine.budget())
        }
        Constructor::CalendarDate => {
            let arguments = Arguments { of: "new CalendarDate", values: arguments };
            date::new_calendar_date(machine.now_ms(), arguments, machine.budget())
        }
        Constructor::Map => build_map(std::iter::empty(), machine.budget()),
        Constructor::RichText => {
            let arguments = Arguments { of: "new RichText", values: arguments };
            let view = machine.view();
            json::rich_text(arguments.map(0)?, view, machine.budget())
        }
        Constructor::Loading => Err(Fault::new(
            Code::UnknownConstructor,
            "Jira entities cannot be loaded while an expression is evaluated",
        )),
        Constructor::Unknown => {
            Err(Fault::new(Code::UnknownConstructor, "There is no such constructor"))
        }
    }
}

/// Converts the value of a `throw` to an error. A caught error is raised again.
pub(crate) fn throw<'v, V: View>(value: Value<'v>, view: &'v V, budget: &mut Budget) -> Fault<'v> {
    if let Value::Error(error) = &value {
        let fault = Fault::new(error.code, error.message.clone()).at(error.span);
        return fault.throwing(value);
    }
    let message = TextBuilder::new(budget).and_then(|mut message| {
        message.push_value(&value, view, budget)?;
        Ok(message.into_string())
    });
    match message {
        Err(fault) if !fault.is_catchable() => fault,
        // A Function has no text, so its type name is used.
        Err(_) => Fault::new(Code::Thrown, "Function").throwing(value),
        Ok(message) => Fault::new(Code::Thrown, message).throwing(value),
    }
}

/// Returns the value that `catch (e)` binds.
pub(crate) fn caught<'v>(fault: Fault<'v>, source: &str, budget: &mut Budget) -> EvalResult<'v> {
    let fault = fault.into_error();
    if let Some(error @ Value::Error(_)) = fault.thrown {
        return Ok(error);
    }
    let location = match fault.thrown {
        None => Some(fault.span.text(source).into()),
        Some(_) => None,
    };
    budget.charge(STEPS_PER_ERROR)?;
    budget.charge_text_allocation(fault.message.len())?;
    // Included in the price of the error: steps must not depend on the layout of the source.
    budget.reserve_memory(location.as_deref().map_or(0, str::len))?;
    let (code, span, message) = (fault.code, fault.span, fault.message);
    Ok(Value::Error(Rc::new(CaughtError { code, span, message, location })))
}

/// Arguments of a builtin, type-checked on access.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a, 'v> {
    /// Name of the builtin, for messages.
    of: &'static str,
    values: &'a [Value<'v>],
}

impl<'a, 'v> Arguments<'a, 'v> {
    /// The argument at `at`, if present.
    pub(crate) fn get(self, at: usize) -> Option<&'a Value<'v>> {
        self.values.get(at)
    }

    /// The argument at `at`.
    pub(crate) fn value(self, at: usize) -> Result<&'a Value<'v>, Fault<'v>> {
        self.get(at).ok_or_else(|| {
            let plural = if at == 0 { "" } else { "s" };
            let message = format!("`{}` needs {} argument{plural}", self.of, at + 1);
            Fault::new(Code::BadArgument, message)
        })
    }

    fn wrong(self, needed: &str, found: &Value<'v>) -> Fault<'v> {
        let found = found.type_of().name();
        Fault::new(Code::BadArgument, format!("`{}` needs a {needed}, found {found}", self.of))
    }

    /// A String argument.
    pub(crate) fn text(self, at: usize) -> Result<&'a Text<'v>, Fault<'v>> {
        match self.value(at)? {
            Value::String(text) => Ok(text),
            other => Err(self.wrong("String", other)),
        }
    }

    /// A String argument, if present.
    pub(crate) fn optional_text(self, at: usize) -> Result<Option<&'a Text<'v>>, Fault<'v>> {
        if self.get(at).is_none() { Ok(None) } else { self.text(at).map(Some) }
    }

    /// A Number argument.
    pub(crate) fn number(self, at: usize) -> Result<f64, Fault<'v>> {
        match self.value(at)? {
            Value::Number(number) => Ok(*number),
            other => Err(self.wrong("Number", other)),
        }
    }

    /// A Number argument, if present.
    pub(crate) fn optional_number(self, at: usize) -> Result<Option<f64>, Fault<'v>> {
        if self.get(at).is_none() { Ok(None) } else { self.number(at).map(Some) }
    }

    /// A Function argument.
    pub(crate) fn function(self, at: usize) -> Result<&'a Function<'v>, Fault<'v>> {
        match self.value(at)? {
            Value::Function(function) => Ok(function),
            other => Err(self.wrong("Function", other)),
        }
    }

    /// A Map argument.
    pub(crate) fn map(self, at: usize) -> Result<&'a Map<'v>, Fault<'v>> {
        match self.value(at)? {
            Value::Map(map) => Ok(map),
            other => Err(self.wrong("Map", other)),
        }
    }
}

/// Converts the arguments of `slice(start, end?)` to a range: negative numbers count from the end.
pub(crate) fn slice_range(start: f64, end: Option<f64>, len: usize) -> std::ops::Range<usize> {
    let place = |number: f64| {
        if number < 0.0 {
            len.saturating_sub(to_count(-number, len))
        } else {
            to_count(number, len)
        }
    };
    let start = place(start);
    start..end.map_or(len, place).max(start)
}
