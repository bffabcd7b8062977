//! Tokens into expressions.
//!
//! Invariants: expressions are no deeper than a constant, so that neither parsing nor evaluating can exhaust a stack.

use super::ast::{Expr, Literal, Macro, Op};
use super::lex::{Token, tokens};

/// Depth of brackets, and steps of one chain of operators or fields. Rules that people write stay far below.
const DEPTH_MAX: usize = 40;
const CHAIN_MAX: usize = 100;
/// Depth of a whole expression: evaluating one needs a stack frame or two for each level.
const LEVELS_MAX: usize = 120;

/// Parses a whole text.
pub(super) fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.condition()?;
    match parser.peek() {
        Token::End if expr.is_deeper_than(LEVELS_MAX) => parser.error("expression recursion limit exceeded"),
        Token::End => Ok(expr),
        other => {
            let other = format!("mismatched input {other:?}");
            parser.error(&other)
        }
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
}

/// Operators by binding, the loosest first.
const LEVELS: [&[(&str, Op)]; 5] = [
    &[("||", Op::Or)],
    &[("&&", Op::And)],
    &[
        ("==", Op::Equal),
        ("!=", Op::NotEqual),
        ("<=", Op::LessOrEqual),
        (">=", Op::GreaterOrEqual),
        ("<", Op::Less),
        (">", Op::Greater),
        ("in", Op::In),
    ],
    &[("+", Op::Add), ("-", Op::Subtract)],
    &[("*", Op::Multiply), ("/", Op::Divide), ("%", Op::Modulo)],
];

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn eat(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.peek(), Token::Sign(there) if *there == sign);
        self.at += usize::from(is_next);
        is_next
    }

    fn must(&mut self, sign: &str) -> Result<(), String> {
        match self.eat(sign) {
            true => Ok(()),
            false => self.error(&format!("missing '{sign}'")),
        }
    }

    fn error<T>(&self, why: &str) -> Result<T, String> {
        let place = self.tokens.get(self.at).map_or(0, |(_, place)| *place);
        Err(format!("Syntax error: {why} at column {}", place + 1))
    }

    fn condition(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.error("expression recursion limit exceeded");
        }
        let test = self.binary(0)?;
        let expr = if self.eat("?") {
            let then = self.binary(0)?;
            self.must(":")?;
            let otherwise = self.condition()?;
            Expr::Condition { test: Box::new(test), then: Box::new(then), otherwise: Box::new(otherwise) }
        } else {
            test
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, String> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        let mut length = 0;
        while let Some((_, op)) = operators.iter().find(|(sign, _)| self.eat(sign)) {
            // Each operator makes the tree one deeper on its left.
            length += 1;
            if length > CHAIN_MAX {
                return self.error("expression recursion limit exceeded");
            }
            let right = self.binary(level + 1)?;
            left = Expr::Binary { op: *op, left: Box::new(left), right: Box::new(right) };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, String> {
        let (mut nots, mut minuses) = (0, 0);
        while self.eat("!") {
            nots += 1;
        }
        while nots == 0 && self.eat("-") {
            minuses += 1;
        }
        let expr = self.member()?;
        let expr = match (minuses % 2, expr) {
            (1, Expr::Literal(Literal::Int(number))) => Expr::Literal(Literal::Int(number.wrapping_neg())),
            (1, Expr::Literal(Literal::Double(number))) => Expr::Literal(Literal::Double(-number)),
            (1, expr) => Expr::Negate(Box::new(expr)),
            (_, expr) => expr,
        };
        Ok(match nots {
            0 => expr,
            even if even % 2 == 0 => Expr::Not(Box::new(Expr::Not(Box::new(expr)))),
            _ => Expr::Not(Box::new(expr)),
        })
    }

    fn member(&mut self) -> Result<Expr, String> {
        let mut expr = self.primary()?;
        let mut length = 0;
        loop {
            length += 1;
            if length > CHAIN_MAX {
                return self.error("expression recursion limit exceeded");
            }
            if self.eat(".") {
                let optional = self.eat("?");
                let Token::Name(name) = self.next() else { return self.error("no viable alternative at input '.'") };
                expr = match self.eat("(") {
                    true => {
                        let args = self.list(")")?;
                        self.method(expr, name, args)?
                    }
                    false => Expr::Select { of: Box::new(expr), field: name, test: false, optional },
                };
            } else if self.eat("[") {
                let optional = self.eat("?");
                let at = self.condition()?;
                self.must("]")?;
                expr = Expr::Index { of: Box::new(expr), at: Box::new(at), optional };
            } else {
                return Ok(expr);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, String> {
        match self.next() {
            Token::Literal(literal) => Ok(Expr::Literal(literal)),
            Token::Name(name) if self.eat("(") => {
                let args = self.list(")")?;
                self.function(name, args)
            }
            Token::Name(name) => Ok(Expr::Variable(name)),
            Token::Sign("(") => {
                let expr = self.condition()?;
                self.must(")")?;
                Ok(expr)
            }
            Token::Sign("[") => Ok(Expr::List(self.list("]")?)),
            Token::Sign("{") => self.map(),
            Token::Sign(".") => self.primary(),
            _ => {
                self.at -= 1;
                self.error("mismatched input")
            }
        }
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expr>, String> {
        let mut items = Vec::new();
        while !self.eat(end) {
            if !items.is_empty() {
                self.must(",")?;
                if self.eat(end) {
                    break;
                }
            }
            items.push(self.condition()?);
        }
        Ok(items)
    }

    fn map(&mut self) -> Result<Expr, String> {
        let mut entries = Vec::new();
        while !self.eat("}") {
            if !entries.is_empty() {
                self.must(",")?;
                if self.eat("}") {
                    break;
                }
            }
            let key = self.condition()?;
            self.must(":")?;
            entries.push((key, self.condition()?));
        }
        Ok(Expr::Map(entries))
    }

    fn function(&mut self, name: String, mut args: Vec<Expr>) -> Result<Expr, String> {
        if name != "has" {
            return Ok(Expr::Call { name, method: false, args });
        }
        match (args.pop(), args.is_empty()) {
            (Some(Expr::Select { of, field, optional, .. }), true) => {
                Ok(Expr::Select { of, field, test: true, optional })
            }
            _ => self.error("invalid argument to has() macro"),
        }
    }

    fn method(&mut self, of: Expr, name: String, mut args: Vec<Expr>) -> Result<Expr, String> {
        let kind = match (name.as_str(), args.len()) {
            ("all", 2 | 3) => Macro::All,
            ("exists", 2 | 3) => Macro::Exists,
            ("exists_one" | "existsOne", 2 | 3) => Macro::ExistsOne,
            ("map", 2 | 3) => Macro::Map,
            ("filter", 2) => Macro::Filter,
            ("transformList", 3 | 4) => Macro::TransformList,
            ("transformMap", 3 | 4) => Macro::TransformMap,
            ("optMap" | "optFlatMap", 2) => Macro::OptionalMap,
            ("bind", 3) if of == Expr::Variable("cel".to_owned()) => Macro::Bind,
            _ => {
                args.insert(0, of);
                return Ok(Expr::Call { name, method: true, args });
            }
        };
        let takes_two = match kind {
            Macro::All | Macro::Exists | Macro::ExistsOne => args.len() == 3,
            Macro::TransformList | Macro::TransformMap => true,
            _ => false,
        };
        let mut rest = args.split_off(if takes_two { 2 } else { 1 });
        let mut variables = Vec::new();
        for variable in args {
            match variable {
                Expr::Variable(name) => variables.push(name),
                _ => return self.error("argument must be a simple name"),
            }
        }
        let of = match kind {
            Macro::Bind => rest.remove(0),
            _ => of,
        };
        Ok(Expr::Macro { kind, of: Box::new(of), variables, body: rest })
    }
}
