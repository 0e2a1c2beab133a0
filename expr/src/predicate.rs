//! What an index can hold: the top of a filter as a conjunction of atomic tests, and the facts a
//! router needs before it runs anything.
//!
//! A matcher may skip a filter only when its outcome is certainly false. [`Conjunct::OneOf`] says
//! exactly when one conjunct is true, false or an error; for [`Conjunct::Opaque`] it says at
//! least whether an error is possible, because an error in an earlier conjunct wins over a false
//! one behind it.

mod extract;

use std::fmt;

use crate::view::{NodeId, Read, View};

pub(crate) use extract::conjuncts_of;

pub use crate::value::Literal as Constant;

/// What can be known about an expression without running it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Operands of the top-level `&&`, in order; a filter that is none has one.
    pub conjuncts: Vec<Conjunct>,
    /// Whether the outcome may depend on `event.selfGenerated`: it is read, or `event` is read in
    /// a way that does not tell.
    pub reads_self_generated: bool,
    /// Distinct entity properties, in order of first use.
    pub property_paths: Vec<PropertyPath>,
}

/// One conjunct of a filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Conjunct {
    /// `path == c`, `[c, d].includes(path)`, and `||` of such over one path: true if the value is
    /// one of the constants, an error if the path is broken, otherwise false.
    OneOf {
        /// What is compared.
        path: Path,
        /// What it is compared with, each once.
        constants: Box<[Constant]>,
    },
    /// Anything else.
    Opaque {
        /// Whether it may raise an error or yield something else than a Boolean.
        can_fail: bool,
    },
}

/// A chain of member names from `event`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// At least one.
    pub steps: Box<[Step]>,
}

/// One step of a path: `.name`, `?.name` or `['name']`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Step {
    /// The member. Never the name of a builtin member of Map, List or String.
    pub name: Box<str>,
    /// Whether a missing member or receiver makes the whole path null.
    pub optional: bool,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// A value that is not null.
    Value(NodeId),
    /// Null, or a member that is missing at the end or behind `?.`.
    Null,
    /// Evaluating the path raises an error on this event.
    Broken,
}

impl Path {
    /// Follows the path, exactly as evaluation does.
    pub fn resolve<V: View>(&self, view: &V) -> Resolved {
        let Some(event) = view.variable("event") else { return Resolved::Broken };
        let mut at = Some(event);
        for step in &self.steps {
            let read = at.map_or(Read::Null, |node| view.read(node));
            let found = match (at, read) {
                (Some(node), Read::Map { .. }) => view.member(node, &step.name),
                _ if step.optional => None,
                _ => return Resolved::Broken,
            };
            if found.is_none() && step.optional {
                return Resolved::Null;
            }
            at = found;
        }
        match at {
            Some(node) if view.read(node) != Read::Null => Resolved::Value(node),
            _ => Resolved::Null,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            match (at, step.optional) {
                (0, _) => {}
                (_, true) => f.write_str("?.")?,
                (_, false) => f.write_str(".")?,
            }
            f.write_str(&step.name)?;
        }
        Ok(())
    }
}

impl fmt::Display for Conjunct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Conjunct::OneOf { path, constants } => match &**constants {
                [constant] => write!(f, "{path} = {constant}"),
                [first, rest @ ..] => {
                    write!(f, "{path} in {first}")?;
                    rest.iter().try_for_each(|constant| write!(f, ", {constant}"))
                }
                [] => write!(f, "{path} in nothing"),
            },
            Conjunct::Opaque { .. } => f.write_str("no index"),
        }
    }
}

/// An entity property that a filter reads: `event.runtime.<entity>.properties['key'].path`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PropertyPath {
    /// `issue`, `project`, `user` or `issuetype`.
    pub entity: Box<str>,
    /// The property.
    pub key: Box<str>,
    /// The path inside of it, joined by dots; empty for the whole property.
    pub path: Box<str>,
}

impl Facts {
    /// What an index can hold of the filter: its tests of one path against constants.
    pub fn indexed(&self) -> impl Iterator<Item = &Conjunct> {
        self.conjuncts.iter().filter(|conjunct| matches!(conjunct, Conjunct::OneOf { .. }))
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let conjuncts = self.conjuncts.iter().map(|conjunct| match conjunct {
            Conjunct::OneOf { path, constants } => {
                let names: usize = path.steps.iter().map(|step| step.name.len()).sum();
                size_of_val(&*path.steps) + names + size_of_val(&**constants)
            }
            Conjunct::Opaque { .. } => 0,
        });
        let paths = self.property_paths.iter().map(|property| {
            size_of::<PropertyPath>()
                + property.entity.len()
                + property.key.len()
                + property.path.len()
        });
        self.conjuncts.len() * size_of::<Conjunct>()
            + conjuncts.sum::<usize>()
            + paths.sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
