//! Static types of operators.

use crate::ast::BinaryOp;
use crate::value::Type;

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
