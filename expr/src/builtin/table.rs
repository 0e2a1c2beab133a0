//! The table of all builtins, assembled from the tables of the families.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::machine::{EvalResult, Machine};
use super::signature::{Callback, Form, IndexTest, Returns, Signature};
use super::{calendar_date, constructor, date, error, function, list, map, rich_text, string};
use crate::fault::Fault;
use crate::value::{Constructor, MethodId, Native, Type, Value};

/// The builtin members of one name. What the name means depends on the type of the receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// By type, the index in the table of its members.
    indices: [Option<u8>; Type::ALL.len()],
}

/// All names of builtin members.
static NAMED: LazyLock<HashMap<&'static str, Member>> = LazyLock::new(|| {
    let mut named: HashMap<&'static str, Member> = HashMap::new();
    for on in Type::ALL {
        for (index, signature) in (0_u8..).zip(members_of(on)) {
            let member = named.entry(signature.name).or_insert(Member { indices: [None; _] });
            if let Some(of_type) = member.indices.get_mut(on as usize) {
                *of_type = Some(index);
            }
        }
    }
    named
});

impl Member {
    /// The builtin members of that name, if there are any.
    pub(crate) fn named(name: &str) -> Option<Member> {
        NAMED.get(name).copied()
    }

    /// The member of that name of a type.
    #[inline]
    pub(crate) fn on(self, ty: Type) -> Option<MethodId> {
        let index = self.indices.get(ty as usize).copied().flatten()?;
        Some(MethodId { on: ty, index })
    }

    /// The signatures of all members of that name.
    fn signatures(self) -> impl Iterator<Item = &'static Signature> {
        Type::ALL.into_iter().filter_map(move |ty| signature(self.on(ty)?))
    }

    /// Whether it calls its argument for each element of a list.
    pub(crate) fn iterates(self) -> bool {
        self.signatures().any(|signature| signature.callback != Callback::None)
    }

    /// The truth of a callback result that ends the iteration, for `some` and `every`.
    pub(crate) fn stops_at(self) -> Option<bool> {
        self.signatures().find_map(|signature| match signature.callback {
            Callback::Until(truth) => Some(truth),
            _ => None,
        })
    }

    /// Whether its first argument is a regular expression.
    pub(crate) fn takes_pattern(self) -> bool {
        self.signatures().any(|signature| signature.takes_pattern)
    }

    /// The test that an index can make of it.
    pub(crate) fn index_test(self) -> Option<IndexTest> {
        self.signatures().find_map(|signature| signature.index)
    }

    /// The type of the member of a type, or of its result if it is called.
    pub(crate) fn type_on(self, on: Type, called: bool) -> Option<Type> {
        let signature = signature(self.on(on)?)?;
        match (signature.form, called, signature.returns) {
            (Form::Call, false, _) => Some(Type::Function),
            // A key of the map may hide the method.
            (Form::Call, true, _) if on == Type::Map => None,
            (Form::Call, true, Returns::Always(ty)) => Some(ty),
            (Form::Property, false, Returns::Always(ty)) => Some(ty),
            _ => None,
        }
    }

    /// The type of the result of its method on a type, if that may also be null.
    pub(crate) fn nullable_on(self, on: Type) -> Option<Type> {
        match signature(self.on(on)?)?.returns {
            Returns::Nullable(ty) => Some(ty),
            _ => None,
        }
    }
}

/// The members of a type, in the order of the manual.
pub(crate) fn members_of(ty: Type) -> &'static [&'static Signature] {
    match ty {
        Type::String => string::SIGNATURES,
        Type::List => list::SIGNATURES,
        Type::Map => map::SIGNATURES,
        Type::Date => date::SIGNATURES,
        Type::CalendarDate => calendar_date::SIGNATURES,
        Type::RichText => rich_text::SIGNATURES,
        Type::Error => error::SIGNATURES,
        Type::Null | Type::Boolean | Type::Number | Type::Function => &[],
    }
}

/// All families with their signatures, in the order of the manual.
pub(crate) fn families() -> [(&'static str, &'static [&'static Signature]); 9] {
    [
        ("String", string::SIGNATURES),
        ("List", list::SIGNATURES),
        ("Map", map::SIGNATURES),
        ("Date", date::SIGNATURES),
        ("CalendarDate", calendar_date::SIGNATURES),
        ("RichText", rich_text::SIGNATURES),
        ("Error", error::SIGNATURES),
        ("functions", function::SIGNATURES),
        ("constructors", constructor::SIGNATURES),
    ]
}

/// The signature of a member.
pub(super) fn signature(method: MethodId) -> Option<&'static Signature> {
    members_of(method.on).get(usize::from(method.index)).copied()
}

/// The builtin function of that name: `Number`, `JSON.parse`.
pub(crate) fn function_named(name: &str) -> Option<Native> {
    index_of(function::SIGNATURES, name).map(Native)
}

/// The constructor of that name, and the type of its values.
pub(crate) fn constructor_named(name: &str) -> Option<(Constructor, Option<Type>)> {
    let signature = |signature: &&&Signature| signature.name.strip_prefix("new ") == Some(name);
    let (index, found) =
        (0_u8..).zip(constructor::SIGNATURES).find(|(_, found)| signature(found))?;
    let ty = match found.returns {
        Returns::Always(ty) => Some(ty),
        _ => None,
    };
    Some((Constructor::Builtin(index), ty))
}

/// The names of all constructors.
pub(crate) fn constructor_names() -> impl Iterator<Item = &'static str> {
    constructor::SIGNATURES.iter().filter_map(|signature| signature.name.strip_prefix("new "))
}

fn index_of(signatures: &[&Signature], name: &str) -> Option<u8> {
    let found = (0_u8..).zip(signatures).find(|(_, signature)| signature.name == name);
    found.map(|(index, _)| index)
}

/// Calls a method, or reads a property.
pub(super) fn call_method<'v, M: Machine<'v>>(
    machine: &mut M,
    receiver: &Value<'v>,
    method: MethodId,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    let index = method.index;
    match (receiver, method.on) {
        (Value::String(text), Type::String) => string::call(index, machine, text, arguments),
        (Value::List(items), Type::List) => list::call(index, machine, items, arguments),
        (Value::Map(entries), Type::Map) => map::call(index, machine, entries, arguments),
        (Value::Date(ms), Type::Date) => date::call(index, machine, ms, arguments),
        (Value::CalendarDate(day), Type::CalendarDate) => {
            calendar_date::call(index, machine, day, arguments)
        }
        (Value::RichText(text), Type::RichText) => rich_text::call(index, machine, text, arguments),
        (Value::Error(raised), Type::Error) => error::call(index, machine, raised, arguments),
        _ => Err(Fault::internal("a method has a receiver of another type")),
    }
}

/// Calls a builtin function.
pub(super) fn call_native<'v, M: Machine<'v>>(
    machine: &mut M,
    native: Native,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    function::call(native.0, machine, &(), arguments)
}

/// Calls a constructor by its index.
pub(super) fn call_constructor<'v, M: Machine<'v>>(
    machine: &mut M,
    index: u8,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    constructor::call(index, machine, &(), arguments)
}
