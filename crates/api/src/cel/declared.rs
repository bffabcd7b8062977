//! Names that an expression uses and nothing stands for, told when a rule is written.
//!
//! Invariants: what is not known for certain to be missing is let pass.
//! Absent: types of values.

use super::ast::{Expr, Macro};
use super::functions::{is_library, type_of_name};
use super::value::unescaped;
use crate::crd::Schema;
use crate::crd::schema::Type;

/// The first such name.
pub(super) fn undeclared(expr: &Expr, schema: &Schema) -> Option<String> {
    let variables = vec![("self", Some(schema)), ("oldSelf", Some(schema))];
    Walk { variables }.expr(expr).err()
}

struct Walk<'a> {
    variables: Vec<(&'a str, Option<&'a Schema>)>,
}

impl<'a> Walk<'a> {
    /// The schema of an expression's value, where it is known.
    fn expr(&mut self, expr: &'a Expr) -> Result<Option<&'a Schema>, String> {
        match expr {
            Expr::Variable(name) => match self.variables.iter().rev().find(|(there, _)| there == name) {
                Some((_, schema)) => Ok(*schema),
                None if type_of_name(name).is_some() => Ok(None),
                None => Err(format!("undeclared reference to '{name}' (in container '')")),
            },
            Expr::Select { of, field, .. } => {
                let Some(schema) = self.expr(of)? else { return Ok(None) };
                let name = unescaped(field);
                let is_closed =
                    !schema.properties.is_empty() && schema.additional.is_none() && schema.ty == Type::Object;
                let is_meta = matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
                match schema.field(&name).or_else(|| schema.field(field)) {
                    Some(below) => Ok(Some(below)),
                    None if is_closed && !is_meta => Err(format!("undefined field '{field}'")),
                    None => Ok(None),
                }
            }
            Expr::Index { of, at, .. } => {
                self.expr(at)?;
                let schema = self.expr(of)?;
                Ok(schema.and_then(|schema| schema.items.as_deref().or_else(|| schema.additional.as_ref()?.schema())))
            }
            Expr::Call { method: true, args, .. } => {
                let is_of_library = matches!(args.first(), Some(Expr::Variable(name)) if is_library(name));
                for arg in &args[usize::from(is_of_library)..] {
                    self.expr(arg)?;
                }
                Ok(None)
            }
            Expr::Macro { kind, of, variables, body } => self.macro_of(*kind, of, variables, body),
            other => {
                for child in other.children() {
                    self.expr(child)?;
                }
                Ok(None)
            }
        }
    }

    fn macro_of(
        &mut self,
        kind: Macro,
        of: &'a Expr,
        names: &'a [String],
        body: &'a [Expr],
    ) -> Result<Option<&'a Schema>, String> {
        let schema = self.expr(of)?;
        let item = match kind {
            Macro::Bind | Macro::OptionalMap => schema,
            _ => schema.and_then(|schema| schema.items.as_deref()),
        };
        let depth = self.variables.len();
        for (at, name) in names.iter().enumerate() {
            let is_item = at + 1 == names.len();
            self.variables.push((name, item.filter(|_| is_item)));
        }
        let walked: Result<Vec<_>, String> = body.iter().map(|expr| self.expr(expr)).collect();
        self.variables.truncate(depth);
        walked.map(|_| if kind == Macro::Filter { schema } else { None })
    }
}
