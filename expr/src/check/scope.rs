//! Scopes: maps names to slots, function by function.

use crate::span::to_u32;
use crate::typed::Binding;
use crate::value::Type;

/// The functions being checked, innermost last.
pub(super) struct ScopeStack {
    functions: Vec<FunctionScope>,
}

#[derive(Default)]
struct FunctionScope {
    /// Names in scope, innermost last, each with its slot.
    names: Vec<(Box<str>, u32, Option<Type>)>,
    slots: u32,
    /// Captured outer names, and their location in the enclosing function.
    captures: Vec<(Box<str>, Binding, Option<Type>)>,
}

impl ScopeStack {
    pub(super) fn new() -> ScopeStack {
        ScopeStack { functions: vec![FunctionScope::default()] }
    }

    pub(super) fn enter_function(&mut self) {
        self.functions.push(FunctionScope::default());
    }

    /// Returns the number of slots and the captures of the innermost function, and removes it.
    pub(super) fn leave_function(&mut self) -> (u32, Vec<Binding>) {
        debug_assert!(!self.functions.is_empty(), "each function is entered before it is left");
        let function = self.functions.pop().unwrap_or_default();
        let captures = function.captures.into_iter().map(|(_, binding, _)| binding).collect();
        (function.slots, captures)
    }

    /// Opens a block; the returned mark closes it.
    pub(super) fn enter_block(&self) -> usize {
        self.functions.last().map_or(0, |function| function.names.len())
    }

    /// Removes the names declared since `mark`. Their slots are not reused: frames are small.
    pub(super) fn leave_block(&mut self, mark: usize) {
        if let Some(function) = self.functions.last_mut() {
            function.names.truncate(mark);
        }
    }

    /// Declares a name, which shadows an earlier one, and assigns a slot.
    pub(super) fn declare(&mut self, name: &str, ty: Option<Type>) -> u32 {
        let Some(function) = self.functions.last_mut() else { return 0 };
        let slot = function.slots;
        function.slots += 1;
        function.names.push((name.into(), slot, ty));
        slot
    }

    /// The location of a name seen from the innermost function; none for free names.
    pub(super) fn resolve(&mut self, name: &str) -> Option<(Binding, Option<Type>)> {
        resolve(&mut self.functions, name)
    }
}

/// Recursion is bounded by the nesting of functions.
fn resolve(functions: &mut [FunctionScope], name: &str) -> Option<(Binding, Option<Type>)> {
    let (function, outer) = functions.split_last_mut()?;
    if let Some((_, slot, ty)) = function.names.iter().rev().find(|(known, ..)| &**known == name) {
        return Some((Binding::Local(*slot), *ty));
    }
    let captured = function.captures.iter().position(|(known, ..)| &**known == name);
    if let Some(at) = captured {
        let ty = function.captures.get(at).and_then(|(_, _, ty)| *ty);
        return Some((Binding::Captured(to_u32(at)), ty));
    }
    let (binding, ty) = resolve(outer, name)?;
    function.captures.push((name.into(), binding, ty));
    Some((Binding::Captured(to_u32(function.captures.len() - 1)), ty))
}
