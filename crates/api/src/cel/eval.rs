//! What an expression is worth.
//!
//! Invariants: each step costs; when the budget is used up, the evaluation ends.

use std::sync::Arc;

use super::ast::{Expr, Literal, Macro, Op};
use super::functions;
use super::value::{List, Table, Val};

/// What one rule may cost: Kubernetes' figure.
const CALL_MAX: u64 = 1_000_000;

/// How much may still be done. Kubernetes' figure for all rules of an object, of which one step here is one.
#[derive(Debug)]
pub(crate) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Budget(10_000_000)
    }
}

impl Budget {
    /// What one rule may take of it.
    pub(crate) fn of_call(&self) -> Budget {
        Budget(self.0.min(CALL_MAX))
    }

    /// Takes away what a rule used of its share.
    pub(crate) fn settle(&mut self, call: &Budget) {
        let used = self.0.min(CALL_MAX) - call.0.min(self.0);
        self.0 -= used;
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == 0
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Fault> {
        match self.0.checked_sub(steps as u64) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => {
                self.0 = 0;
                Err(Fault::OverBudget)
            }
        }
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The budget is used up.
    #[error("operation cancelled: actual cost limit exceeded")]
    OverBudget,
    /// A function or operator does not take these values.
    #[error("no such overload")]
    NoOverload,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Fault {
    pub(super) fn other(text: impl Into<String>) -> Fault {
        Fault::Other(text.into())
    }
}

pub(super) type Outcome<'a> = Result<Val<'a>, Fault>;

/// The value of an expression.
pub(super) fn run<'a>(expr: &'a Expr, variables: &[(&'a str, Val<'a>)], budget: &mut Budget) -> Outcome<'a> {
    let mut scope = Scope { variables: variables.to_vec(), budget };
    scope.eval(expr)
}

struct Scope<'a, 'b> {
    /// The last of a name counts.
    variables: Vec<(&'a str, Val<'a>)>,
    budget: &'b mut Budget,
}

impl<'a> Scope<'a, '_> {
    fn eval(&mut self, expr: &'a Expr) -> Outcome<'a> {
        self.budget.spend(1)?;
        match expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Variable(name) => self.variable(name),
            Expr::Select { of, field, test, optional } => self.select(of, field, *test, *optional),
            Expr::Index { of, at, optional } => self.index(of, at, *optional),
            Expr::Call { name, method, args } => self.call(name, *method, args),
            Expr::List(items) => {
                let items: Result<Vec<Val<'a>>, Fault> = items.iter().map(|item| self.eval(item)).collect();
                Ok(Val::list(items?))
            }
            Expr::Map(entries) => {
                let mut out = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    out.push((self.eval(key)?, self.eval(value)?));
                }
                Ok(Val::Map(Table::Made(Arc::new(out))))
            }
            Expr::Not(of) => match self.eval(of)? {
                Val::Bool(value) => Ok(Val::Bool(!value)),
                _ => Err(Fault::NoOverload),
            },
            Expr::Negate(of) => match self.eval(of)? {
                Val::Int(number) => number.checked_neg().map(Val::Int).ok_or_else(overflow),
                Val::Double(number) => Ok(Val::Double(-number)),
                Val::Duration(nanos) => nanos.checked_neg().map(Val::Duration).ok_or_else(overflow),
                _ => Err(Fault::NoOverload),
            },
            Expr::Binary { op: op @ (Op::And | Op::Or), left, right } => self.junction(*op == Op::And, left, right),
            Expr::Binary { op, left, right } => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                functions::operator(*op, left, right, self.budget)
            }
            Expr::Condition { test, then, otherwise } => match self.eval(test)? {
                Val::Bool(true) => self.eval(then),
                Val::Bool(false) => self.eval(otherwise),
                _ => Err(Fault::NoOverload),
            },
            Expr::Macro { kind, of, variables, body } => self.each(*kind, of, variables, body),
        }
    }

    fn variable(&self, name: &str) -> Outcome<'a> {
        let found = self.variables.iter().rev().find(|(there, _)| *there == name);
        if let Some((_, value)) = found {
            return Ok(value.clone());
        }
        match functions::type_of_name(name) {
            Some(name) => Ok(Val::Type(name)),
            None => Err(Fault::other(format!("undeclared reference to '{name}' (in container '')"))),
        }
    }

    /// `&&` and `||`: what one side decides, a fault of the other does not undo.
    fn junction(&mut self, is_and: bool, left: &'a Expr, right: &'a Expr) -> Outcome<'a> {
        let left = match self.eval(left) {
            Ok(Val::Bool(value)) if value != is_and => return Ok(Val::Bool(value)),
            Ok(Val::Bool(_)) => Ok(()),
            Ok(_) => Err(Fault::NoOverload),
            Err(fault) => Err(fault),
        };
        match self.eval(right)? {
            Val::Bool(value) if value != is_and => Ok(Val::Bool(value)),
            Val::Bool(value) => left.map(|()| Val::Bool(value)),
            _ => Err(Fault::NoOverload),
        }
    }

    fn select(&mut self, of: &'a Expr, field: &str, test: bool, optional: bool) -> Outcome<'a> {
        // A name with dots may be that of a type.
        let value = self.eval(of)?;
        let (value, optional) = match value {
            Val::Optional(None) if test => return Ok(Val::Bool(false)),
            Val::Optional(None) => return Ok(Val::none()),
            Val::Optional(Some(value)) => ((*value).clone(), !test),
            value => (value, optional),
        };
        let Val::Map(map) = value else { return Err(Fault::NoOverload) };
        match (map.field(field), test, optional) {
            (found, true, _) => Ok(Val::Bool(found.is_some_and(|value| !matches!(value, Val::Null)))),
            (found, _, true) => Ok(found.map_or_else(Val::none, Val::some)),
            (Some(value), _, _) => Ok(value),
            (None, _, _) => Err(Fault::other(format!("no such key: {field}"))),
        }
    }

    fn index(&mut self, of: &'a Expr, at: &'a Expr, optional: bool) -> Outcome<'a> {
        let (value, at) = (self.eval(of)?, self.eval(at)?);
        let (value, optional) = match value {
            Val::Optional(None) => return Ok(Val::none()),
            Val::Optional(Some(value)) => ((*value).clone(), true),
            value => (value, optional),
        };
        let found = match (&value, &at) {
            (Val::List(list), Val::Int(at)) => {
                let found = usize::try_from(*at).ok().and_then(|at| list.get(at));
                found.ok_or_else(|| Fault::other(format!("index out of bounds: {at}")))
            }
            (Val::Map(map), key) => {
                map.get(key).ok_or_else(|| Fault::other(format!("no such key: {}", functions::shown(key))))
            }
            _ => return Err(Fault::NoOverload),
        };
        match (found, optional) {
            (Ok(value), true) => Ok(Val::some(value)),
            (Err(_), true) => Ok(Val::none()),
            (found, false) => found,
        }
    }

    fn call(&mut self, name: &'a str, method: bool, args: &'a [Expr]) -> Outcome<'a> {
        // `ip.isCanonical(x)` and the like are functions with dots in their names.
        if let (true, Some(Expr::Variable(library))) = (method, args.first())
            && functions::is_library(library)
            && !self.variables.iter().any(|(there, _)| there == library)
        {
            let rest: Result<Vec<Val<'a>>, Fault> = args[1..].iter().map(|arg| self.eval(arg)).collect();
            return functions::of_library(library, name, rest?);
        }
        let args: Result<Vec<Val<'a>>, Fault> = args.iter().map(|arg| self.eval(arg)).collect();
        functions::call(name, method, args?, self.budget)
    }

    fn each(&mut self, kind: Macro, of: &'a Expr, names: &'a [String], body: &'a [Expr]) -> Outcome<'a> {
        let of = self.eval(of)?;
        let depth = self.variables.len();
        let outcome = match (kind, of) {
            (Macro::Bind, value) => self.with(names, vec![value], &body[0]),
            (Macro::OptionalMap, Val::Optional(None)) => Ok(Val::none()),
            (Macro::OptionalMap, Val::Optional(Some(value))) => {
                let mapped = self.with(names, vec![(*value).clone()], &body[0])?;
                Ok(if matches!(mapped, Val::Optional(_)) { mapped } else { Val::some(mapped) })
            }
            (_, Val::List(list)) => {
                let items = list.items().enumerate().map(|(at, item)| match names.len() {
                    2 => vec![Val::Int(at as i64), item],
                    _ => vec![item],
                });
                self.items(kind, items.collect(), names, body)
            }
            (_, Val::Map(map)) => {
                let items = map.keys().into_iter().map(|key| match names.len() {
                    2 => {
                        let value = map.get(&key).unwrap_or(Val::Null);
                        vec![key, value]
                    }
                    _ => vec![key],
                });
                self.items(kind, items.collect(), names, body)
            }
            _ => Err(Fault::NoOverload),
        };
        self.variables.truncate(depth);
        outcome
    }

    fn with(&mut self, names: &'a [String], values: Vec<Val<'a>>, body: &'a Expr) -> Outcome<'a> {
        let depth = self.variables.len();
        self.variables.extend(names.iter().map(String::as_str).zip(values));
        let outcome = self.eval(body);
        self.variables.truncate(depth);
        outcome
    }

    fn items(&mut self, kind: Macro, items: Vec<Vec<Val<'a>>>, names: &'a [String], body: &'a [Expr]) -> Outcome<'a> {
        let (mut out, mut keys, mut fault, mut count) = (Vec::new(), Vec::new(), None, 0);
        for values in items {
            self.budget.spend(1)?;
            let item = values.last().cloned().unwrap_or(Val::Null);
            let key = values.first().cloned().unwrap_or(Val::Null);
            let has_filter = match kind {
                Macro::Map | Macro::TransformList | Macro::TransformMap => body.len() == 2,
                _ => true,
            };
            let keeps = match has_filter {
                true => self.with(names, values.clone(), &body[0]),
                false => Ok(Val::Bool(true)),
            };
            let keeps = match keeps {
                Ok(Val::Bool(keeps)) => keeps,
                Ok(_) => return Err(Fault::NoOverload),
                Err(error) if matches!(kind, Macro::All | Macro::Exists) && error != Fault::OverBudget => {
                    fault.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match kind {
                Macro::All if !keeps => return Ok(Val::Bool(false)),
                Macro::Exists if keeps => return Ok(Val::Bool(true)),
                Macro::ExistsOne => count += usize::from(keeps),
                Macro::Filter if keeps => out.push(item),
                Macro::Map | Macro::TransformList | Macro::TransformMap if keeps => {
                    let made = &body[body.len() - 1];
                    out.push(self.with(names, values, made)?);
                    keys.push(key);
                }
                _ => {}
            }
        }
        match (kind, fault) {
            (Macro::All | Macro::Exists, Some(fault)) => Err(fault),
            (Macro::All, None) => Ok(Val::Bool(true)),
            (Macro::Exists, None) => Ok(Val::Bool(false)),
            (Macro::ExistsOne, _) => Ok(Val::Bool(count == 1)),
            (Macro::TransformMap, _) => Ok(Val::Map(Table::Made(Arc::new(keys.into_iter().zip(out).collect())))),
            _ => Ok(Val::List(List::Made(Arc::new(out)))),
        }
    }
}

fn overflow() -> Fault {
    Fault::other("integer overflow")
}

fn constant<'a>(literal: &Literal) -> Val<'a> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(number) => Val::Int(*number),
        Literal::Uint(number) => Val::Uint(*number),
        Literal::Double(number) => Val::Double(*number),
        Literal::Text(text) => Val::text(text.as_str()),
        Literal::Bytes(bytes) => Val::Bytes(bytes.as_slice().into()),
    }
}
