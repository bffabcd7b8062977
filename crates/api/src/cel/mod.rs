//! The Common Expression Language, as far as rules of custom kinds use it.
//!
//! Written here rather than taken: the crate there is carries a parser generator's runtime and has no bound on what an
//! expression may cost, which rules that anyone may write need.
//!
//! Invariants: every evaluation ends within its budget; no expression can panic; depth of expressions is bounded.
//! Absent: static types: what Kubernetes refuses when a rule is written, is told here when it is evaluated.

mod ast;
mod declared;
mod eval;
mod functions;
mod kubernetes;
mod lex;
mod parse;
mod text;
mod value;

pub(crate) use eval::{Budget, Fault};
pub(crate) use value::{Val, from_json};

use std::sync::Arc;

use crate::crd::Schema;

/// A parsed expression.
#[derive(Debug, Clone)]
pub(crate) struct Program(Arc<ast::Expr>);

impl Program {
    /// Parses an expression.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn parse(text: &str) -> Result<Program, String> {
        parse::parse(text).map(|expr| Program(Arc::new(expr)))
    }

    /// A name that nothing stands for, or a field that the schema of `self` does not have.
    pub(crate) fn undeclared(&self, schema: &Schema) -> Option<String> {
        declared::undeclared(&self.0, schema)
    }

    /// Whether a variable of this name is used.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.0.uses(name)
    }

    /// The value with these variables.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn eval<'a>(&'a self, variables: &[(&'a str, Val<'a>)], budget: &mut Budget) -> Result<Val<'a>, Fault> {
        eval::run(&self.0, variables, budget)
    }
}

#[cfg(test)]
mod tests;
