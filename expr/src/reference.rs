//! The reference evaluator as a public interface: slow, and the definition of the result of
//! [`crate::Program::eval`].

use crate::diagnostic::CompileError;
use crate::env::Env;
use crate::fault::EvalError;
use crate::frontend::parse_and_check;
use crate::naive;
use crate::profile::CheckProfile;
use crate::typed::Typed;
use crate::value::Value;
use crate::view::View;

/// A checked expression as a typed tree.
#[derive(Debug)]
pub struct Tree(Typed);

impl Tree {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// As [`crate::compile()`].
    pub fn parse(source: &str, profile: CheckProfile) -> Result<Tree, CompileError> {
        parse_and_check(source, profile).map(|(typed, _)| Tree(typed))
    }

    /// Evaluates the tree and returns the number of steps as the second value.
    pub fn eval<'v, V: View>(
        &'v self,
        view: &'v V,
        env: &Env,
    ) -> (Result<Value<'v>, EvalError>, u32) {
        naive::eval(&self.0, view, env)
    }
}
