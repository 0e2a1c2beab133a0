//! Static types of operators and members.

use crate::ast::BinaryOp;
use crate::value::{Member, Type};

/// The type of a value that comes from one of two expressions.
pub(super) fn common(left: Option<Type>, right: Option<Type>) -> Option<Type> {
    if left == right { left } else { None }
}

/// The type of `left op right`.
pub(super) fn binary(op: BinaryOp, left: Option<Type>, right: Option<Type>) -> Option<Type> {
    match op {
        BinaryOp::And | BinaryOp::Or => common(left, right),
        BinaryOp::Coalesce => match left {
            Some(Type::Null) => right,
            _ => common(left, right),
        },
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::Greater
        | BinaryOp::LessOrEqual
        | BinaryOp::GreaterOrEqual => Some(Type::Boolean),
        BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Remainder => {
            Some(Type::Number)
        }
        BinaryOp::Add => match (left, right) {
            (Some(Type::String), _) | (_, Some(Type::String)) => Some(Type::String),
            (Some(Type::Number), Some(Type::Number)) => Some(Type::Number),
            _ => None,
        },
    }
}

/// Whether an operator accepts two operand types.
pub(super) enum Fit {
    Fine,
    NeverEqual,
    NotComparable,
    BadOperand,
}

/// Whether `left op right` accepts these types.
pub(super) fn fit(op: BinaryOp, left: Type, right: Type) -> Fit {
    let number = left == Type::Number && right == Type::Number;
    match op {
        BinaryOp::And | BinaryOp::Or | BinaryOp::Coalesce => Fit::Fine,
        BinaryOp::Equal | BinaryOp::NotEqual if left != right => Fit::NeverEqual,
        BinaryOp::Equal | BinaryOp::NotEqual => Fit::Fine,
        BinaryOp::Less | BinaryOp::Greater | BinaryOp::LessOrEqual | BinaryOp::GreaterOrEqual => {
            match left {
                Type::Number | Type::String | Type::Date | Type::CalendarDate if left == right => {
                    Fit::Fine
                }
                _ => Fit::NotComparable,
            }
        }
        BinaryOp::Add => {
            let text = left == Type::String || right == Type::String;
            let function = left == Type::Function || right == Type::Function;
            if number || (text && !function) { Fit::Fine } else { Fit::BadOperand }
        }
        BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Remainder => {
            if number {
                Fit::Fine
            } else {
                Fit::BadOperand
            }
        }
    }
}

/// The type of `receiver.member`, or of its result if it is called.
pub(super) fn member(receiver: Type, member: Member, called: bool) -> Option<Type> {
    match (receiver, member) {
        (_, Member::Length) if called => return None,
        (Type::String | Type::List, Member::Length) => return Some(Type::Number),
        (Type::RichText, Member::PlainText) | (Type::Error, Member::Message) if !called => {
            return Some(Type::String);
        }
        (Type::Error | Type::RichText, _) => return None,
        _ if !called => return Some(Type::Function),
        _ => {}
    }
    match (receiver, member) {
        (Type::String | Type::List, Member::Includes)
        | (Type::List, Member::Some | Member::Every) => Some(Type::Boolean),
        (Type::String | Type::List, Member::IndexOf) => Some(Type::Number),
        (
            Type::String,
            Member::Trim
            | Member::ToLowerCase
            | Member::ToUpperCase
            | Member::Slice
            | Member::PadStart
            | Member::PadEnd
            | Member::Repeat
            | Member::Replace,
        )
        | (Type::List, Member::Join)
        | (Type::Date | Type::CalendarDate, Member::ToString | Member::ToIsoString) => {
            Some(Type::String)
        }
        (Type::String, Member::Split | Member::MatchAll)
        | (
            Type::List,
            Member::Map
            | Member::FlatMap
            | Member::Flatten
            | Member::Filter
            | Member::Slice
            | Member::Concat
            | Member::Sort,
        ) => Some(Type::List),
        (Type::Date, Member::ToCalendarDate | Member::ToCalendarDateUtc) => {
            Some(Type::CalendarDate)
        }
        (Type::Date | Type::CalendarDate, shift) if is_shift(shift) => Some(receiver),
        (Type::Date | Type::CalendarDate, getter) if getter.name().starts_with("get") => {
            Some(Type::Number)
        }
        _ => None,
    }
}

/// `plusDays` and similar methods, whose result has the type of the receiver.
fn is_shift(member: Member) -> bool {
    member.name().starts_with("plus") || member.name().starts_with("minus")
}
