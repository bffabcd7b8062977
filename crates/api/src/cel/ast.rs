//! Parsed expressions.

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Literal(Literal),
    Variable(String),
    /// A field; tested for being there, or optional.
    Select {
        of: Box<Expr>,
        field: String,
        test: bool,
        optional: bool,
    },
    Index {
        of: Box<Expr>,
        at: Box<Expr>,
        optional: bool,
    },
    /// A function, or a method of its first argument.
    Call {
        name: String,
        method: bool,
        args: Vec<Expr>,
    },
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary {
        op: Op,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Condition {
        test: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    /// A macro over a list or map.
    Macro {
        kind: Macro,
        of: Box<Expr>,
        variables: Vec<String>,
        body: Vec<Expr>,
    },
}

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// What is done with each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    /// `cel.bind`: no items, one value under a name.
    Bind,
    /// An optional's value through an expression.
    OptionalMap,
    TransformList,
    TransformMap,
}

impl Expr {
    /// What it is made of, one level below.
    pub(super) fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Literal(_) | Expr::Variable(_) => Vec::new(),
            Expr::Select { of, .. } | Expr::Not(of) | Expr::Negate(of) => vec![of],
            Expr::Index { of, at, .. } => vec![of, at],
            Expr::Call { args, .. } | Expr::List(args) => args.iter().collect(),
            Expr::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
            Expr::Binary { left, right, .. } => vec![left, right],
            Expr::Condition { test, then, otherwise } => vec![test, then, otherwise],
            Expr::Macro { of, body, .. } => std::iter::once(&**of).chain(body).collect(),
        }
    }

    /// Whether it is deeper than a limit; found without recursion, since it may be much deeper.
    pub(super) fn is_deeper_than(&self, limit: usize) -> bool {
        let mut open = vec![(self, 1)];
        while let Some((expr, depth)) = open.pop() {
            if depth > limit {
                return true;
            }
            open.extend(expr.children().into_iter().map(|child| (child, depth + 1)));
        }
        false
    }

    /// Whether a variable is used, unless a macro gives the name another meaning.
    pub(super) fn uses(&self, name: &str) -> bool {
        let any = |exprs: &[Expr]| exprs.iter().any(|expr| expr.uses(name));
        match self {
            Expr::Literal(_) => false,
            Expr::Variable(variable) => variable == name,
            Expr::Select { of, .. } | Expr::Not(of) | Expr::Negate(of) => of.uses(name),
            Expr::Index { of, at, .. } => of.uses(name) || at.uses(name),
            Expr::Call { args, .. } | Expr::List(args) => any(args),
            Expr::Map(entries) => entries.iter().any(|(key, value)| key.uses(name) || value.uses(name)),
            Expr::Binary { left, right, .. } => left.uses(name) || right.uses(name),
            Expr::Condition { test, then, otherwise } => test.uses(name) || then.uses(name) || otherwise.uses(name),
            Expr::Macro { of, variables, body, .. } => {
                of.uses(name) || (!variables.iter().any(|variable| variable == name) && any(body))
            }
        }
    }
}
